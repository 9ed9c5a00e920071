//! What many runs come to: settings side by side, each over its seeds, and against a baseline.

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
pub use summary::{Asked, RESAMPLES, Settled, summarise};
pub(crate) use table::spread;
pub use table::{Cell, HEAD, TableGroup, table};

/// One run of a study with its evaluation: `result.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyRun {
    /// The training, named by its setting.
    pub run: RunRecord,
    /// The threshold that was asked for instead of the one that the configuration evaluates with.
    pub asked: Option<EvaluationThreshold>,
    /// The best epoch on the split that is reported.
    pub evaluation: SplitRecord,
    /// sha256 of that split.
    pub evaluation_data_hash: String,
    /// At which place each image found its first caption and each caption its image, from 1.
    #[serde(flatten)]
    pub ranks: Ranks,
    /// Wall-clock seconds in which all images and captions of the split were matched.
    pub matching_seconds: f64,
}

/// A whole study: `study.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyRecord {
    /// Name of the study.
    pub name: String,
    /// The command, as typed.
    pub command: String,
    /// The setting that differences are taken against.
    pub baseline: String,
    /// Split that is reported.
    pub split: String,
    /// sha256 of the training data; empty before the first run.
    pub data_hash: String,
    /// sha256 of the reported split; empty before the first run.
    pub evaluation_data_hash: String,
    /// Where tensors live.
    pub device: String,
    /// Runs that the study asks for.
    pub planned_runs: usize,
    /// Runs that are done.
    pub finished_runs: usize,
    /// The settings, in the order of the file.
    pub settings: Vec<SettingRecord>,
}

impl StudyRecord {
    /// Neighbours of one group together.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[SettingRecord]> {
        let same = |a: &SettingRecord, b: &SettingRecord| a.plan.group == b.plan.group;
        self.settings.chunk_by(same)
    }
}

/// What is asked for under one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingPlan {
    /// Its name.
    pub name: String,
    /// Heading that it stands under; may be empty.
    pub group: String,
    /// What it sets beside the values of every run.
    pub set: Vec<String>,
    /// The setting whose models it evaluates, where it trains none.
    pub of: Option<String>,
    /// The threshold that they are evaluated with.
    pub threshold: Option<EvaluationThreshold>,
    /// Seeds that are asked for.
    pub seeds: Vec<u64>,
}

/// One setting over the seeds that are done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingRecord {
    /// What was asked for.
    pub plan: SettingPlan,
    /// Means over the runs; absent before the first.
    pub means: Option<Means>,
    /// Against the baseline; absent for the baseline itself, and without a common seed.
    pub difference: Option<DifferenceRecord>,
    /// Every run that is done.
    pub runs: Vec<RunNumbers>,
}

/// Means of a setting over its seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Means {
    /// rsum, 0 to 600.
    pub rsum: Spread,
    /// R@1 of images asking for captions, in percent.
    pub image_to_text_r1: Spread,
    /// R@1 of captions asking for images, in percent.
    pub text_to_image_r1: Spread,
    /// Threshold of the evaluation, a cosine; absent for rules without one.
    pub threshold: Option<Spread>,
    /// Fraction of word queries kept.
    pub word_queries: Spread,
    /// Fraction of region queries kept.
    pub region_queries: Spread,
    /// Fraction of region-word cells kept.
    pub cells: Spread,
    /// Error that the fitted normals promise, a fraction.
    pub modelled_error: Option<Spread>,
    /// Error of the samples themselves, a fraction.
    pub measured_error: Option<Spread>,
    /// Seconds of training.
    pub seconds: Spread,
    /// Seconds of matching the whole split once.
    pub matching_seconds: Spread,
}

/// rsum of a setting minus that of the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DifferenceRecord {
    /// Seeds that both have.
    pub seeds: Vec<u64>,
    /// Over them.
    pub rsum: PairedDifference,
    /// 95 % over images of the split, resampled with their captions.
    pub of_queries: Option<Interval>,
}

/// One run in a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunNumbers {
    /// Its seed.
    pub seed: u64,
    /// The evaluation of its best epoch.
    pub evaluation: SplitRecord,
    /// Epoch of highest rsum on the split that chooses.
    pub best_epoch: usize,
    /// Errors of the best epoch's samples at the threshold of the evaluation.
    pub errors: Option<SampleErrors>,
    /// Seconds of training.
    pub seconds: f64,
    /// Seconds of matching the whole split once.
    pub matching_seconds: f64,
    /// What is drawn over epochs; empty where nothing was trained.
    pub epochs: Vec<EpochNumbers>,
}

/// One epoch in a line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochNumbers {
    /// Epoch, from 1.
    pub epoch: usize,
    /// rsum on the split that chooses.
    pub rsum: f64,
    /// Threshold at its end; absent for rules without one.
    pub threshold: Option<f64>,
    /// Errors of its samples at that threshold.
    pub errors: Option<SampleErrors>,
}
