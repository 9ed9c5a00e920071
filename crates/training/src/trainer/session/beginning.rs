//! The state of a run before its first step, and the tokenizer files in its directory.

use std::path::Path;

use serde::de::IgnoredAny;
use uard_features::text::TextModel;
use uard_model::{FORMAT_VERSION, FeatureShape, ModelState};
use uard_relevance::LearnedThreshold;

use crate::checkpoint::{EpochSums, TrainState};
use crate::trainer::Run;
use crate::{Error, Result};

/// Writes the vocabulary or tokenizer files into the run directory.
pub(super) fn write_text(text: &TextModel, run: &Path) -> Result<()> {
    for (name, bytes) in text.files()? {
        let path = run.join(name);
        uard_files::write(&path, bytes).map_err(Error::io(&path, "write"))?;
    }
    Ok(())
}

/// The state of a run before its first step.
pub(super) fn first_state(run: &Run<'_>, text: &TextModel) -> Result<TrainState> {
    Ok(TrainState {
        format_version: FORMAT_VERSION,
        epoch: 1,
        batch: 0,
        step: 0,
        seed: run.config.training.seed,
        model: ModelState {
            config: run.config.to_toml()?,
            vocabulary_hash: text.hash()?,
            data_hash: run.train.data_hash()?,
            features: FeatureShape {
                regions: run.train.regions.regions(),
                width: run.train.regions.width(),
            },
            threshold: LearnedThreshold::first(&run.config.threshold),
        },
        epochs: Vec::new(),
        running: EpochSums::default(),
        best: None,
        epochs_without_gain: 0,
        collapsed_steps: 0,
        files: IgnoredAny,
    })
}
