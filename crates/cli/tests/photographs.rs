//! Tests of `uard extract` and `uard train --images` on photographs. Most use the weights of a trained
//! network and are skipped without them.

// Clippy's exception for tests does not cover the helper functions of this file.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use crate::uard;

use std::fs;
use std::path::{Path, PathBuf};

use uard::{TINY, final_hash, refused, succeeded, uard};
use uard_data::store::FeatureStore;
use uard_features::backbone::CandleModel;

const WEIGHTS: &str = "weights/inception_v3_trunk.safetensors";

fn shared() -> Option<PathBuf> {
    let shared = std::env::var_os("UARD_SHARED").map(PathBuf::from);
    if shared.is_none() {
        println!("skipped: UARD_SHARED is not set");
    }
    shared
}

/// The first lines of a list.
fn head(path: &Path, lines: usize) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .take(lines)
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn a_mixed_folder_becomes_a_store_and_a_list_of_unreadable_files() {
    let Some(shared) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("照片 of mine");
    fs::create_dir(&photos).unwrap();
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../features/tests/goldens/photos");
    for (from, to) in [
        ("cmyk.jpg", "cmyk.jpg"),
        ("grey16.png", "sixteen bits.png"),
        ("rgb.gif", "猫.gif"),
    ] {
        fs::copy(goldens.join(from), photos.join(to)).unwrap();
    }
    fs::write(photos.join("text.jpg"), "no photo").unwrap();
    fs::write(photos.join("empty.jpg"), "").unwrap();
    let out = folder.path().join("out");
    let mut command = uard();
    command.args(["extract", "--encoder", "inception-v3", "--regions", "4"]);
    command.args(["--layout", "scan"]);
    command.arg("--weights").arg(shared.join(WEIGHTS));
    command.arg("--images").arg(&photos).arg("--out").arg(&out);
    let output = command.output().unwrap();
    succeeded(&output);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("3 photos written to"), "{said}");
    assert!(said.contains("2 photos could not be read"), "{said}");
    let list = fs::read_to_string(out.join("photos_store/unreadable.tsv")).unwrap();
    assert_eq!(list.lines().count(), 2);
    assert!(list.starts_with("empty.jpg\t"), "{list}");
    let array = fs::metadata(out.join("photos_ims.npy")).unwrap();
    assert_eq!(array.len(), 128 + 3 * 4 * 1280 * 4);
    let ids = fs::read_to_string(out.join("photos_ids.txt")).unwrap();
    assert_eq!(ids, "cmyk.jpg\nsixteen bits.png\n猫.gif\n");
}

#[test]
fn one_photo_is_extracted_and_a_store_that_another_process_writes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../features/tests/goldens/photos");
    let extract = |photos: &Path, weights: &Path| {
        let mut command = uard();
        command.args(["extract", "--encoder", "inception-v3", "--out", "o"]);
        command.arg("--weights").arg(weights);
        command.arg("--images").arg(photos);
        command.current_dir(folder.path()).output().unwrap()
    };
    let (photo, nothing) = (goldens.join("rgb.jpg"), Path::new("nothing"));
    refused(&extract(&photo, nothing), &["nothing"]);
    refused(&extract(nothing, &photo), &["cannot open nothing"]);
    let store = folder.path().join("o/photos_store");
    let lock = uard_files::DirectoryLock::acquire(&store).unwrap();
    let holder = format!("process {} is writing there", std::process::id());
    refused(&extract(&photo, nothing), &[&holder]);
    drop(lock);
    fs::remove_dir_all(folder.path().join("o")).unwrap();
    fs::write(folder.path().join("o"), b"a file").unwrap();
    refused(&extract(&photo, nothing), &["o/photos_store"]);
    fs::remove_file(folder.path().join("o")).unwrap();
    let Some(shared) = shared() else { return };
    succeeded(&extract(&photo, &shared.join(WEIGHTS)));
    let store = FeatureStore::open(&folder.path().join("o"), "photos").unwrap();
    assert_eq!(store.ids().collect::<Vec<_>>(), ["rgb.jpg"]);
}

#[test]
fn networks_of_candle_transformers_are_listed_and_refuse_wrong_options() {
    let help = succeeded(&uard::run("extract --help"));
    for model in CandleModel::all() {
        assert!(
            help.contains(model.name()),
            "{} is not in: {help}",
            model.name()
        );
    }
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../features/tests/goldens");
    let extract = |arguments: &str| {
        let mut command = uard();
        command.args(["extract", "--out", "/nowhere/o", "--images"]);
        command.arg(goldens.join("photos/rgb.jpg")).arg("--weights");
        command.arg(goldens.join("resnet_basic.safetensors"));
        command.args(arguments.split(' ')).output().unwrap()
    };
    refused(
        &extract("--encoder candle:resnet50"),
        &["no encoder is called", "candle:fastvit_t8"],
    );
    let rounded = extract("--encoder candle:fastvit_t8 --matmul bf16");
    refused(&rounded, &["candle:fastvit_t8 computes in f32 only"]);
    let foreign = extract("--encoder candle:eva02_base_patch14_448");
    refused(
        &foreign,
        &[
            "resnet_basic.safetensors",
            "patch_embed.proj.weight",
            "is missing",
        ],
    );
    let uneven = extract("--encoder candle:vit_base_patch16_224 --regions 10-20");
    refused(&uneven, &["a square number"]);
}

#[test]
fn training_extracts_photographs_once_and_reuses_their_features() {
    let Some(shared) = shared() else { return };
    let flickr = shared.join("flickr8k");
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("mine");
    fs::create_dir_all(mine.join("photos")).unwrap();
    for (split, photos) in [("train", 8), ("dev", 4)] {
        let ids = head(&flickr.join(format!("{split}_ids.txt")), photos);
        for id in ids.lines() {
            let from = flickr.join("photos").join(id);
            fs::copy(from, mine.join("photos").join(id)).unwrap();
        }
        fs::write(mine.join(format!("{split}_ids.txt")), ids).unwrap();
        let captions = head(&flickr.join(format!("{split}_caps.txt")), 5 * photos);
        fs::write(mine.join(format!("{split}_caps.txt")), captions).unwrap();
    }
    let weights = format!("images.weights=[\"{}\"]", shared.join(WEIGHTS).display());
    let train = |run: &str| {
        let mut command = uard();
        command.args(["train", "--config", "flickr8k", "--images", "mine"]);
        command.args(["--set", &weights, "--run", run, "--device", "cpu"]);
        for set in TINY {
            command.args(["--set", set]);
        }
        command.current_dir(folder.path()).output().unwrap()
    };
    let first = train("first");
    succeeded(&first);
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(
        said.contains("8 photos written to data/mine-inception-v3-64"),
        "{said}"
    );
    let page = fs::read_to_string(folder.path().join("first/report.html")).unwrap();
    assert!(page.contains("data:image/jpeg;base64,"));
    assert!(page.contains("<svg class=\"overlay\""));
    let store = folder
        .path()
        .join("data/mine-inception-v3-64/train_store/store.json");
    let written = fs::metadata(&store).unwrap().modified().unwrap();
    succeeded(&train("second"));
    assert_eq!(fs::metadata(&store).unwrap().modified().unwrap(), written);
    let hash = |run: &str| final_hash(&folder.path().join(run));
    assert_eq!(hash("first"), hash("second"));
}
