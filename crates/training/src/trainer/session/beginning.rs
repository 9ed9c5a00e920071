//! What does a run know before its first step?

use std::fs;
use std::path::Path;

use uard_features::text::vocabulary::Vocabulary;
use uard_relevance::ThresholdLearner;

use crate::Result;
use crate::checkpoint::{FORMAT_VERSION, FeatureShape, Running, TrainState};
use crate::error::io;
use crate::trainer::Run;

pub(super) fn vocabulary_of(run: &Run<'_>) -> Vocabulary {
    let captions = run.train.captions.iter().map(String::as_str);
    Vocabulary::build(captions, run.config.data.minimum_word_count)
}

/// Writes `vocab.json` into the run, and returns its bytes for the checkpoints.
pub(super) fn written_vocabulary(vocabulary: &Vocabulary, run: &Path) -> Result<Vec<u8>> {
    let path = run.join("vocab.json");
    vocabulary.write_json(&path)?;
    fs::read(&path).map_err(io("read", &path))
}

pub(super) fn first_state(run: &Run<'_>, vocabulary: &Vocabulary) -> Result<TrainState> {
    Ok(TrainState {
        format_version: FORMAT_VERSION,
        epoch: 1,
        batch: 0,
        step: 0,
        seed: run.config.training.seed,
        config: run.config.to_toml()?,
        vocabulary_hash: vocabulary.hash(),
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
    })
}
