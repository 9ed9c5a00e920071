//! The commands of `uard` and their arguments.

mod completions;
mod data;
mod evaluate;
mod evaluate_search;
mod explain;
mod extract;
mod import;
mod index;
mod kernel;
mod recall;
mod score;
mod search;
mod self_test;
mod serve;
mod study;
mod threshold;
mod train;
mod words;

use std::num::NonZeroUsize;
use std::path::Path;

use clap::{Parser, Subcommand, ValueEnum};
use uard_data::dataset::{Split, is_split_name};

use crate::terminal::note;

pub use data::write_scenes;
pub use extract::{extract, matmul};
pub use words::learn as learn_words;

/// Image-text matching that learns which regions and words are relevant to each other.
#[derive(Debug, Parser)]
#[command(
    name = "uard",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or input, 130 stopped by Ctrl-C.\n\n\
                  Examples:\n  \
                  uard train --config scenes --compare zero\n  \
                  uard evaluate --checkpoint runs/scenes --data data/scenes --split test\n  \
                  uard recall --similarities S.npy --format json\n\n\
                  `uard COMMAND --help` shows examples of a command."
)]
pub struct Arguments {
    /// Number of threads. Default: RAYON_NUM_THREADS, else as many as may run at once. No result
    /// depends on it.
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, in the order in which a new user needs them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write an embedded data set.
    #[command(subcommand)]
    Data(data::Command),
    /// Turn photographs into region features.
    Extract(extract::Arguments),
    /// Convert published region features and captions to a data directory.
    Import(import::Arguments),
    /// Train a model, evaluate it, and write a report.
    Train(train::Arguments),
    /// Train many settings with several seeds, and compare them.
    Study(study::Arguments),
    /// Evaluate a checkpoint on a split.
    Evaluate(evaluate::Arguments),
    /// Make and update an index of photos for searching.
    Index(index::Arguments),
    /// Find the photos of an index that show what a query says.
    Search(search::Arguments),
    /// Evaluate a search on photos of which it is known what they show.
    EvaluateSearch(evaluate_search::Arguments),
    /// Show where a photo shows each word of a query.
    Explain(explain::Arguments),
    /// Search photos on a web page, and from programs, over HTTP.
    Serve(serve::Arguments),
    /// Learn the words of a model that was trained before, for searching.
    Words(words::Arguments),
    /// Compute similarities of images and captions from regions and words of any model.
    Score(score::Arguments),
    /// Find the threshold that separates samples of relevant and irrelevant pairs with the least error.
    Threshold(threshold::Arguments),
    /// Compute the recall of any model's similarity matrix.
    Recall(recall::Arguments),
    /// Check every kernel on this machine against scalar loops.
    SelfTest(self_test::Arguments),
    /// Print the completion script of a shell.
    Completions(completions::Arguments),
}

/// Opens a split with its captions, and prints what is suspicious about its features.
///
/// # Errors
/// When a file is missing or wrong.
pub fn open_split(data: &Path, name: &str) -> anyhow::Result<Split> {
    let split = Split::open(data, name)?;
    split.warning.iter().for_each(|warning| note(warning));
    Ok(split)
}

/// Parses the name of a split.
fn split_name(text: &str) -> Result<String, String> {
    match is_split_name(text) {
        true => Ok(text.to_owned()),
        false => Err(
            "expected the name of a split, such as train or dev, with which its files begin"
                .to_owned(),
        ),
    }
}

/// Whether a command that did not fail was finished or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The command was finished.
    Done,
    /// Ctrl-C stopped the command after it had saved its progress.
    Stopped,
}

/// The format of a printed result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// A table for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

/// Runs a command.
pub fn run(command: &Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Data(command) => data::run(command)?,
        Command::Extract(arguments) => return extract::run(arguments),
        Command::Import(arguments) => import::run(arguments)?,
        Command::Train(arguments) => return train::run(arguments),
        Command::Study(arguments) => return study::run(arguments),
        Command::Evaluate(arguments) => evaluate::run(arguments)?,
        Command::Index(arguments) => return index::run(arguments),
        Command::Search(arguments) => search::run(arguments)?,
        Command::Explain(arguments) => explain::run(arguments)?,
        Command::Serve(arguments) => serve::run(arguments)?,
        Command::Words(arguments) => words::run(arguments)?,
        Command::EvaluateSearch(arguments) => evaluate_search::run(arguments)?,
        Command::Score(arguments) => score::run(arguments)?,
        Command::Threshold(arguments) => threshold::run(arguments)?,
        Command::Recall(arguments) => recall::run(arguments)?,
        Command::SelfTest(arguments) => self_test::run(arguments)?,
        Command::Completions(arguments) => completions::run(arguments)?,
    }
    Ok(Outcome::Done)
}
