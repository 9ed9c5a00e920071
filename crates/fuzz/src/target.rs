//! The targets of the fuzzer: commands of `uard`, the reader of packed files, which no command uses, and
//! that of queries, which is too fast for a command.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use uard_attention::{PackedRegions, PackedWords};
use uard_cli::CallResult;
use uard_search::query::Query;

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

enum Action {
    /// Calls `uard` with these arguments, separated by spaces; `{}` is replaced by the folder.
    Command(&'static str),
    /// Calls `uard` with the arguments in the file `input`.
    Arguments,
    /// Opens a file of packed fragments and reads all of it.
    Packed,
    /// Reads a query of a photo search.
    Query,
}

/// Every target, in the order of a cycle.
pub const TARGETS: [Target; 34] = [
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
    Target {
        action: Action::Packed,
        ..of_pool("packed", "")
    },
    Target {
        action: Action::Query,
        ..of_pool("query", "")
    },
    command("photo-index", "search a --index {}/index --format json").damaging("index"),
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
        turns: 8,
    }
}

/// A command that reads `input`, a damaged copy of one of the files in `pool`.
const fn of_pool(name: &'static str, text: &'static str) -> Target {
    Target {
        input: Some("input"),
        ..command(name, text).damaging("pool")
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
        Self { turns: 1, ..self }
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

    /// The files that may be damaged, relative to the target's folder, in order.
    pub fn files(&self, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        collect(&folder.join(self.damaged), &mut files)?;
        anyhow::ensure!(!files.is_empty(), "{}: nothing to damage", self.name);
        for file in &mut files {
            *file = file.strip_prefix(folder)?.to_owned();
        }
        files.sort();
        Ok(files)
    }

    /// Makes the call on the files of a folder.
    pub fn call(&self, folder: &Path) -> anyhow::Result<CallResult> {
        match self.action {
            Action::Command(command) => Ok(call(command, folder)),
            Action::Arguments => {
                let text = std::fs::read(folder.join("input"))?;
                Ok(call(&within(&String::from_utf8_lossy(&text)), folder))
            }
            Action::Packed => Ok(read_packed(&folder.join("input"))),
            Action::Query => {
                let text = std::fs::read(folder.join("input"))?;
                Ok(read_query(&String::from_utf8_lossy(&text)))
            }
        }
    }

    /// The command as it would be typed.
    pub fn text(&self) -> String {
        match self.action {
            Action::Command(command) => format!("uard {command}"),
            Action::Arguments => "uard with the arguments of {}/input".to_owned(),
            Action::Query => "Query::parse of {}/input".to_owned(),
            Action::Packed => "PackedRegions::open and PackedWords::open of {}/input".to_owned(),
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

/// Opens and verifies a file of packed fragments, both as regions and as words; one of the two must
/// succeed.
fn read_packed(path: &Path) -> CallResult {
    let regions = PackedRegions::open(path).and_then(|packed| packed.verify());
    let words = PackedWords::open(path).and_then(|packed| packed.verify());
    match regions.or(words) {
        Ok(()) => CallResult {
            code: 0,
            error: None,
        },
        Err(error) => CallResult {
            code: 2,
            error: Some(error.to_string()),
        },
    }
}

/// Reads a query, of which short words do not count.
fn read_query(text: &str) -> CallResult {
    match Query::parse(text, &|word| word.len() > 2) {
        Ok(_) => CallResult {
            code: 0,
            error: None,
        },
        Err(error) => CallResult {
            code: 2,
            error: Some(error.to_string()),
        },
    }
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
