//! `uard recall`: how good is a similarity matrix, whoever made it?

use std::path::PathBuf;

use anyhow::Context;
use uard_eval::{GroundTruth, SimilarityMatrix, ensemble, evaluate_folds};

use super::Format;
use crate::arrays::similarities;
use crate::tables::retrieval;
use crate::terminal::{print, print_json};

/// Arguments of `uard recall`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A query is a hit when any of its matches is among the first K; ties count \
    against the model.\n\n\
    Examples:\n  \
    uard recall --similarities S.npy\n  \
    uard recall --similarities S.npy --map MAP.txt --format json\n  \
    uard recall --similarities coco5k.npy --folds 5\n  \
    uard recall --similarities A.npy --similarities B.npy      # the mean of two models"
)]
pub struct Arguments {
    /// Similarities [images, captions], npy of f16, f32 or f64; several make an ensemble.
    #[arg(long, value_name = "S.npy", required = true)]
    similarities: Vec<PathBuf>,
    /// The image index of each caption, from 0, one a line; without it every image has the same
    /// number of captions, in order.
    #[arg(long, value_name = "MAP.txt")]
    map: Option<PathBuf>,
    /// The mean of K folds of equal size; 1: all images at once.
    #[arg(long, value_name = "K", default_value_t = 1)]
    folds: usize,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Ranks and prints.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let matrices: anyhow::Result<Vec<SimilarityMatrix>> = arguments
        .similarities
        .iter()
        .map(|path| similarities(path))
        .collect();
    let matrix = ensemble(&matrices?)?;
    let truth = truth(arguments, &matrix)?;
    let report = evaluate_folds(&matrix, &truth, arguments.folds)?;
    match arguments.format {
        Format::Json => print_json(&report),
        Format::Table => print(&retrieval(&report)),
    }
}

fn truth(arguments: &Arguments, matrix: &SimilarityMatrix) -> anyhow::Result<GroundTruth> {
    match &arguments.map {
        None => GroundTruth::in_order(matrix.images(), matrix.captions())
            .context("--map MAP.txt is needed"),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            GroundTruth::from_map_text(&text, matrix.images())
                .with_context(|| path.display().to_string())
        }
    }
}
