//! Helpers of the tests: calls of the `uard` binary, and small inputs for it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest, Sha256};
use uard_core::random::{Draws, normal};
use uard_data::npy::write_f32;
use uard_scenes::{ScenesConfig, write};

/// `--set` values of a run that takes about a second.
pub const TINY: [&str; 8] = [
    "model.joint_width=16",
    "text.word_width=12",
    "training.epochs=3",
    "training.batch=10",
    "training.checkpoint_every=3",
    "threshold.minimum_samples=20",
    "optimizer.learning_rate=5e-3",
    "data.minimum_word_count=2",
];

/// The binary, without arguments.
pub fn uard() -> Command {
    Command::new(env!("CARGO_BIN_EXE_uard"))
}

/// Runs `uard` with arguments that are separated by spaces.
pub fn run(arguments: &str) -> Output {
    uard().args(arguments.split_whitespace()).output().unwrap()
}

/// `uard train` on a data directory, with the tiny settings.
pub fn train(data: &Path, run: &Path, more: &[&str]) -> Command {
    let mut command = uard();
    command
        .args(["train", "--config", "scenes", "--device", "cpu", "--data"])
        .arg(data);
    command.arg("--run").arg(run);
    for set in TINY {
        command.args(["--set", set]);
    }
    command.args(more);
    command
}

/// Asserts exit code 0 and returns stdout.
pub fn succeeded(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Asserts exit code 2 (wrong usage or input) and an `error:` on stderr that contains every part.
pub fn refused(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("error: "), "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

/// A path in a temporary folder as an index names it: without links.
pub fn inside(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().canonicalize().unwrap().join(name)
}

/// A data directory of 24, 8 and 8 scenes for train, dev and test.
pub fn scenes(seed: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let config = ScenesConfig {
        train: 24,
        dev: 8,
        test: 8,
        seed,
    };
    write(&config, directory.path(), &|_, _| {}).unwrap();
    directory
}

/// sha256 over names and bytes of the newest checkpoint's files.
pub fn final_hash(run: &Path) -> String {
    let newest = std::fs::read_to_string(run.join("checkpoints/latest")).unwrap();
    hash_of(&run.join("checkpoints").join(newest.trim()))
}

/// sha256 over names and bytes of a directory's files.
pub fn hash_of(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.file_name().unwrap().as_encoded_bytes());
        hash.update(std::fs::read(&file).unwrap());
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Writes an array of seeded normal draws, and returns them.
pub fn random_array(path: &Path, shape: &[usize], seed: u64) -> Vec<f32> {
    let mut stream = Draws::new(seed).stream("array", &[]);
    let values = normal(&mut stream, 1.0, shape.iter().product());
    write_f32(path, shape, &values).unwrap();
    values
}
