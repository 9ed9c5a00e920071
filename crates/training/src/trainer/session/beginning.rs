//! What a run starts from: its tokenizer and its first state.

use std::path::Path;

use serde::de::IgnoredAny;
use uard_features::text::tokenizer::CaptionTokenizer;
use uard_relevance::ThresholdLearner;

use crate::checkpoint::{FORMAT_VERSION, FeatureShape, Running, TrainState};
use crate::error::io;
use crate::trainer::Run;
use crate::{Result, text};

pub(super) fn tokenizer_of(run: &Run<'_>, model: Option<&Path>) -> Result<CaptionTokenizer> {
    let captions = run.train.captions.iter().map(String::as_str);
    text::tokenizer(run.config, model, captions)
}

/// Writes what captions are read with into the run, and returns it for the checkpoints.
pub(super) fn written_files(
    tokenizer: &CaptionTokenizer,
    run: &Path,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let files = tokenizer.files()?;
    for (name, bytes) in &files {
        let path = run.join(name);
        uard_files::write(&path, bytes).map_err(io("write", &path))?;
    }
    Ok(files)
}

pub(super) fn first_state(run: &Run<'_>, tokenizer: &CaptionTokenizer) -> Result<TrainState> {
    Ok(TrainState {
        format_version: FORMAT_VERSION,
        epoch: 1,
        batch: 0,
        step: 0,
        seed: run.config.training.seed,
        config: run.config.to_toml()?,
        vocabulary_hash: tokenizer.hash()?,
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
