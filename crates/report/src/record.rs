//! What a run leaves behind in numbers: the records of `log.jsonl` and `metrics.json`.

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
    /// Hinge loss, summed over the batch.
    pub loss: f64,
    /// Threshold in use for this step (a cosine).
    pub threshold: f64,
    /// Learning rate of the first parameter group.
    pub learning_rate: f64,
    /// Global gradient norm before clipping.
    pub gradient_norm: f64,
    /// Wall-clock seconds of the step, data included.
    pub seconds: f64,
}

/// One epoch, after its evaluation on dev.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Steps taken so far in the run.
    pub step: usize,
    /// Mean loss a step.
    pub loss: f64,
    /// Threshold at the end of the epoch (a cosine).
    pub threshold: f64,
    /// Learning rate of the first parameter group at the end of the epoch.
    pub learning_rate: f64,
    /// Samples of the epoch behind the threshold.
    pub hills: Hills,
    /// Retrieval on dev.
    pub dev: SplitRecord,
    /// Wall-clock seconds of the epoch, evaluation included.
    pub seconds: f64,
}

/// The two hills: samples of relevant and irrelevant relevance.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Hills {
    /// Samples of matched pairs.
    pub relevant: Histogram,
    /// Samples of mismatched pairs.
    pub irrelevant: Histogram,
    /// Mean and standard deviation behind the last threshold, relevant samples.
    pub relevant_fit: Option<Fit>,
    /// The same for irrelevant samples.
    pub irrelevant_fit: Option<Fit>,
}

impl Hills {
    /// Samples, fit and name of both, the left one first.
    pub(crate) fn both(&self) -> [(&Histogram, Option<Fit>, &'static str); 2] {
        [
            (&self.irrelevant, self.irrelevant_fit, "irrelevant"),
            (&self.relevant, self.relevant_fit, "relevant"),
        ]
    }
}

/// Mean and standard deviation of a sample (cosines).
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
    /// Samples a bin, lowest bin first: [`Histogram::BINS`] numbers.
    #[serde(deserialize_with = "all_bins")]
    pub counts: Vec<u64>,
}

/// Refuses a file with another number of bins.
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
    /// Bins of a histogram.
    pub const BINS: usize = 100;

    /// Relevance that a bin is wide.
    pub(crate) const WIDTH: f64 = 2.0 / Self::BINS as f64;

    /// Counts samples in; a sample outside [-1, 1] goes to the outermost bin.
    pub fn add(&mut self, samples: &[f32]) {
        for &sample in samples {
            let position = (f64::from(sample) + 1.0) / 2.0 * Self::BINS as f64;
            let bin = (position.max(0.0) as usize).min(Self::BINS - 1);
            self.counts[bin] += 1;
        }
    }

    /// Middle and samples of each bin, the lowest first.
    pub(crate) fn bins(&self) -> impl Iterator<Item = (f64, u64)> {
        let middle = |bin: usize| -1.0 + (bin as f64 + 0.5) * Self::WIDTH;
        let counts = self.counts.iter().enumerate();
        counts.map(move |(bin, &count)| (middle(bin), count))
    }

    /// All samples.
    pub fn total(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// Share of samples below a value, linear inside its bin; nothing without samples.
    pub fn below(&self, value: f64) -> Option<f64> {
        let place = (value + 1.0) / 2.0 * self.counts.len() as f64;
        let part =
            |(bin, &count): (usize, &u64)| count as f64 * (place - bin as f64).clamp(0.0, 1.0);
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

/// One split, evaluated with one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitRecord {
    /// `dev` or `test`.
    pub split: String,
    /// Threshold used (a cosine).
    pub threshold: f64,
    /// Recall in percent, ranks, rsum.
    pub retrieval: RetrievalReport,
    /// How much of the attention was computed.
    pub kept: KeptFractions,
    /// Alignment against the truth, where it is known.
    pub alignment: Option<AlignmentRecord>,
}

/// Fractions, over all pairs of the split, that survive the threshold.
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
    /// Of the region-word cells above the threshold, how many are true.
    pub precision: f64,
    /// Of the true region-word cells, how many are above the threshold.
    pub recall: f64,
    /// Content words whose best region is a true one.
    pub best_region_accuracy: f64,
}

