//! Writes the corpus, the undamaged files: a folder for each target, all together under 4 MB. Arrays
//! are drawn at random, runs are trained on tiny data, and tiny published models and photos are
//! copied from the tests of this repository.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use candle_core::{DType, Device, Tensor};
use hdf5_pure::FileBuilder;
use uard_attention::{PackedRegions, PackedWords, Precision, Regions, Words};
use uard_core::random::{Draws, normal};
use uard_data::npy::{write_f32, write_i64};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const IMAGES: usize = 6;
const REGIONS: usize = 4;
const WIDTH: usize = 8;

const CAPTIONS: [&str; 2] = ["a dog with a ball", "a red kite above the sea, at noon"];

/// The folder of the repository's crates.
const CRATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const OWN: &str = "data.minimum_word_count = 1
model = { joint_width = 8 }
matcher = { rule = \"nearest\" }
threshold = { minimum_samples = 10, distributions = \"empirical\" }
training = { epochs = 2, batch = 6, keep_last = 2, checkpoint_every = 1 }
";

const KARPATHY: &str = r#"{"dataset": "two", "images": [
 {"filename": "b.jpg", "filepath": "val2014", "cocoid": 7, "split": "restval", "imgid": 0,
  "sentences": [{"raw": "A dog .", "tokens": ["a", "dog"]}, {"raw": "Two dogs .\n"}]},
 {"filename": "a.jpg", "cocoid": 9, "split": "train", "imgid": 1,
  "sentences": [{"raw": "A cat ."}, {"tokens": ["an", "owl"]}]}]}"#;

const COCO: &str = r#"{"info": {}, "images": [
 {"id": 7, "file_name": "b.jpg", "height": 4}, {"id": 9, "file_name": "a.jpg"}],
 "annotations": [{"id": 0, "image_id": 7, "caption": "A dog ."},
 {"id": 1, "image_id": 9, "caption": "A cat .\n"}]}"#;

const TOKENS: &str =
    "b.jpg#0\tA dog .\nb.jpg#1\tTwo dogs .\na.jpg#0\tA cat .\na.jpg#1\tOne cat .\n";

