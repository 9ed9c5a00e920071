//! `uard evaluate`: recall of a checkpoint on a split.

use std::path::PathBuf;

use uard_attention::{Engine, Precision};
use uard_core::device::{self, DeviceChoice};
use uard_data::dataset::Split;
use uard_data::npy::F32Writer;
use uard_eval::{GroundTruth, evaluate_folds, expect_folds};
use uard_model::Checkpoint;
use uard_relevance::EvaluationThreshold;
use uard_training::evaluation::How;

use super::{Format, kernel};
use crate::exit::wrong;
use crate::tables::split as split_table;
use crate::terminal::{note, print, print_json};
use crate::train::jobs::{Best, evaluate_as};

/// Arguments of `uard evaluate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    uard evaluate --checkpoint runs/scenes --data data/scenes --split test\n  \
    uard evaluate --checkpoint runs/scenes/checkpoints/step-00000624 --data data/scenes --split dev\n  \
    uard evaluate --checkpoint runs/scenes/checkpoints/latest --data data/scenes --split dev\n  \
    uard evaluate --checkpoint runs/coco --data DIR --split testall --folds 5\n  \
    uard evaluate --checkpoint runs/a --data DIR --split test --similarities A.npy --format json\n  \
    uard evaluate --checkpoint runs/a --data DIR --split dev --threshold-at relevant_minus_3_std")]
pub struct Arguments {
    /// A checkpoint, a file `best` or `latest` that names one, or a run directory: then its best.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Split: dev, test, testall, …
    #[arg(long, value_name = "NAME", value_parser = super::split_name)]
    split: String,
    /// The mean of K folds of equal size; 1: all images at once.
    #[arg(long, value_name = "K", default_value_t = 1)]
    folds: usize,
    /// Writes the similarities [images, captions], f32.
    #[arg(long, value_name = "OUT.npy")]
    similarities: Option<PathBuf>,
    /// Threshold instead of the one that the checkpoint's configuration says: learned,
    /// relevant_minus_3_std, or a number from 0 to 1.
    #[arg(long, value_name = "WHICH")]
    threshold_at: Option<String>,
    /// Which code matches: auto, reference, tensor, scalar, avx2, avx512, amx, or cuda for an NVIDIA
    /// GPU.
    #[arg(long, value_name = "KERNEL", default_value = "auto")]
    kernel: Engine,
    /// In which numbers: f32, bf16, exact (bf16, with the ranks of f32), or f16 on a GPU; without it
    /// f32, and f16 on a GPU.
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Precision>,
    /// Where tensors live: auto, cpu, cuda, or metal (candle's backend, unverified by this project).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Evaluates and prints.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let checkpoint = Checkpoint::open(&arguments.checkpoint)?;
    let asked = arguments.threshold_at.as_deref().map(threshold_at);
    let threshold = checkpoint.threshold(asked.transpose()?);
    let split = Split::open(&arguments.data, &arguments.split)?;
    split.warning.iter().for_each(|warning| note(warning));
    checkpoint.expect_width(&split)?;
    let truth = GroundTruth::from_image_of_caption(&split.image_of_caption, split.images())?;
    expect_folds(split.images(), arguments.folds)?;
    let shape = [split.images(), split.captions.len()];
    let out = arguments.similarities.as_deref();
    let out = out
        .map(|path| F32Writer::create(path, &shape))
        .transpose()?;
    let opened = device::open(arguments.device)?;
    let running = kernel::open(arguments.kernel, arguments.precision, &opened.device)?;
    note(&format!(
        "device {}; {}; matching by {running}",
        opened.reason,
        checkpoint.path().display()
    ));
    let how = How { threshold, running };
    let Best { evaluation, .. } = evaluate_as(&checkpoint, &split, &opened.device, &how)?;
    let mut record = evaluation.record;
    if arguments.folds != 1 {
        record.retrieval = evaluate_folds(&evaluation.similarities, &truth, arguments.folds)?;
    }
    // One of them may fail; the other is worth having.
    let printed = match arguments.format {
        Format::Json => print_json(&record),
        Format::Table => print(&split_table(&record)),
    };
    if let Some(mut out) = out {
        // They were f32 before they were ranked.
        let values = evaluation.similarities.values().iter();
        let values: Vec<f32> = values.map(|&value| value as f32).collect();
        out.write(&values)?;
        out.finish()?;
    }
    printed
}

/// As `--set evaluation.threshold=…` reads it.
fn threshold_at(which: &str) -> anyhow::Result<EvaluationThreshold> {
    which.parse().map_err(|_| {
        wrong(format!(
            "--threshold-at {which}: expected learned, relevant_minus_3_std, or a number from 0 to 1"
        ))
    })
}
