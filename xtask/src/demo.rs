//! `cargo xtask demo`: trains on the embedded data set, indexes its test pictures, and asks five
//! queries.

use std::path::Path;

use crate::launch::{cargo, expect_success};

/// The folders that the demo writes to, below the root.
const DATA: &str = "data/scenes";
const RUN: &str = "runs/scenes";
const INDEX: &str = "target/demo-index";

/// The file that a finished training leaves in its run.
const WORDS: &str = "runs/scenes/words.safetensors";

/// What is asked: a sentence, a phrase that one region must show, an exclusion, a phrase that no picture
/// shows, and a word that the model cannot know.
const QUERIES: [&str; 5] = [
    "a green star above a heart",
    "\"red circle\"",
    "+blue -square -triangle",
    "\"cyan heart\"",
    "a yellow skateboard",
];

/// Trains, unless `runs/scenes` is finished already, and shows what a search answers; with `serve` also on
/// its page.
///
/// # Errors
/// When a command fails.
pub fn run(root: &Path, serve: bool) -> anyhow::Result<()> {
    if !root.join(WORDS).is_file() {
        // Without --data it draws the embedded data set into DATA first.
        uard(root, &["train", "--config", "configs/scenes.toml"])?;
    }
    let index = [
        "index", "--data", DATA, "--split", "test", "--model", RUN, "--index", INDEX,
    ];
    uard(root, &index)?;
    for query in QUERIES {
        println!("\n$ uard search '{query}'");
        uard(root, &["search", query, "--index", INDEX, "--top", "3"])?;
    }
    match serve {
        true => uard(root, &["serve", "--index", INDEX, "--open"]),
        false => Ok(()),
    }
}

fn uard(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = cargo(root);
    command.args([
        "run",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "uard-cli",
        "--",
    ]);
    expect_success(command.args(arguments), "the demo stopped: see above")
}
