//! The records of a training run: the lines of `log.jsonl` and the entries of `metrics.json`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use uard_eval::RetrievalReport;

/// One line of `log.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LogLine {
    /// A step was taken.
    Step(StepRecord),
    /// An epoch ended and dev was evaluated.
    Epoch(Box<EpochRecord>),
}

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Step over the whole run, from 1.
    pub step: usize,
    /// Hinge loss, summed or averaged over the captions of the batch.
    pub loss: f64,
    /// Threshold in use for this step (a cosine).
    pub threshold: f64,
    /// Learning rate of the first parameter group.
    pub learning_rate: f64,
    /// Global gradient norm before clipping.
    pub gradient_norm: f64,
    /// Wall-clock seconds of the step, waiting for data included.
    pub seconds: f64,
}

/// One epoch, after its evaluation on dev.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Number of steps taken since the start of the run.
    pub step: usize,
    /// Mean loss of the epoch's steps.
    pub loss: f64,
    /// Threshold at the end of the epoch (a cosine).
    pub threshold: f64,
    /// Learning rate of the first parameter group at the end of the epoch.
    pub learning_rate: f64,
    /// The samples of the epoch that the threshold was learned from.
    pub hills: Hills,
    /// Retrieval on dev.
    pub dev: SplitRecord,
    /// Wall-clock seconds of the epoch, evaluation included.
    pub seconds: f64,
}

/// The two hills: the distributions of relevant and of irrelevant samples.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Hills {
    /// Samples of matched pairs.
    pub relevant: Histogram,
    /// Samples of mismatched pairs.
    pub irrelevant: Histogram,
    /// Mean and standard deviation of the relevant samples at the last update of the threshold.
    pub relevant_fit: Option<Fit>,
    /// Mean and standard deviation of the irrelevant samples at the last update of the threshold.
    pub irrelevant_fit: Option<Fit>,
}

impl Hills {
    /// Histogram, fit and name of both hills, irrelevant first.
    pub(crate) fn both(&self) -> [(&Histogram, Option<Fit>, &'static str); 2] {
        [
            (&self.irrelevant, self.irrelevant_fit, "irrelevant"),
            (&self.relevant, self.relevant_fit, "relevant"),
        ]
    }
}

/// Mean and standard deviation of the samples of one hill (cosines).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Mean.
    pub mean: f64,
    /// Bessel-corrected standard deviation.
    pub std: f64,
}

/// Counts over equal bins of [-1, 1].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Number of samples in each bin, lowest first: [`Histogram::BINS`] numbers.
    #[serde(deserialize_with = "all_bins")]
    pub counts: Vec<u64>,
}

/// Reads the counts; it is an error if there are not [`Histogram::BINS`] of them.
fn all_bins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    let counts = Vec::deserialize(deserializer)?;
    if counts.len() == Histogram::BINS {
        return Ok(counts);
    }
    let expected = format!("a histogram of {} bins", Histogram::BINS);
    Err(serde::de::Error::invalid_length(
        counts.len(),
        &expected.as_str(),
    ))
}

impl Histogram {
    /// Number of bins.
    pub const BINS: usize = 100;

    /// Width of a bin (a difference of cosines).
    pub(crate) const WIDTH: f64 = 2.0 / Self::BINS as f64;

    /// Adds samples; a sample outside [-1, 1] goes to the nearest bin.
    pub fn add(&mut self, samples: &[f32]) {
        for &sample in samples {
            let position = (f64::from(sample) + 1.0) / 2.0 * Self::BINS as f64;
            let bin = (position.max(0.0) as usize).min(Self::BINS - 1);
            self.counts[bin] += 1;
        }
    }

    /// Middle and number of samples of each bin, the lowest first.
    pub(crate) fn bins(&self) -> impl Iterator<Item = (f64, u64)> {
        let middle = |bin: usize| -1.0 + (bin as f64 + 0.5) * Self::WIDTH;
        let counts = self.counts.iter().enumerate();
        counts.map(move |(bin, &count)| (middle(bin), count))
    }

    /// Number of all samples.
    pub fn total(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// The fraction of samples below a value, interpolated linearly inside its bin; `None` without
    /// samples.
    pub fn below(&self, value: f64) -> Option<f64> {
        let position = (value + 1.0) / 2.0 * self.counts.len() as f64;
        let part =
            |(bin, &count): (usize, &u64)| count as f64 * (position - bin as f64).clamp(0.0, 1.0);
        let below: f64 = self.counts.iter().enumerate().map(part).sum();
        let total = self.total();
        (total > 0).then(|| below / total as f64)
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; Self::BINS],
        }
    }
}