const STUDY: &str = "config = \"own.toml\"
baseline = \"zero\"
seeds = [0, 1]
set = [\"training.epochs=1\"]
inside = [\"learned\"]
[[settings]]
name = \"zero\"
set = [\"threshold.smoothing=0\"]
[[settings]]
name = \"learned\"
group = \"own\"
set = []
[[settings]]
name = \"cut\"
of = \"learned\"
threshold = 0.1
";

const ARGUMENTS: [&str; 8] = [
    "recall --similarities {}/S.npy --folds 2 --repeated-images 1 --format json",
    "recall --similarities {}/S.npy --similarities {}/S.npy --map {}/MAP.txt",
    "score --regions {}/R.npy --words {}/W.npy --threshold 0.25 --out {}/out.npy --rule nearest",
    "score --regions {}/R.npy --words {}/W.npy --rule scan --sides words --inverse-temperature 9 --out {}/out.npy",
    "score --regions {}/R.npy --words {}/W.npy --kernel tensor --threshold -1 --precision f32 --out {}/out.npy",
    "score --regions {}/R.npy --words {}/W.npy --kernel avx2 --threshold 0.5 --precision exact --out {}/out.npy",
    "threshold --relevant {}/R.npy --irrelevant {}/W.npy --penalty 2 --distributions normal",
    "completions bash",
];

/// Writes the whole corpus.
pub fn write(root: &Path) -> anyhow::Result<()> {
    arrays(root)?;
    captions(root)?;
    dumps(root)?;
    photos(root)?;
    configurations(root)?;
    training(root)?;
    trained(root)?;
    queries(root)?;
    packed(root)?;
    npy_files(root)?;
    safetensors(root)
}

/// The folder `below` in the folder of a target; it is created if needed.
fn folder(root: &Path, target: &str, below: &str) -> anyhow::Result<PathBuf> {
    let folder = match below {
        "" => root.join(target),
        below => root.join(target).join(below),
    };
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn numbers(label: &str, count: usize) -> Vec<f32> {
    normal(&mut Draws::new(0).stream(label, &[]), 1.0, count)
}

fn array(path: &Path, shape: &[usize]) -> anyhow::Result<()> {
    let label = path.file_name().unwrap_or_default().to_string_lossy();
    write_f32(path, shape, &numbers(&label, shape.iter().product()))?;
    Ok(())
}

fn arrays(root: &Path) -> anyhow::Result<()> {
    let recall = folder(root, "recall", "")?;
    array(&recall.join("S.npy"), &[4, 8])?;
    let map: String = (0..8).map(|caption| format!("{}\n", caption / 2)).collect();
    fs::write(recall.join("MAP.txt"), &map)?;
    let score = folder(root, "score", "")?;
    array(&score.join("R.npy"), &[4, REGIONS, WIDTH])?;
    array(&score.join("W.npy"), &[6, 5, WIDTH])?;
    write_i64(&score.join("RC.npy"), &[4], &[4, 3, 1, 2])?;
    write_i64(&score.join("WC.npy"), &[6], &[5, 4, 3, 2, 1, 5])?;
    let threshold = folder(root, "threshold", "")?;
    array(&threshold.join("P.npy"), &[40])?;
    array(&threshold.join("N.npy"), &[8, 5])?;
    let pool = folder(root, "arguments", "pool")?;
    for (at, arguments) in ARGUMENTS.iter().enumerate() {
        fs::write(pool.join(at.to_string()), arguments)?;
    }
    copy(&recall, &root.join("arguments"))?;
    copy(&score, &root.join("arguments"))
}

fn captions(root: &Path) -> anyhow::Result<()> {
    let pool = folder(root, "captions", "pool")?;
    for (name, text) in [("karpathy", KARPATHY), ("coco", COCO), ("tokens", TOKENS)] {
        fs::write(pool.join(name), text)?;
    }
    let lines = folder(root, "caption-lines", "")?;
    fs::write(lines.join("lines.en"), CAPTIONS.join("\n"))?;
    fs::write(lines.join("images.txt"), "1.jpg\n2.jpg\n")?;
    Ok(())
}

/// Boxes and features of an image's regions.
struct DumpedRegions {
    boxes: Vec<f32>,
    features: Vec<f32>,
}

fn dumped(image: usize) -> DumpedRegions {
    let corners = |region: usize| [region as f32, 1.0, 50.0, 20.0];
    DumpedRegions {
        boxes: (0..REGIONS).flat_map(corners).collect(),
        features: numbers(&format!("image {image}"), REGIONS * WIDTH),
    }
}

fn dumps(root: &Path) -> anyhow::Result<()> {
    let base64 = |values: &[f32]| {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        STANDARD.encode(bytes)
    };
    let classes = [0_i64; REGIONS].map(i64::to_le_bytes).concat();
    let (classes, shares) = (STANDARD.encode(classes), base64(&[0.5; REGIONS]));
    let (mut butd, mut lxmert) = (String::new(), String::new());
    for image in 0..IMAGES {
        let DumpedRegions { boxes, features } = dumped(image);
        let (boxes, features) = (base64(&boxes), base64(&features));
        butd += &format!("{image}\t50\t20\t{REGIONS}\t{boxes}\t{features}\n");
        lxmert += &format!(
            "img_{image}\t20\t50\t{classes}\t{shares}\t{classes}\t{shares}\t{REGIONS}\t{boxes}\t\
             {features}\n"
        );
    }
    let pool = folder(root, "tsv", "pool")?;
    for (target, dump) in [("dump-butd", butd), ("dump-lxmert", lxmert)] {
        fs::write(folder(root, target, "")?.join("dump.tsv"), &dump)?;
        fs::write(pool.join(target), dump)?;
    }
    npz(&folder(root, "dump-npz", "npz")?)?;
    cocobu(&folder(root, "dump-cocobu", "bu")?)?;
    hdf5(&folder(root, "dump-hdf5", "")?)?;
    data(&folder(root, "dump-scan", "data")?)
}

/// The bytes of the npy file that `write` writes.
fn npy(write: impl FnOnce(&Path) -> uard_data::Result<()>) -> anyhow::Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("array.npy");
    write(&path)?;
    Ok(fs::read(path)?)
}

fn reals(shape: &[usize], values: &[f32]) -> anyhow::Result<Vec<u8>> {
    npy(|path| write_f32(path, shape, values))
}

fn archive(path: &Path, arrays: &[(&str, Vec<u8>)]) -> anyhow::Result<()> {
    let mut zip = ZipWriter::new(fs::File::create(path)?);
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default())?;
        std::io::Write::write_all(&mut zip, bytes)?;
    }
    zip.finish()?;
    Ok(())
}

fn npz(folder: &Path) -> anyhow::Result<()> {
    for image in 0..2 {
        let DumpedRegions { boxes, features } = dumped(image);
        let arrays = [
            ("x", reals(&[REGIONS, WIDTH], &features)?),
            ("bbox", reals(&[REGIONS, 4], &boxes)?),
            ("image_h", npy(|path| write_i64(path, &[], &[20]))?),
            ("image_w", npy(|path| write_i64(path, &[], &[50]))?),
        ];
        archive(&folder.join(format!("{image}.npz")), &arrays)?;
    }
    Ok(())
}

fn cocobu(folder: &Path) -> anyhow::Result<()> {
    for below in ["cocobu_att", "cocobu_box"] {
        fs::create_dir(folder.join(below))?;
    }
    for image in 0..2 {
        let DumpedRegions { boxes, features } = dumped(image);
        let feat = [("feat", reals(&[REGIONS, WIDTH], &features)?)];
        archive(&folder.join(format!("cocobu_att/{image}.npz")), &feat)?;
        let path = folder.join(format!("cocobu_box/{image}.npy"));
        write_f32(&path, &[REGIONS, 4], &boxes)?;
    }
    Ok(())
}

fn hdf5(folder: &Path) -> anyhow::Result<()> {
    let all: Vec<DumpedRegions> = (0..IMAGES).map(dumped).collect();
    let features: Vec<f32> = all.iter().flat_map(|one| one.features.clone()).collect();
    let boxes: Vec<f32> = all.iter().flat_map(|one| one.boxes.clone()).collect();
    let mut file = FileBuilder::new();
    for (name, values, width) in [("image_features", features, WIDTH), ("image_bb", boxes, 4)] {
        let shape = [IMAGES, REGIONS, width].map(|axis| axis as u64);
        file.create_dataset(name)
            .with_f32_data(&values)
            .with_shape(&shape);
    }
    let path = folder.join("dump.hdf5");
    file.write(&path)
        .with_context(|| path.display().to_string())
}

/// Copies the folder of a tiny published model from the tests, without the files of expected results.
fn model(from: &str, to: &Path, leave_out: &[&str]) -> anyhow::Result<()> {
    copy(&Path::new(CRATES).join(from), to)?;
    let tests_only = [
        "expected.safetensors",
        "pieces.json",
        "versions.txt",
        "write.py",
    ];
    for name in tests_only.iter().chain(leave_out) {
        let path = to.join(name);
        if path.exists() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

const VISION: &str = "features/tests/goldens/transformers";
const BERT: &str = "features/tests/goldens/transformers/bert";

fn photos(root: &Path) -> anyhow::Result<()> {
    let photos = Path::new(CRATES).join("features/tests/goldens/photos");
    let forms = [
        ("photo-jpeg", "jpg"),
        ("photo-png", "png"),
        ("photo-webp", "webp"),
        ("photo-gif", "gif"),
    ];
    for (target, ending) in forms {
        let pool = folder(root, target, "pool")?;
        for entry in fs::read_dir(&photos)? {
            let path = entry?.path();
            if path.extension().is_some_and(|found| found == ending) {
                fs::copy(&path, pool.join(path.file_name().unwrap_or_default()))?;
            }
        }
        model(
            &format!("{VISION}/dinov2"),
            &folder(root, target, "model")?,
            &[],
        )?;
    }
    for (target, name) in [
        ("vision-dinov2", "dinov2"),
        ("vision-clip", "clip"),
        ("photo-list", "dinov2"),
    ] {
        model(
            &format!("{VISION}/{name}"),
            &folder(root, target, "model")?,
            &[],
        )?;
        fs::copy(
            photos.join("alpha.png"),
            root.join(target).join("photo.png"),
        )?;
    }
    let list = folder(root, "photo-list", "list")?;
    fs::write(
        list.join("list.txt"),
        "../photo.png\n# a comment\n./../photo.png\n",
    )?;
    Ok(())
}

fn configurations(root: &Path) -> anyhow::Result<()> {
    let configs = Path::new(CRATES).join("../configs");
    for (target, names) in [
        (
            "config",
            &["scenes.toml", "flickr8k.toml", "flickr8k-minilm.toml"][..],
        ),
        (
            "study",
            &["study-flickr8k.toml", "study-flickr8k-small.toml"][..],
        ),
    ] {
        let pool = folder(root, target, "pool")?;
        for name in names {
            fs::copy(configs.join(name), pool.join(name))?;
        }
    }
    fs::write(root.join("study/pool/own.toml"), STUDY)?;
    fs::write(root.join("study/own.toml"), OWN)?;
    Ok(())
}

/// Writes a data directory with two splits.
fn data(folder: &Path) -> anyhow::Result<()> {
    for split in ["train", "dev"] {
        array(
            &folder.join(format!("{split}_ims.npy")),
            &[IMAGES, REGIONS, WIDTH],
        )?;
        let captions = format!("{}\n", CAPTIONS.join("\n")).repeat(IMAGES);
        fs::write(folder.join(format!("{split}_caps.txt")), captions)?;
        let ids: String = (0..IMAGES)
            .map(|image| format!("{split}{image}.jpg\n"))
            .collect();
        fs::write(folder.join(format!("{split}_ids.txt")), ids)?;
        let boxes: Vec<f32> = (0..IMAGES).flat_map(|image| dumped(image).boxes).collect();
        write_f32(
            &folder.join(format!("{split}_boxes.npy")),
            &[IMAGES, REGIONS, 4],
            &boxes,
        )?;
    }
    Ok(())
}

/// A folder with training data and a configuration; `text` is its section `[text]`.
fn trainable(root: &Path, target: &str, text: &str) -> anyhow::Result<PathBuf> {
    let at = folder(root, target, "")?;
    fs::write(at.join("own.toml"), format!("{OWN}[text]\n{text}\n"))?;
    data(&folder(root, target, "data")?)?;
    Ok(at)
}

const GRU: &str = "word_width = 6";
const BERT_TEXT: &str = "encoder = \"bert\"\nmodel = \"given\"\nlongest = 16";
const TOWER_TEXT: &str = "encoder = \"tower\"\nmodel = \"given\"\nlongest = 16";

fn training(root: &Path) -> anyhow::Result<()> {
    trainable(root, "train", GRU)?;
    let stored = trainable(root, "train-store", GRU)?;
    for split in ["train", "dev"] {
        uard(
            &stored,
            &format!("import --format scan {{}}/data --split {split} --out {{}}/stored"),
        )?;
        let captions = format!("{split}_caps.txt");
        fs::copy(
            stored.join("data").join(&captions),
            stored.join("stored").join(&captions),
        )?;
    }
    fs::remove_dir_all(stored.join("data"))?;
    fs::rename(stored.join("stored"), stored.join("data"))?;
    trainable(
        root,
        "word-vectors",
        "word_width = 6\nword_vectors = \"given/vectors.txt\"",
    )?;
    let vectors = "dog 0.1 0.2 0.3 -0.4 0.5 0.6\nkite 1 2 3 4 5 6e-1\n, 0 0 0 0 0 1\n";
    fs::write(
        folder(root, "word-vectors", "given")?.join("vectors.txt"),
        vectors,
    )?;
    for (target, leave_out) in [
        ("bert-safetensors", ["pytorch_model.bin", "vocab.txt"]),
        ("bert-pickle", ["model.safetensors", "tokenizer.json"]),
    ] {
        trainable(root, target, BERT_TEXT)?;
        model(BERT, &folder(root, target, "given")?, &leave_out)?;
    }
    trainable(root, "text-tower", TOWER_TEXT)?;
    model(
        &format!("{VISION}/siglip"),
        &folder(root, "text-tower", "given")?,
        &[],
    )
}

const TRAIN_INTO_RUN: &str = "train --config {}/own.toml --data {}/data --run {}/run --device cpu";

fn trained(root: &Path) -> anyhow::Result<()> {
    for (target, text) in [
        ("checkpoint", GRU),
        ("checkpoint-bert", BERT_TEXT),
        ("resume", GRU),
    ] {
        let at = trainable(root, target, text)?;
        if text == BERT_TEXT {
            model(
                BERT,
                &folder(root, target, "given")?,
                &["pytorch_model.bin"],
            )?;
        }
        uard(&at, TRAIN_INTO_RUN)?;
        without_checksums(&at.join("run/checkpoints"))?;
        keep_what_is_read(target, &at.join("run"))?;
        without_seconds(&at.join("run"))?;
    }
    let photos = trainable(root, "photo-index", GRU)?;
    uard(&photos, TRAIN_INTO_RUN)?;
    uard(
        &photos,
        "index --data {}/data --split dev --model {}/run --index {}/index",
    )?;
    fs::remove_file(photos.join("index/model/SHA256SUMS"))?;
    for folder in ["data", "run"] {
        fs::remove_dir_all(photos.join(folder))?;
    }
    let study = trainable(root, "study-results", GRU)?;
    fs::write(study.join("study.toml"), STUDY)?;
    uard(
        &study,
        "study --config {}/study.toml --data {}/data --run {}/out --device cpu",
    )?;
    without_seconds(&study.join("out"))
}

/// The checkpoint after the first epoch, and the one before the last step.
const STEPS: [&str; 2] = ["step-00000002", "step-00000003"];

/// Removes the files that the command of a target does not read. `resume` keeps a run that stopped
/// before its last step, other targets keep the best checkpoint.
fn keep_what_is_read(target: &str, run: &Path) -> anyhow::Result<()> {
    let checkpoints = run.join("checkpoints");
    fs::remove_dir_all(checkpoints.join("step-00000004"))?;
    fs::write(checkpoints.join("best"), STEPS[0])?;
    fs::write(checkpoints.join("latest"), STEPS[1])?;
    for name in ["metrics.json", "report.html"] {
        fs::remove_file(run.join(name))?;
    }
    if target != "resume" {
        fs::remove_dir_all(checkpoints.join(STEPS[1]))?;
        fs::remove_file(checkpoints.join(STEPS[0]).join("optimizer.safetensors"))?;
    }
    Ok(())
}

/// Removes the checksums of every checkpoint, because with them a damaged file is refused before it
/// is parsed.
fn without_checksums(checkpoints: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(checkpoints)? {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_file(path.join("SHA256SUMS"))?;
        }
    }
    Ok(())
}

/// Sets every time in the records of a folder to zero, so that the corpus is always the same.
fn without_seconds(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            without_seconds(&path)?;
        } else if path
            .extension()
            .is_some_and(|ending| ending == "json" || ending == "jsonl")
        {
            let mut text = String::new();
            for value in serde_json::Deserializer::from_slice(&fs::read(&path)?).into_iter() {
                let mut value: serde_json::Value = value?;
                zero_seconds(&mut value);
                text += &format!("{value}\n");
            }
            fs::write(&path, text)?;
        }
    }
    Ok(())
}