/// One whole run: the entries of `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// `learned`, `zero`, `scan`: what tells the runs of one report apart.
    pub name: String,
    /// The resolved configuration, as TOML.
    pub config: String,
    /// Seed of every draw.
    pub seed: u64,
    /// Device, in words.
    pub device: String,
    /// sha256 of the data, as the checkpoint has it.
    pub data_hash: String,
    /// Images and captions of the training split.
    pub train_images: usize,
    /// Captions of the training split.
    pub train_captions: usize,
    /// Trained numbers.
    pub parameters: usize,
    /// Every epoch.
    pub epochs: Vec<EpochRecord>,
    /// Epoch of highest rsum on dev.
    pub best_epoch: usize,
    /// The best epoch's model on the held-out split, where there is one.
    pub test: Option<SplitRecord>,
    /// Wall-clock seconds of the run.
    pub seconds: f64,
}

impl RunRecord {
    /// The epoch whose model counts; the last one where the best is not recorded.
    pub fn best_epoch(&self) -> Option<&EpochRecord> {
        let mut epochs = self.epochs.iter();
        let best = epochs.find(|epoch| epoch.epoch == self.best_epoch);
        best.or(self.epochs.last())
    }

    /// Whether its attention masks by a threshold at all: SCAN and MaxSim do not.
    pub fn masks(&self) -> bool {
        let rule: Option<String> = self.setting("matcher", "rule");
        !matches!(rule.as_deref().unwrap_or(&self.name), "scan" | "maxsim")
    }

    /// What accepting an irrelevant pair cost its threshold, where refusing a relevant one cost 1;
    /// 1 where its configuration does not say.
    pub fn penalty(&self) -> f64 {
        self.setting("threshold", "penalty").unwrap_or(1.0)
    }

    fn setting<T: DeserializeOwned>(&self, section: &str, key: &str) -> Option<T> {
        let config: toml::Table = toml::from_str(&self.config).ok()?;
        config.get(section)?.get(key)?.clone().try_into().ok()
    }
}

/// What a report draws besides numbers: a caption, what it found, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionExample {
    /// The caption, as written.
    pub caption: String,
    /// The caption's own image with the evidence of each word.
    pub matched: ExampleImage,
    /// Words with their relevance in the matched image.
    pub words: Vec<ExampleWord>,
    /// First images found for the caption, best first.
    pub found: Vec<FoundImage>,
    /// Rank of the caption's own image, from 1.
    pub rank: usize,
}

/// An encoded picture, or none where the data set has only features.
#[derive(Debug, Clone, PartialEq)]
pub struct ExampleImage {
    /// Id of the image.
    pub id: String,
    /// File bytes (PNG or JPEG), as in the data set.
    pub bytes: Option<Vec<u8>>,
    /// Width and height in pixels, if known.
    pub size: Option<(u32, u32)>,
}

/// A retrieved image.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundImage {
    /// The image.
    pub image: ExampleImage,
    /// Its similarity to the caption.
    pub similarity: f32,
    /// Whether the caption belongs to it.
    pub matched: bool,
}

/// A word and what answered it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExampleWord {
    /// The token.
    pub text: String,
    /// Highest relevance over the regions of the matched image.
    pub relevance: f32,
    /// Whether that is above the threshold.
    pub answered: bool,
    /// Box of the best region, x1 y1 x2 y2 in pixels, if boxes are known.
    pub best_box: Option<[f32; 4]>,
    /// Whether the best region truly shows the word, where the truth is known.
    pub correct: Option<bool>,
}
