//! The sections of a configuration that only training uses. A number in parentheses is the default.

use serde::{Deserialize, Serialize};
use uard_linalg::matmul::Matmul;

/// `[data]`: the vocabulary of the training captions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Words with fewer occurrences than this in the training captions become `<unk>` (4, as in
    /// SCAN).
    pub minimum_word_count: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            minimum_word_count: 4,
        }
    }
}

/// `[loss]`: the hinge loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// How much more similar a matched pair must be than a mismatched one (0.2).
    pub margin: f64,
    /// Number of first epochs that sum over all negatives; later ones use the hardest only (1).
    pub warm_up_epochs: usize,
    /// Whether the losses of the captions are summed (default) or averaged.
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
    /// The sum of the losses.
    #[default]
    Sum,
    /// The mean of the losses.
    Mean,
}

/// `[optimizer]`: Adam or AdamW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// `adam` (weight decay is added to the gradient) or `adamw` (weight decay is decoupled).
    pub kind: OptimizerKind,
    /// Learning rate before the schedule (5e-4).
    pub learning_rate: f64,
    /// Decay rate of the first moment, the running mean of gradients (0.9).
    pub beta1: f64,
    /// Decay rate of the second moment, the running mean of squared gradients (0.999).
    pub beta2: f64,
    /// Added to the square root of the second moment, by which the update is divided (1e-8).
    pub epsilon: f64,
    /// Weight decay of parameters that belong to no group (0).
    pub weight_decay: f64,
    /// Largest global gradient norm (2); 0 switches clipping off.
    pub clip_norm: f64,
    /// Parameters with settings of their own; a parameter belongs to the first group whose prefix
    /// its name has.
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

/// Where weight decay is applied.
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
    /// Factor on the learning rate (1); 0 freezes the parameters.
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
    /// For `step`: the factor (0.1). For `cosine`: the fraction of the rate that is left at the
    /// end.
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
    /// The rate drops once.
    #[default]
    Step,
    /// The rate does not change.
    Constant,
    /// The rate follows half a cosine, from the full rate to `factor` times it.
    Cosine,
}

/// `[training]`: the training loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Passes over all captions (20).
    pub epochs: usize,
    /// Number of steps after which training stops even within an epoch; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_steps: Option<usize>,
    /// Number of captions in a batch (128).
    pub batch: usize,
    /// Number of parts in which a batch is encoded (1): more parts need less memory and give the
    /// same gradient.
    pub accumulation: usize,
    /// Probability that a word of a caption is left out of a step (0).
    pub omit_words: f64,
    /// Probability that a region of an image is left out of a step (0).
    pub omit_regions: f64,
    /// Seed of all random draws (0).
    pub seed: u64,
    /// Precision of the large products: `f32` (default), or `bf16`, which rounds both factors and
    /// sums in f32; on CUDA it rounds to TF32, which has three more bits. Parameters, gradients and
    /// moments are f32 either way.
    pub matmul: Matmul,
    /// Number of epochs without a better rsum on dev after which training stops; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Steps between checkpoints within an epoch (0: only at its end).
    pub checkpoint_every: usize,
    /// How many of the newest checkpoints are kept, besides the best one (2).
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