fn zero_seconds(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                match member {
                    serde_json::Value::Number(_) if name.ends_with("seconds") => {
                        *member = 0.0.into();
                    }
                    other => zero_seconds(other),
                }
            }
        }
        serde_json::Value::Array(entries) => entries.iter_mut().for_each(zero_seconds),
        _ => {}
    }
}

/// Calls `uard` in a folder, whose path replaces `{}`; the call must succeed.
fn uard(at: &Path, command: &str) -> anyhow::Result<()> {
    std::env::set_current_dir(at)?;
    let ended = crate::target::call(command, at);
    ensure!(ended.code == 0, "uard {command}: {ended:?}");
    Ok(())
}

/// Queries with every sign and filter.
fn queries(root: &Path) -> anyhow::Result<()> {
    let pool = folder(root, "query", "pool")?;
    let queries = [
        "a dog jumps into water",
        "+dog -cat not a bird \"red ball\" -\"blue car\"",
        "date:2024-05..2024-07 camera:\"Canon EOS 5D\" folder:/photos has:place dog",
        "(dog AND cat) -(bird fish) 'one two' NOT horse",
    ];
    for (at, query) in queries.iter().enumerate() {
        fs::write(pool.join(at.to_string()), query)?;
    }
    Ok(())
}

fn packed(root: &Path) -> anyhow::Result<()> {
    let pool = folder(root, "packed", "pool")?;
    for precision in [Precision::F32, Precision::Bf16, Precision::Exact] {
        let vectors = Tensor::from_vec(numbers("packed", 3 * 4 * 8), (3, 4, 8), &Device::Cpu)?;
        let name = format!("{precision:?}");
        let regions = Regions::normalized(&vectors, vec![4, 2, 1])?;
        PackedRegions::pack(&regions, precision)?.write(&pool.join(format!("{name}.regions")))?;
        let words = Words::normalized(&vectors, vec![4, 2, 1])?;
        PackedWords::pack(&words, precision)?.write(&pool.join(format!("{name}.words")))?;
    }
    Ok(())
}

