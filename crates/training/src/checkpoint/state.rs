//! What is remembered, beside weights and moments, so that a run continues as if never stopped.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use uard_relevance::ThresholdLearner;

use uard_report::record::{EpochRecord, Hills};

/// Version of the files of a checkpoint; another one is refused.
pub const FORMAT_VERSION: u32 = 2;

/// The contents of `state.json`.
///
/// Nothing in it depends on clock, path, device or thread count: records of epochs are stored with
/// zero seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// Version of the files.
    pub format_version: u32,
    /// The epoch that the next step belongs to, from 1.
    pub epoch: usize,
    /// The batch of that epoch that comes next, from 0.
    pub batch: usize,
    /// Steps taken.
    pub step: usize,
    /// Seed of every draw.
    pub seed: u64,
    /// The resolved configuration, as TOML.
    pub config: String,
    /// sha256 of the vocabulary, or of what else captions are read with.
    pub vocabulary_hash: String,
    /// sha256 of the training data.
    pub data_hash: String,
    /// Shape of the features.
    pub features: FeatureShape,
    /// Threshold with its distributions.
    pub threshold: ThresholdLearner,
    /// Every finished epoch.
    pub epochs: Vec<EpochRecord>,
    /// What the running epoch has gathered.
    pub running: Running,
    /// The best epoch so far.
    pub best: Option<Best>,
    /// Epochs since the best one.
    pub epochs_without_gain: usize,
    /// Steps in a row that look collapsed.
    pub collapsed_steps: usize,
    /// Checksums that one earlier version kept here instead of in `SHA256SUMS`; ignored.
    #[serde(default, skip_serializing)]
    pub files: IgnoredAny,
}

/// Shape of an image's features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureShape {
    /// Regions R of an image, the most.
    pub regions: usize,
    /// Width F.
    pub width: usize,
}

/// Sums over the steps of the running epoch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// Sum of the losses.
    pub loss: f64,
    /// Steps in the sum.
    pub steps: usize,
    /// Samples of relevance.
    pub hills: Hills,
}

/// The epoch of highest rsum on dev; of equals the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Steps taken at its end.
    pub step: usize,
    /// Its rsum, in percent points.
    pub rsum: f64,
}
