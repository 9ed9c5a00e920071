//! The targets of the fuzzer: commands of `uard`, and functions that read one file. The functions are called
//! directly, because parsing arguments and copying a folder for a command takes longer than they do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use uard_attention::{PackedRegions, PackedWords};
use uard_cli::CallResult;
use uard_data::import::{self, Format};
use uard_data::npy::{read_f32, read_i64};
use uard_hub::Weights;
use uard_search::query::Query;

use crate::corpus::TENSORS;

/// A call and the files that are damaged for it.
pub struct Target {
    /// Name of the target, and of its folder in the corpus.
    pub name: &'static str,
    action: Action,
    /// The folder within the target's folder whose files are damaged; empty for all files of the
    /// target.
    damaged: &'static str,
    /// The path to which the damaged file is written if the call reads only one of several files;
    /// otherwise the damaged file replaces the undamaged one.
    pub input: Option<&'static str>,
    /// Part of the error for undamaged files, where the call refuses them after reading.
    pub refusal: Option<&'static str>,
    /// Number of inputs of this target in each cycle over all targets.
    turns: u64,
}

/// The [`Target::turns`] of commands that train or compute, of other commands, and of readers: the faster a
/// target, the more, so that each takes about the same time.
const SLOW: u64 = 1;
const COMMAND: u64 = 8;
const READER: u64 = 512;

enum Action {
    /// Calls `uard` with these arguments, separated by spaces; `{}` is replaced by the folder.
    Command(&'static str),
    /// Calls `uard` with the arguments in the file `input`.
    Arguments,
    /// Reads the file `input`.
    Read(fn(&Path) -> anyhow::Result<()>),
}

/// A file of a target.
pub struct TargetFile {
    /// Its path, below the folder of the target.
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// Every target, in the order of a cycle.
pub const TARGETS: [Target; 37] = [
    command("recall", "recall --similarities {}/S.npy --map {}/MAP.txt"),
    command(
        "score",
        "score --regions {}/R.npy --words {}/W.npy --region-counts {}/RC.npy \
         --word-counts {}/WC.npy --threshold 0.1 --out {}/out.npy",
    ),
    command(
        "threshold",
        "threshold --relevant {}/P.npy --irrelevant {}/N.npy",
    ),
    of_pool(
        "captions",
        "import --captions {}/input --split train --out {}/out",
    ),
    command(
        "caption-lines",
        "import --captions {}/lines.en --image-list {}/images.txt --split dev --out {}/out",
    ),
    command(
        "dump-butd",
        "import --format butd-tsv {}/dump.tsv --split dev --out {}/out",
    ),
    command(
        "dump-lxmert",
        "import --format lxmert-tsv {}/dump.tsv --split dev --out {}/out",
    ),
    command(
        "dump-npz",
        "import --format npz {}/npz --split dev --out {}/out",
    ),
    command(
        "dump-hdf5",
        "import --format hdf5 {}/dump.hdf5 --split dev --out {}/out",
    ),
    command(
        "dump-cocobu",
        "import --format cocobu {}/bu --split dev --out {}/out",
    ),
    command(
        "dump-scan",
        "import --format scan {}/data --split dev --out {}/out",
    ),
    photo("photo-jpeg"),
    photo("photo-png"),
    photo("photo-webp"),
    photo("photo-gif"),
    command("vision-dinov2", EXTRACT).damaging("model").slow(),
    command("vision-clip", EXTRACT).damaging("model").slow(),
    command(
        "photo-list",
        "extract --encoder vision-transformer --weights {}/model --images {}/list/list.txt \
         --regions 4 --out {}/out",
    )
    .damaging("list")
    .slow(),
    of_pool(
        "config",
        "train --config {}/input --data {}/none --run {}/out --device cpu",
    )
    .refused("/none"),
    of_pool(
        "study",
        "study --config {}/input --data {}/none --run {}/out --device cpu",
    )
    .refused("/none"),
    command("train", TRAIN).damaging("data").slow(),
    command("train-store", TRAIN).damaging("data").slow(),
    command("word-vectors", TRAIN).damaging("given").slow(),
    command("bert-safetensors", TRAIN).damaging("given").slow(),
    command("bert-pickle", TRAIN).damaging("given").slow(),
    command("text-tower", TRAIN).damaging("given").slow(),
    command(
        "resume",
        "train --config {}/own.toml --data {}/data --run {}/run --device cpu --resume",
    )
    .damaging("run")
    .slow(),
    command("checkpoint", EVALUATE).damaging("run").slow(),
    command("checkpoint-bert", EVALUATE).damaging("run").slow(),
    command(
        "study-results",
        "study --config {}/study.toml --data {}/data --run {}/out --device cpu --resume",
    )
    .damaging("out")
    .slow(),
    Target {
        action: Action::Arguments,
        ..of_pool("arguments", "")
    },
    command("photo-index", "search a --index {}/index --format json").damaging("index"),
    reader("packed", read_packed),
    reader("query", read_query),
    reader("npy", read_npy),
    reader("safetensors", read_safetensors),
    Target {
        turns: READER / 8,
        ..reader("tsv", read_tsv)
    },
];

const TRAIN: &str = "train --config {}/own.toml --data {}/data --run {}/out --device cpu";

const EVALUATE: &str = "evaluate --checkpoint {}/run --data {}/data --split dev --device cpu \
                        --similarities {}/out.npy";

const EXTRACT: &str = "extract --encoder vision-transformer --weights {}/model \
                       --images {}/photo.png --regions 4 --out {}/out";

/// A command for which any file of its folder may be damaged, one for each input.
const fn command(name: &'static str, command: &'static str) -> Target {
    Target {
        name,
        action: Action::Command(command),
        damaged: "",
        input: None,
        refusal: None,
        turns: COMMAND,
    }
}

/// A command that reads `input`, a damaged copy of one of the files in `pool`.
const fn of_pool(name: &'static str, text: &'static str) -> Target {
    Target {
        input: Some("input"),
        ..command(name, text).damaging("pool")
    }
}

/// A reader of `input`.
const fn reader(name: &'static str, read: fn(&Path) -> anyhow::Result<()>) -> Target {
    Target {
        action: Action::Read(read),
        turns: READER,
        ..of_pool(name, "")
    }
}

const fn photo(name: &'static str) -> Target {
    let photo = of_pool(
        name,
        "extract --encoder vision-transformer --weights {}/model --images {}/photo.jpg \
         --longest-side 4096 --regions 4 --out {}/out",
    );
    Target {
        input: Some("photo.jpg"),
        ..photo
    }
    .slow()
}

impl Target {
    const fn damaging(self, damaged: &'static str) -> Self {
        Self { damaged, ..self }
    }

