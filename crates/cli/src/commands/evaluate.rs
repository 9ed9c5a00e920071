//! `uard evaluate`: prints the recall of a checkpoint on a split.

use std::path::PathBuf;

use anyhow::Context;
use uard_attention::{Engine, Precision};
use uard_core::device::{self, DeviceChoice};
use uard_data::dataset::Split;
use uard_data::npy::NpyWriter;
use uard_eval::{GroundTruth, evaluate_folds, expect_folds};
use uard_model::Checkpoint;
use uard_model::config::FRACTION;
use uard_relevance::EvaluationThreshold;
use uard_training::evaluation::{EvaluationOptions, Normalization};

use super::{Format, kernel, open_split};
use crate::exit::wrong;
use crate::tables::split as split_table;
use crate::terminal::{note, print, print_json};
use crate::train::jobs::{ModelEvaluation, evaluate_with};

/// The split that models are trained on.
const TRAIN: &str = "train";

/// Arguments of `uard evaluate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    uard evaluate --checkpoint runs/scenes --data data/scenes --split test\n  \
    uard evaluate --checkpoint runs/scenes/checkpoints/step-00000624 --data data/scenes --split dev\n  \
    uard evaluate --checkpoint runs/scenes/checkpoints/latest --data data/scenes --split dev\n  \
    uard evaluate --checkpoint runs/coco --data DIR --split testall --folds 5\n  \
    uard evaluate --checkpoint runs/a --data DIR --split test --similarities A.npy --format json\n  \
    uard evaluate --checkpoint runs/a --data DIR --split dev --threshold-at relevant_minus_3_std\n  \
    uard evaluate --checkpoint runs/a --data DIR --split test --normalization 0.75")]
pub struct Arguments {
    /// A checkpoint, a file `best` or `latest` that names one, or a run directory, whose best
    /// checkpoint is taken.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The split to evaluate on: dev, test, testall, …
    #[arg(long, value_name = "NAME", value_parser = super::split_name)]
    split: String,
    /// Averages the recall of K folds of equal size; 1 ranks all images at once.
    #[arg(long, value_name = "K", default_value_t = 1)]
    folds: usize,
    /// File for the similarities [images, captions], f32; normalized ones with --normalization.
    #[arg(long, value_name = "OUT.npy")]
    similarities: Option<PathBuf>,
    /// The threshold, instead of the one that the checkpoint's configuration names: learned,
    /// relevant_minus_3_std, or a number from 0 to 1.
    #[arg(long, value_name = "WHICH")]
    threshold_at: Option<String>,
    /// Nearest-neighbour normalization with this weight, from 0 (none) to 1: images and captions that are
    /// similar to much of the training split, which must be in the data directory, are ranked lower.
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0)]
    normalization: f64,
    /// The engine that computes similarities: auto, reference, tensor, scalar, avx2, avx512, amx, or
    /// cuda for an NVIDIA GPU.
    #[arg(long, value_name = "KERNEL", default_value = "auto")]
    kernel: Engine,
    /// The precision of relevance: f32, bf16, exact (bf16, with the ranks of f32), or f16 on a GPU.
    /// Default: f32 on the CPU, f16 on a GPU.
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Precision>,
    /// The device of candle's tensors: auto, cpu, cuda, or metal (candle's backend, unverified by this
    /// project).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// The format of the printed result.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Evaluates the checkpoint and prints the result.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let checkpoint = Checkpoint::open(&arguments.checkpoint)?;
    let requested = arguments.threshold_at.as_deref().map(parse_threshold);
    let threshold = checkpoint.threshold(requested.transpose()?);
    let weight = arguments.normalization;
    FRACTION.check("--normalization", weight)?;
    let split = open_split(&arguments.data, &arguments.split)?;
    checkpoint.expect_width(&split)?;
    let truth = GroundTruth::from_image_of_caption(&split.image_of_caption, split.images())?;
    expect_folds(split.images(), arguments.folds)?;
    let train = (weight > 0.0).then(|| references(arguments, &checkpoint));
    let train = train.transpose()?;
    let shape = [split.images(), split.captions.len()];
    let out = arguments.similarities.as_deref();
    let out = out
        .map(|path| NpyWriter::create(path, &shape))
        .transpose()?;
    let opened = device::open(arguments.device)?;
    let running = kernel::open(arguments.kernel, arguments.precision, &opened.device)?;
    note(&format!(
        "device {}; checkpoint {}; matching by {running}",
        opened.reason,
        checkpoint.path().display()
    ));
    let options = EvaluationOptions {
        threshold,
        running,
        normalization: train.as_ref().map(|train| Normalization { weight, train }),
    };
    let ModelEvaluation { evaluation, .. } =
        evaluate_with(&checkpoint, &split, &opened.device, &options)?;
    let mut record = evaluation.record;
    if arguments.folds != 1 {
        record.retrieval = evaluate_folds(&evaluation.similarities, &truth, arguments.folds)?;
        options.complete_protocol(&mut record.retrieval);
    }
    // If printing fails, the similarities are written before the error is returned.
    let printed = match arguments.format {
        Format::Json => print_json(&record),
        Format::Table => print(&split_table(&record)),
    };
    if let Some(mut out) = out {
        // The engine computes f32, and normalized similarities are rounded to it, so the cast loses nothing.
        let values = evaluation.similarities.values().iter();
        let values: Vec<f32> = values.map(|&value| value as f32).collect();
        out.write(&values)?;
        out.finish()?;
    }
    printed
}

/// The training split, whose captions and images are the references of a normalization.
fn references(arguments: &Arguments, checkpoint: &Checkpoint) -> anyhow::Result<Split> {
    if arguments.split == TRAIN {
        return Err(wrong(
            "--normalization compares with the split train; evaluate another one".to_owned(),
        ));
    }
    let train = open_split(&arguments.data, TRAIN);
    let train = train.context("--normalization compares with the split train")?;
    checkpoint.expect_width(&train)?;
    Ok(train)
}

/// Parses `--threshold-at`, whose values are those of `--set evaluation.threshold=…`.
fn parse_threshold(text: &str) -> anyhow::Result<EvaluationThreshold> {
    text.parse().map_err(|_| {
        wrong(format!(
            "--threshold-at {text}: expected learned, relevant_minus_3_std, or a number from 0 to 1"
        ))
    })
}
