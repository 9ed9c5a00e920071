//! The sections of a configuration that only training has, and their defaults.

use serde::{Deserialize, Serialize};
use uard_linalg::matmul::Matmul;

/// `[data]`: what is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Words rarer than this in the training captions become `<unk>` (4, as SCAN).
    pub minimum_word_count: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            minimum_word_count: 4,
        }
    }
}

/// `[loss]`: the hinge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// A matched pair must be this much more similar than a mismatched one (0.2).
    pub margin: f64,
    /// Epochs that sum over all negatives before the hardest alone count (1).
    pub warm_up_epochs: usize,
    /// Whether the captions' losses are summed (default) or averaged.
    pub reduction: Reduction,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            margin: 0.2,
            warm_up_epochs: 1,
            reduction: Reduction::Sum,
        }
    }
}

/// How the losses of a batch's captions become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Their sum.
    #[default]
    Sum,
    /// Their mean.
    Mean,
}

/// `[optimizer]`: how a gradient moves the parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// `adam` (decay joins the gradient) or `adamw` (decay is decoupled).
    pub kind: OptimizerKind,
    /// Learning rate before the schedule (5e-4).
    pub learning_rate: f64,
    /// Decay of the mean of gradients (0.9).
    pub beta1: f64,
    /// Decay of the mean of squared gradients (0.999).
    pub beta2: f64,
    /// Added to the root of the second moment (1e-8).
    pub epsilon: f64,
    /// Weight decay of parameters in no group (0).
    pub weight_decay: f64,
    /// Largest global gradient norm (2); 0 switches clipping off.
    pub clip_norm: f64,
    /// Parameters that differ; the first group whose prefix fits a name counts.
    pub groups: Vec<GroupConfig>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::Adam,
            learning_rate: 5e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip_norm: 2.0,
            groups: Vec::new(),
        }
    }
}

/// Which optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Weight decay is added to the gradient.
    #[default]
    Adam,
    /// Weight decay shrinks the parameter directly.
    Adamw,
}

/// `[[optimizer.groups]]`: parameters whose names share a prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// Beginning of the parameters' names.
    pub prefix: String,
    /// Factor on the learning rate (1); 0 freezes.
    #[serde(default = "one")]
    pub learning_rate_scale: f64,
    /// Weight decay (0).
    #[serde(default)]
    pub weight_decay: f64,
}

fn one() -> f64 {
    1.0
}

/// `[schedule]`: the learning rate over the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// `step`, `constant` or `cosine`.
    pub kind: ScheduleKind,
    /// For `step`: the fraction of all steps after which the rate is multiplied by `factor` (0.5).
    pub decay_at: f64,
    /// For `step`: the factor (0.1). For `cosine`: the fraction of the rate left at the end.
    pub factor: f64,
    /// Steps over which the rate rises linearly from zero (0: none).
    pub warm_up_steps: usize,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Step,
            decay_at: 0.5,
            factor: 0.1,
            warm_up_steps: 0,
        }
    }
}

/// Shape of the learning rate over the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// One drop.
    #[default]
    Step,
    /// No change.
    Constant,
    /// Half a cosine, from the full rate to `factor` of it.
    Cosine,
}

/// `[training]`: the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Passes over all captions (20).
    pub epochs: usize,
    /// Steps after which training stops, whatever the epochs say; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_steps: Option<usize>,
    /// Captions a batch (128).
    pub batch: usize,
    /// Parts in which a batch is encoded (1): less memory, the same gradient.
    pub accumulation: usize,
    /// Chance of a caption's word to be left out of a step (0).
    pub omit_words: f64,
    /// Chance of an image's region to be left out of a step (0).
    pub omit_regions: f64,
    /// Seed of every draw (0).
    pub seed: u64,
    /// Numbers of the large products: `f32` (default), or `bf16`, which rounds both sides and sums
    /// in f32; on CUDA it rounds to TF32, which has three more bits. Parameters, gradients and moments are f32 either way.
    pub matmul: Matmul,
    /// Epochs without a better rsum on dev after which training stops; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Steps between checkpoints within an epoch (0: only at its end).
    pub checkpoint_every: usize,
    /// Newest checkpoints that are kept, the best beside them (2).
    pub keep_last: usize,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            epochs: 20,
            maximum_steps: None,
            batch: 128,
            accumulation: 1,
            omit_words: 0.0,
            omit_regions: 0.0,
            seed: 0,
            matmul: Matmul::F32,
            patience: None,
            checkpoint_every: 0,
            keep_last: 2,
        }
    }
}