/// The evaluation of one model on one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitRecord {
    /// Name of the split: `dev` or `test`.
    pub split: String,
    /// Threshold used (a cosine).
    pub threshold: f64,
    /// Recall in percent, ranks, rsum.
    pub retrieval: RetrievalReport,
    /// Fractions of queries and cells above the threshold.
    pub kept: KeptFractions,
    /// Alignment against the truth, where it is known.
    pub alignment: Option<AlignmentRecord>,
}

/// Fractions above the threshold, over all pairs of the split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KeptFractions {
    /// Word queries with at least one region above the threshold.
    pub word_queries: f64,
    /// Region queries with at least one word above the threshold.
    pub region_queries: f64,
    /// Region-word cells above the threshold.
    pub cells: f64,
}

/// Alignment precision and recall of matched pairs, as fractions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AlignmentRecord {
    /// Fraction of the region-word cells above the threshold that are true.
    pub precision: f64,
    /// Fraction of the true region-word cells that are above the threshold.
    pub recall: f64,
    /// Fraction of content words whose most relevant region truly shows them.
    pub best_region_accuracy: f64,
}

/// One whole run: an entry of `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Name of the run, such as `learned`, `zero` or `scan`.
    pub name: String,
    /// The resolved configuration, as TOML.
    pub config: String,
    /// Seed of all random draws.
    pub seed: u64,
    /// Description of the device.
    pub device: String,
    /// sha256 of the training data, as the checkpoint stores it.
    pub data_hash: String,
    /// Number of images of the training split.
    pub train_images: usize,
    /// Number of captions of the training split.
    pub train_captions: usize,
    /// Number of trained numbers in all parameters.
    pub parameters: usize,
    /// The record of every epoch.
    pub epochs: Vec<EpochRecord>,
    /// Epoch of highest rsum on dev.
    pub best_epoch: usize,
    /// The evaluation of the best epoch's model on the test split, where there is one.
    pub test: Option<SplitRecord>,
    /// Wall-clock seconds of the run.
    pub seconds: f64,
}

impl RunRecord {
    /// The record of the best epoch, or the last record if that one is missing.
    pub fn best_epoch(&self) -> Option<&EpochRecord> {
        let mut epochs = self.epochs.iter();
        let best = epochs.find(|epoch| epoch.epoch == self.best_epoch);
        best.or(self.epochs.last())
    }

    /// Whether the run's weight rule uses a threshold: `scan` and `maxsim` do not.
    pub fn masks(&self) -> bool {
        let rule: Option<String> = self.setting("matcher", "rule");
        !matches!(rule.as_deref().unwrap_or(&self.name), "scan" | "maxsim")
    }

    /// The penalty α of the run's configuration: the cost of an irrelevant sample above the
    /// threshold, if a relevant one below it costs 1. It is 1 where the configuration does not set
    /// it.
    pub fn penalty(&self) -> f64 {
        self.setting("threshold", "penalty").unwrap_or(1.0)
    }

    fn setting<T: DeserializeOwned>(&self, section: &str, key: &str) -> Option<T> {
        let config: toml::Table = toml::from_str(&self.config).ok()?;
        config.get(section)?.get(key)?.clone().try_into().ok()
    }
}

/// A retrieval example of a report: a caption, the images retrieved for it, and the relevance of its
/// words.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionExample {
    /// The caption, as written.
    pub caption: String,
    /// The caption's own image.
    pub matched: ExampleImage,
    /// Words with their relevance in the matched image.
    pub words: Vec<ExampleWord>,
    /// The most similar images, best first.
    pub found: Vec<FoundImage>,
    /// Rank of the caption's own image, from 1.
    pub rank: usize,
}

/// An image of an example, with its picture where the data set has it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExampleImage {
    /// Id of the image.
    pub id: String,
    /// Bytes of its file (JPEG, PNG, WebP or GIF), as in the data set.
    pub bytes: Option<Vec<u8>>,
    /// Size of the picture, if known.
    pub size: Option<PictureSize>,
}

/// Width and height of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureSize {
    /// Width, in pixels.
    pub width: u32,
    /// Height, in pixels.
    pub height: u32,
}

/// A retrieved image.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundImage {
    /// The image.
    pub image: ExampleImage,
    /// The image's similarity to the caption.
    pub similarity: f32,
    /// Whether this is the caption's own image.
    pub matched: bool,
}

/// A word with its relevance in the matched image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExampleWord {
    /// The token.
    pub text: String,
    /// Highest relevance over the regions of the matched image.
    pub relevance: f32,
    /// Whether that relevance is above the threshold.
    pub answered: bool,
    /// Box of the best region, x1 y1 x2 y2 in pixels, if boxes are known.
    pub best_box: Option<[f32; 4]>,
    /// Whether the best region truly shows the word, where the truth is known.
    pub correct: Option<bool>,
}
