//! What a run starts from: its first state, and the files that captions are read with.

use std::path::Path;

use serde::de::IgnoredAny;
use uard_features::text::TextModel;
use uard_relevance::ThresholdLearner;

use crate::Result;
use crate::checkpoint::{FORMAT_VERSION, FeatureShape, Running, TrainState};
use crate::error::io;
use crate::trainer::Run;

/// Writes what captions are read with into the run, and returns it for the checkpoints.
pub(super) fn written_files(text: &TextModel, run: &Path) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let files = text.files()?;
    for (name, bytes) in &files {
        let path = run.join(name);
        uard_files::write(&path, bytes).map_err(io("write", &path))?;
    }
    Ok(files)
}

pub(super) fn first_state(run: &Run<'_>, text: &TextModel) -> Result<TrainState> {
    Ok(TrainState {
        format_version: FORMAT_VERSION,
        epoch: 1,
        batch: 0,
        step: 0,
        seed: run.config.training.seed,
        config: run.config.to_toml()?,
        vocabulary_hash: text.hash()?,
        data_hash: run.train.data_hash()?,
        features: FeatureShape {
            regions: run.train.regions.regions(),
            width: run.train.regions.width(),
        },
        threshold: ThresholdLearner::new(&run.config.threshold),
        epochs: Vec::new(),
        running: Running::default(),
        best: None,
        epochs_without_gain: 0,
        collapsed_steps: 0,
        files: IgnoredAny,
    })
}