    const fn refused(self, with: &'static str) -> Self {
        Self {
            refusal: Some(with),
            ..self
        }
    }

    /// Gives fewer inputs to a target whose call trains or computes.
    const fn slow(self) -> Self {
        Self {
            turns: SLOW,
            ..self
        }
    }

    /// The index in [`TARGETS`] of the target of an input.
    pub fn index_of(input: u64) -> usize {
        let cycle: u64 = TARGETS.iter().map(|target| target.turns).sum();
        let mut left = input % cycle;
        let is_behind = |target: &Self| match left.checked_sub(target.turns) {
            Some(after) => {
                left = after;
                false
            }
            None => true,
        };
        TARGETS.iter().position(is_behind).unwrap_or_default()
    }

    /// The files that may be damaged, in the order of their paths, from the folder of the target.
    pub fn files(&self, folder: &Path) -> anyhow::Result<Vec<TargetFile>> {
        let mut paths = Vec::new();
        collect(&folder.join(self.damaged), &mut paths)?;
        anyhow::ensure!(!paths.is_empty(), "{}: nothing to damage", self.name);
        paths.sort();
        let files = paths.into_iter().map(|path| {
            Ok(TargetFile {
                bytes: std::fs::read(&path)?,
                path: path.strip_prefix(folder)?.to_owned(),
            })
        });
        files.collect()
    }

    /// Makes the call on the files of a folder.
    pub fn call(&self, folder: &Path) -> anyhow::Result<CallResult> {
        match self.action {
            Action::Command(command) => Ok(call(command, folder)),
            Action::Arguments => {
                let text = std::fs::read(folder.join("input"))?;
                Ok(call(&within(&String::from_utf8_lossy(&text)), folder))
            }
            Action::Read(read) => {
                let error = read(&folder.join("input")).err();
                Ok(CallResult {
                    code: if error.is_some() { 2 } else { 0 },
                    error: error.map(|error| error.to_string()),
                })
            }
        }
    }

    /// Whether the call reads the damaged file only, and writes nothing.
    pub fn is_reader(&self) -> bool {
        matches!(self.action, Action::Read(_))
    }

    /// The command as it would be typed.
    pub fn text(&self) -> String {
        match self.action {
            Action::Command(command) => format!("uard {command}"),
            Action::Arguments => "uard with the arguments of {}/input".to_owned(),
            Action::Read(_) => format!("the reader of {} with {{}}/input", self.name),
        }
    }
}

/// Changes damaged arguments so that they name no path outside of the folder.
fn within(arguments: &str) -> String {
    let words = arguments.split_whitespace();
    let words = words.map(|word| match word.strip_prefix('/') {
        Some(rest) => format!("{{}}/{rest}"),
        None => word.to_owned(),
    });
    words.collect::<Vec<String>>().join(" ").replace("..", ".")
}

/// Calls `uard` with arguments in which `{}` is replaced by the folder.
pub fn call(command: &str, folder: &Path) -> CallResult {
    let folder = folder.to_string_lossy();
    let arguments = command.split_whitespace();
    let arguments = arguments.map(|word| OsString::from(word.replace("{}", &folder)));
    uard_cli::call(std::iter::once("uard".into()).chain(arguments))
}

/// Opens and verifies a file of packed fragments, as regions or as words.
fn read_packed(path: &Path) -> anyhow::Result<()> {
    let regions = PackedRegions::open(path).and_then(|packed| packed.verify());
    let words = PackedWords::open(path).and_then(|packed| packed.verify());
    Ok(regions.or(words)?)
}

/// Reads a query of a photo search, of which short words do not count.
fn read_query(path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read(path)?;
    Query::parse(&String::from_utf8_lossy(&text), &|word| word.len() > 2)?;
    Ok(())
}

/// Reads an array, of real numbers or of integers.
fn read_npy(path: &Path) -> anyhow::Result<()> {
    let integers = read_i64(path).map(drop);
    Ok(read_f32(path).map(drop).or(integers)?)
}

/// Reads weights in which the tensors of the corpus must be.
fn read_safetensors(path: &Path) -> anyhow::Result<()> {
    let weights = Weights::open(path)?;
    for (name, shape) in TENSORS {
        weights.numbers(name, &shape)?;
    }
    Ok(())
}

/// Reads a dump, in one order of columns or the other.
fn read_tsv(path: &Path) -> anyhow::Result<()> {
    let read = |format| {
        let mut dump = import::open(format, &[path.to_owned()], "dev")?;
        while dump.next_image()?.is_some() {}
        Ok(())
    };
    read(Format::ButdTsv).or_else(|_| read(Format::LxmertTsv))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
