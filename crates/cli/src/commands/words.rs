//! `uard words`: learns the words of a trained model, which a search judges photos by.

use std::path::PathBuf;

use candle_core::Device;
use uard_data::dataset::Split;
use uard_model::{Checkpoint, LearnedWords, Model};

use crate::terminal::{advance, bar, note};

/// Arguments of `uard words`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "`uard train` does this at its end. For each word of the captions: its mean vector, a \
    classifier of whole photos, whether photos can show it, and the relevance above which they do.\n\n\
    Example:\n  \
    uard words --checkpoint runs/mine --data DIR"
)]
pub struct Arguments {
    /// A checkpoint, a file `best` or `latest` that names one, or a run directory, whose best
    /// checkpoint is taken.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The split whose captions hold the words: the one that the model was trained on.
    #[arg(long, value_name = "NAME", value_parser = super::split_name, default_value = "train")]
    split: String,
}

/// Learns the words and writes them beside the checkpoints.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let checkpoint = Checkpoint::open(&arguments.checkpoint)?;
    let split = Split::open(&arguments.data, &arguments.split)?;
    checkpoint.expect_width(&split)?;
    let model = checkpoint.model(&Device::Cpu)?;
    let path = learn(&checkpoint, &model, &split)?;
    note(&format!("written to {}", path.display()));
    Ok(())
}

/// Learns the words of a model from the split that it was trained on, and writes them into the
/// directory of the run.
pub fn learn(checkpoint: &Checkpoint, model: &Model, split: &Split) -> anyhow::Result<PathBuf> {
    let bar = bar(split.images(), "words");
    let on_progress = |done, total| advance(&bar, done, total);
    let words = LearnedWords::learn(checkpoint, model, split, &on_progress)?;
    bar.finish_and_clear();
    let judged = words.words().iter().filter(|word| word.borders.is_some());
    note(&format!(
        "{} words learned, of which photos can show {}",
        words.words().len(),
        judged.count()
    ));
    let path = checkpoint.words_path();
    words.write(&path)?;
    Ok(path)
}
