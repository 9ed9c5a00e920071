//! Studies: the results of settings over several seeds, and their differences to a baseline.

mod errors;
pub mod inside;
mod summary;
mod table;

use serde::{Deserialize, Serialize};
use uard_eval::{Interval, PairedDifference, Ranks, Spread};
use uard_relevance::EvaluationThreshold;

use crate::record::{RunRecord, SplitRecord};

pub(crate) use errors::measured_errors;
pub use errors::{ErrorShares, SampleErrors, sample_errors};
pub use summary::{FinishedRuns, RESAMPLES, StudyDescription, summarise};
pub(crate) use table::spread;
pub use table::{Cell, HEAD, TableGroup, sentences, table};

/// One run of a study with its evaluation: `result.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyRun {
    /// The record of the training, whose name is that of the setting.
    pub run: RunRecord,
    /// A threshold that replaces the configured one in the evaluation.
    pub asked: Option<EvaluationThreshold>,
    /// The evaluation of the best epoch on the reported split.
    pub evaluation: SplitRecord,
    /// sha256 of the reported split.
    pub evaluation_data_hash: String,
    /// For each image the rank of its best caption, and for each caption the rank of its image,
    /// from 1.
    #[serde(flatten)]
    pub ranks: Ranks,
    /// Wall-clock seconds of computing all similarities of the split.
    pub matching_seconds: f64,
}

/// A whole study: `study.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyRecord {
    /// Name of the study.
    pub name: String,
    /// The command, as typed.
    pub command: String,
    /// The setting that all others are compared with.
    pub baseline: String,
    /// Name of the reported split.
    pub split: String,
    /// sha256 of the training data; empty before the first run.
    pub data_hash: String,
    /// sha256 of the reported split; empty before the first run.
    pub evaluation_data_hash: String,
    /// Name of the device that computes.
    pub device: String,
    /// Number of runs of the whole study.
    pub planned_runs: usize,
    /// Number of runs that are done.
    pub finished_runs: usize,
    /// The settings, in the order of the file.
    pub settings: Vec<SettingRecord>,
}

impl StudyRecord {
    /// Neighbouring settings of the same group, together.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[SettingRecord]> {
        let same = |a: &SettingRecord, b: &SettingRecord| a.plan.group == b.plan.group;
        self.settings.chunk_by(same)
    }
}

/// One setting as the file of the study describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingPlan {
    /// Name of the setting.
    pub name: String,
    /// Heading of the setting's group; may be empty.
    pub group: String,
    /// Values of the configuration, each as `section.key=value`, in addition to those that all
    /// settings share.
    pub set: Vec<String>,
    /// The setting whose models this one evaluates, if it trains none.
    pub of: Option<String>,
    /// The threshold that these models are evaluated with.
    pub threshold: Option<EvaluationThreshold>,
    /// The seeds of the setting's runs.
    pub seeds: Vec<u64>,
}

/// The results of one setting over the seeds that are done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingRecord {
    /// The setting.
    pub plan: SettingPlan,
    /// Means over the runs; `None` before the first.
    pub means: Option<Means>,
    /// Difference to the baseline; `None` for the baseline itself, and without a common seed.
    pub difference: Option<DifferenceRecord>,
    /// Every run that is done.
    pub runs: Vec<RunNumbers>,
}

/// Means of a setting over its seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Means {
    /// rsum, 0 to 600.
    pub rsum: Spread,
    /// R@1 from image to text, in percent.
    pub image_to_text_r1: Spread,
    /// R@1 from text to image, in percent.
    pub text_to_image_r1: Spread,
    /// Threshold of the evaluation, a cosine; `None` for weight rules without one.
    pub threshold: Option<Spread>,
    /// Fraction of word queries above the threshold.
    pub word_queries: Spread,
    /// Fraction of region queries above the threshold.
    pub region_queries: Spread,
    /// Fraction of region-word cells above the threshold.
    pub cells: Spread,
    /// Fraction of samples on the wrong side of the threshold, by the fitted normals: the mean over
    /// relevant and irrelevant samples, with the penalty as the weight of irrelevant ones.
    pub modelled_error: Option<Spread>,
    /// Fraction of samples on the wrong side of the threshold, by counting: the mean over relevant
    /// and irrelevant samples, with equal weights.
    pub measured_error: Option<Spread>,
    /// Seconds of training.
    pub seconds: Spread,
    /// Seconds of computing all similarities of the split.
    pub matching_seconds: Spread,
}

/// rsum of a setting minus that of the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DifferenceRecord {
    /// The seeds that both settings have.
    pub seeds: Vec<u64>,
    /// The difference over these seeds.
    pub rsum: PairedDifference,
    /// 95 % interval of the difference when the images of the split are resampled with their
    /// captions.
    pub of_queries: Option<Interval>,
}

/// The numbers of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunNumbers {
    /// Seed of the run.
    pub seed: u64,
    /// The evaluation of the run's best epoch.
    pub evaluation: SplitRecord,
    /// Epoch of highest rsum on dev.
    pub best_epoch: usize,
    /// Errors of the best epoch's samples at the threshold of the evaluation.
    pub errors: Option<SampleErrors>,
    /// Seconds of training.
    pub seconds: f64,
    /// Seconds of computing all similarities of the split.
    pub matching_seconds: f64,
    /// The numbers of every epoch; empty where nothing was trained.
    pub epochs: Vec<EpochNumbers>,
}

/// The numbers of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochNumbers {
    /// Epoch, from 1.
    pub epoch: usize,
    /// rsum on dev.
    pub rsum: f64,
    /// Threshold at the end of the epoch; `None` for weight rules without one.
    pub threshold: Option<f64>,
    /// Errors of the epoch's samples at that threshold.
    pub errors: Option<SampleErrors>,
}