fn npy_files(root: &Path) -> anyhow::Result<()> {
    let pool = folder(root, "npy", "pool")?;
    array(&pool.join("matrix.npy"), &[3, 4])?;
    array(&pool.join("vector.npy"), &[5])?;
    Ok(write_i64(&pool.join("counts.npy"), &[4], &[4, 3, 1, 2])?)
}

/// The tensors of the target `safetensors`, by name and shape.
pub const TENSORS: [(&str, [usize; 2]); 2] = [("first", [3, 4]), ("second", [2, 5])];

fn safetensors(root: &Path) -> anyhow::Result<()> {
    let pool = folder(root, "safetensors", "pool")?;
    for element in [DType::F32, DType::F16, DType::BF16] {
        let mut tensors = HashMap::new();
        for (name, shape) in TENSORS {
            let numbers = numbers(name, shape.iter().product());
            let tensor = Tensor::from_vec(numbers, &shape, &Device::Cpu)?;
            tensors.insert(name, tensor.to_dtype(element)?);
        }
        candle_core::safetensors::save(&tensors, pool.join(element.as_str()))?;
    }
    Ok(())
}

/// Copies a folder with all its files and folders.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        let copied = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &copied)?;
        } else {
            fs::copy(&path, &copied)?;
        }
    }
    Ok(())
}
