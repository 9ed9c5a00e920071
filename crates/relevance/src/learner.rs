//! The threshold that is learned while the embedding is trained, and the learner that moves it.

use std::collections::BTreeMap;
use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Deserializer, Serialize};

use crate::sampling::sample_pairs;
use crate::threshold::{NoThreshold, least_error_threshold};
use crate::{Carry, Distribution, Error, LearnerConfig, SampledPair, Samples, SimilarityMatrix};

/// What one update did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[must_use = "the threshold may have stayed: see `Update::Kept`"]
pub enum Update {
    /// The threshold was smoothed towards the one of this batch.
    Moved {
        /// What was smoothed with: the previous threshold, or the first one under [`Carry::Restart`].
        from: f64,
        /// The threshold now.
        to: f64,
        /// The threshold of this batch alone, before the clamp.
        raw: f64,
    },
    /// The threshold stayed.
    Kept {
        /// Why.
        reason: NoThreshold,
        /// The number of relevant samples of the batch.
        relevant: usize,
        /// The number of irrelevant samples of the batch.
        irrelevant: usize,
    },
}

impl fmt::Display for Update {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved { from, to, .. } => {
                write!(formatter, "threshold moved from {from:.4} to {to:.4}")
            }
            Self::Kept {
                reason,
                relevant,
                irrelevant,
            } => {
                write!(
                    formatter,
                    "threshold kept: {reason} ({relevant} relevant and {irrelevant} irrelevant samples)"
                )?;
                if *reason == NoThreshold::TooFewSamples {
                    write!(
                        formatter,
                        ": use larger batches of at least two images, lower `minimum_samples`, or \
                         sample all `captions`"
                    )?;
                }
                Ok(())
            }
        }
    }
}

/// The distributions of the samples that moved the threshold last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Of relevant samples, S+.
    pub relevant: Distribution,
    /// Of irrelevant samples, S-.
    pub irrelevant: Distribution,
}

/// A threshold, the distributions that it was learned from, and how often it moved or stayed.
///
/// The part of a [`ThresholdLearner`] that a checkpoint stores. It holds no settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnedThreshold {
    #[serde(deserialize_with = "threshold_from_zero_to_one")]
    threshold: f64,
    accepted: Option<Accepted>,
    updates: u64,
    kept: BTreeMap<NoThreshold, u64>,
}

impl LearnedThreshold {
    /// A threshold before any update: the first one of the settings.
    pub fn first(config: &LearnerConfig) -> Self {
        Self {
            threshold: clamp(config.first_threshold),
            accepted: None,
            updates: 0,
            kept: BTreeMap::new(),
        }
    }

    /// The threshold, from 0 to 1.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The distributions of the last update that moved the threshold.
    pub fn accepted(&self) -> Option<&Accepted> {
        self.accepted.as_ref()
    }

    /// How many updates moved the threshold.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// How many updates kept the threshold, by reason.
    pub fn kept(&self) -> &BTreeMap<NoThreshold, u64> {
        &self.kept
    }

    /// Updates in all, those that kept the threshold included.
    fn observed(&self) -> u64 {
        self.updates + self.kept.values().sum::<u64>()
    }
}

/// A batch of images and captions that a learner can sample. `uard_attention::Similarities` is one.
pub trait ObservedBatch {
    /// The error of reading the batch, which may lie on a device.
    type Error: From<Error>;

    /// Images I of the batch.
    fn images(&self) -> usize;

    /// The similarity of every pair, [I, C] row-major.
    ///
    /// # Errors
    /// When it cannot be read.
    fn similarities(&self) -> Result<Vec<f32>, Self::Error>;

    /// The samples of some pairs, in their order and in the order of words: for each word of a
    /// caption, padding left out, its highest relevance over the regions of an image.
    ///
    /// # Errors
    /// When they cannot be read.
    fn samples(&self, pairs: &[SampledPair]) -> Result<Samples, Self::Error>;
}

/// Learns a threshold while a model trains: call [`ThresholdLearner::observe`] once per batch, and
/// match the next batch with [`ThresholdLearner::threshold`].
///
/// ```
/// use uard_relevance::{LearnerConfig, Samples, ThresholdLearner, Update};
///
/// let config = LearnerConfig { minimum_samples: 2, ..LearnerConfig::default() };
/// let mut learner = ThresholdLearner::new(config.clone())?;
/// let samples = Samples { relevant: vec![0.7, 0.8], irrelevant: vec![0.1, 0.3] };
/// assert!(matches!(learner.update(&samples), Update::Moved { .. }));
///
/// // Stored with the weights, it continues exactly.
/// let text = serde_json::to_string(learner.learned())?;
/// let resumed = ThresholdLearner::resume(config, serde_json::from_str(&text)?)?;
/// assert_eq!(resumed.learned(), learner.learned());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ThresholdLearner {
    config: LearnerConfig,
    seed: u64,
    learned: LearnedThreshold,
}

impl ThresholdLearner {
    /// A learner before its first batch: its threshold is the first one of the settings.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn new(config: LearnerConfig) -> Result<Self, Error> {
        let learned = LearnedThreshold::first(&config);
        Self::resume(config, learned)
    }

    /// A learner that continues with a stored threshold.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn resume(config: LearnerConfig, learned: LearnedThreshold) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self {
            config,
            seed: 0,
            learned,
        })
    }

    /// The same learner with another seed for the mismatched images of
    /// [`SamplingRule::Random`](crate::SamplingRule::Random). Draws depend on the seed and on the
    /// number of updates so far, so a resumed learner draws the same.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The settings.
    pub fn config(&self) -> &LearnerConfig {
        &self.config
    }

    /// The threshold, from 0 to 1.
    pub fn threshold(&self) -> f64 {
        self.learned.threshold
    }

    /// The threshold with what it was learned from, to be stored with the weights.
    pub fn learned(&self) -> &LearnedThreshold {
        &self.learned
    }

    /// Samples a batch and moves the threshold: [`ThresholdLearner::sampled_pairs`], the batch's
    /// samples of these pairs, then [`ThresholdLearner::update`].
    ///
    /// # Shapes
    /// `image_of_caption`: `[C]`, for each caption the index of its image in the batch.
    ///
    /// # Errors
    /// When `image_of_caption` does not fit the batch, or the batch cannot be read.
    pub fn observe<B: ObservedBatch>(
        &mut self,
        batch: &B,
        image_of_caption: &[usize],
    ) -> Result<Update, B::Error> {
        let similarities = batch.similarities()?;
        let matrix = SimilarityMatrix::new(&similarities, batch.images(), image_of_caption)?;
        let samples = batch.samples(&self.sampled_pairs(&matrix))?;
        Ok(self.update(&samples))
    }

    /// The captions of a batch that give samples, ascending, with the images that their words are
    /// compared to, by the settings `captions` and `sampling`.
    ///
    /// ```
    /// use uard_relevance::{LearnerConfig, SimilarityMatrix, ThresholdLearner};
    ///
    /// // Two images, three captions: the first two captions belong to image 0.
    /// let similarities = [
    ///     0.9, 0.1, 0.2, //
    ///     0.3, 0.4, 0.8,
    /// ];
    /// let matrix = SimilarityMatrix::new(&similarities, 2, &[0, 0, 1])?;
    /// let pairs = ThresholdLearner::new(LearnerConfig::default())?.sampled_pairs(&matrix);
    /// // The second caption is more similar to the other image.
    /// let captions: Vec<usize> = pairs.iter().map(|pair| pair.caption).collect();
    /// assert_eq!(captions, [0, 2]);
    /// assert_eq!(pairs[0].mismatched_images, [1]);
    /// # Ok::<(), uard_relevance::Error>(())
    /// ```
    pub fn sampled_pairs(&self, matrix: &SimilarityMatrix<'_>) -> Vec<SampledPair> {
        let mut stream = ChaCha8Rng::seed_from_u64(self.seed);
        stream.set_stream(self.learned.observed());
        sample_pairs(matrix, &self.config, &mut |count| {
            rand::Rng::random_range(&mut stream, 0..count)
        })
    }

    /// Moves the threshold towards the one of least error between these samples.
    ///
    /// ```text
    /// t_k = clamp( argmin_t J(t), 0, 1 )        t <- smoothing · t_k + (1 - smoothing) · t_{k-1}
    /// ```
    /// The clamp comes before the smoothing, so a threshold far outside the interval weighs no more
    /// than an end of it, and the result lies between the old and the clamped new threshold. Samples
    /// that give no threshold ([`NoThreshold`]) leave it, and the distributions, as they were, and
    /// are counted. That holds under [`Carry::Restart`] too.
    ///
    /// # Source
    /// Zhang et al., *UARDA*, IEEE TMM 2022: smoothing over updates.
    ///
    /// ```
    /// use uard_relevance::{LearnerConfig, NoThreshold, Samples, ThresholdLearner, Update};
    ///
    /// let mut learner = ThresholdLearner::new(LearnerConfig::default())?;
    /// let samples = Samples { relevant: vec![0.5, 0.6], irrelevant: vec![0.1, 0.2] };
    /// // The default needs 200 samples on each side: lower `minimum_samples` for small batches.
    /// let update = learner.update(&samples);
    /// let reason = NoThreshold::TooFewSamples;
    /// assert_eq!(update, Update::Kept { reason, relevant: 2, irrelevant: 2 });
    /// assert_eq!(learner.learned().kept()[&NoThreshold::TooFewSamples], 1);
    /// # Ok::<(), uard_relevance::Error>(())
    /// ```
    pub fn update(&mut self, samples: &Samples) -> Update {
        let learned = &mut self.learned;
        match estimate(&self.config, samples) {
            Err(reason) => {
                *learned.kept.entry(reason).or_default() += 1;
                Update::Kept {
                    reason,
                    relevant: samples.relevant.len(),
                    irrelevant: samples.irrelevant.len(),
                }
            }
            Ok((raw, accepted)) => {
                let from = match self.config.carry {
                    Carry::AcrossBatches => learned.threshold,
                    Carry::Restart => clamp(self.config.first_threshold),
                };
                learned.threshold = smoothed(from, clamp(raw), self.config.smoothing);
                learned.accepted = Some(accepted);
                learned.updates += 1;
                let to = learned.threshold;
                Update::Moved { from, to, raw }
            }
        }
    }
}

fn estimate(config: &LearnerConfig, samples: &Samples) -> Result<(f64, Accepted), NoThreshold> {
    let Samples {
        relevant,
        irrelevant,
    } = samples;
    if relevant.len().min(irrelevant.len()) < config.minimum_samples {
        return Err(NoThreshold::TooFewSamples);
    }
    let distribution = |samples: &[f32]| {
        Distribution::from_samples(config.distributions, samples).map_err(|error| match error {
            Error::NoSamples => NoThreshold::TooFewSamples,
            Error::SampleOutOfRange { .. } => NoThreshold::OutOfRange,
            _ => NoThreshold::NonFinite,
        })
    };
    let accepted = Accepted {
        relevant: distribution(relevant)?,
        irrelevant: distribution(irrelevant)?,
    };
    let raw = least_error_threshold(&accepted.relevant, &accepted.irrelevant, config.penalty)?;
    Ok((raw, accepted))
}

/// The weighted mean, held between both ends, which rounding could leave.
fn smoothed(old: f64, new: f64, share: f64) -> f64 {
    (share * new + (1.0 - share) * old).clamp(old.min(new), old.max(new))
}

fn clamp(threshold: f64) -> f64 {
    threshold.clamp(0.0, 1.0)
}

fn threshold_from_zero_to_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let threshold = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&threshold) {
        return Ok(threshold);
    }
    let message = format!("threshold is {threshold}: expected a number from 0 to 1");
    Err(serde::de::Error::custom(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DistributionKind, SamplingRule};

    const RELEVANT: [f32; 3] = [0.5, 0.6, 0.7];
    const IRRELEVANT: [f32; 3] = [0.1, 0.2, 0.3];
    /// Samples are f32: equal spreads cut in the middle within their rounding.
    const ROUNDING: f64 = 1e-7;

    fn config() -> LearnerConfig {
        LearnerConfig {
            minimum_samples: 3,
            ..LearnerConfig::default()
        }
    }

    fn learner(config: LearnerConfig) -> ThresholdLearner {
        ThresholdLearner::new(config).unwrap()
    }

    fn samples(relevant: &[f32], irrelevant: &[f32]) -> Samples {
        Samples {
            relevant: relevant.to_vec(),
            irrelevant: irrelevant.to_vec(),
        }
    }

    fn usual() -> Samples {
        samples(&RELEVANT, &IRRELEVANT)
    }

    fn kept(update: Update) -> NoThreshold {
        match update {
            Update::Kept { reason, .. } => reason,
            Update::Moved { .. } => panic!("{update}"),
        }
    }

    fn moved(update: Update) -> [f64; 3] {
        match update {
            Update::Moved { from, to, raw } => [from, to, raw],
            Update::Kept { reason, .. } => panic!("kept: {reason}"),
        }
    }

    #[test]
    fn new_threshold_weighs_seven_tenths() {
        let mut learner = learner(config());
        let [from, to, raw] = moved(learner.update(&usual()));
        assert_eq!(from, 0.0);
        assert!((raw - 0.4).abs() < ROUNDING && (to - 0.28).abs() < ROUNDING);
        let [from, to, _] = moved(learner.update(&usual()));
        assert!((from - 0.28).abs() < ROUNDING && (to - 0.364).abs() < ROUNDING);
        assert_eq!(learner.threshold(), to);
        assert_eq!(learner.learned().updates(), 2);
    }

    #[test]
    fn restart_smooths_with_the_first_threshold_every_time() {
        let mut learner = learner(LearnerConfig {
            carry: Carry::Restart,
            ..config()
        });
        let first = moved(learner.update(&usual()));
        let second = moved(learner.update(&usual()));
        assert_eq!(first, second);
    }

    #[test]
    fn every_reason_keeps_threshold_and_distributions_and_is_counted() {
        let mut learner = learner(config());
        assert!(matches!(learner.update(&usual()), Update::Moved { .. }));
        let before = learner.learned().clone();
        let cases = [
            (
                samples(&RELEVANT[..2], &IRRELEVANT),
                NoThreshold::TooFewSamples,
            ),
            (
                samples(&RELEVANT, &IRRELEVANT[..2]),
                NoThreshold::TooFewSamples,
            ),
            (
                samples(&[0.5, f32::NAN, 0.7], &IRRELEVANT),
                NoThreshold::NonFinite,
            ),
            (samples(&RELEVANT, &[0.2; 3]), NoThreshold::ZeroSpread),
            (
                samples(&IRRELEVANT, &RELEVANT),
                NoThreshold::MeansNotOrdered,
            ),
            (samples(&RELEVANT, &RELEVANT), NoThreshold::MeansNotOrdered),
        ];
        for (samples, reason) in cases {
            assert_eq!(kept(learner.update(&samples)), reason);
        }
        learner.config.penalty = 1e4;
        let update = learner.update(&samples(&[0.3, 0.31, 0.32], &[0.0, 0.3, 0.6]));
        assert_eq!(kept(update), NoThreshold::NoCrossing);
        let learned = learner.learned();
        assert_eq!(learned.threshold(), before.threshold());
        assert_eq!(learned.accepted(), before.accepted());
        assert_eq!(learned.updates(), 1);
        assert_eq!(learned.kept()[&NoThreshold::TooFewSamples], 2);
        assert_eq!(learned.kept().values().sum::<u64>(), 7);
    }

    #[test]
    fn histogram_of_what_is_no_cosine_keeps_the_threshold() {
        let mut learner = learner(LearnerConfig {
            distributions: DistributionKind::Empirical,
            ..config()
        });
        let update = learner.update(&samples(&[0.5, 3.0, 0.7], &IRRELEVANT));
        assert_eq!(kept(update), NoThreshold::OutOfRange);
    }

    #[test]
    fn no_samples_at_all_keep_the_threshold() {
        let update = learner(config()).update(&Samples::default());
        assert_eq!(kept(update), NoThreshold::TooFewSamples);
        let text = update.to_string();
        assert!(
            text.contains("(0 relevant and 0 irrelevant samples)"),
            "{text}"
        );
        assert!(text.contains("`minimum_samples`"), "{text}");
    }

    #[test]
    fn cut_outside_the_interval_is_clamped_before_smoothing() {
        let mut learner = learner(config());
        let [_, to, raw] = moved(learner.update(&samples(&[2.5, 2.6, 2.7], &[2.0, 2.1, 2.2])));
        assert!(raw > 2.0);
        assert_eq!(to, 0.7);
        let [from, to, raw] = moved(learner.update(&samples(&IRRELEVANT, &[-0.9, -0.8, -0.7])));
        assert!(raw < 0.0);
        assert!((to - 0.3 * from).abs() < 1e-15);
    }

    #[test]
    fn settings_out_of_range_are_refused_before_anything_is_learned() {
        let wrong = LearnerConfig {
            smoothing: 7.0,
            ..config()
        };
        let error = ThresholdLearner::new(wrong).unwrap_err();
        assert!(error.to_string().contains("`smoothing` is 7"), "{error}");
    }

    #[test]
    fn random_images_depend_on_the_seed_and_on_the_updates_so_far() {
        let config = LearnerConfig {
            sampling: SamplingRule::Random,
            ..config()
        };
        let column: Vec<f32> = (0..40).map(|image| (40 - image) as f32).collect();
        let owners = [0; 1];
        let matrix = SimilarityMatrix::new(&column, 40, &owners).unwrap();
        let drawn = |learner: &ThresholdLearner| {
            let pairs = learner.sampled_pairs(&matrix);
            pairs[0].mismatched_images.clone()
        };
        let mut one = learner(config.clone());
        let first = drawn(&one);
        assert_eq!(first, drawn(&one));
        assert_ne!(first, drawn(&one.clone().with_seed(1)));
        assert!(matches!(
            one.update(&Samples::default()),
            Update::Kept { .. }
        ));
        let second = drawn(&one);
        assert_ne!(first, second);
        let resumed = ThresholdLearner::resume(config, one.learned().clone()).unwrap();
        assert_eq!(drawn(&resumed), second);
    }

    #[test]
    fn state_survives_json_bit_for_bit() {
        for kind in [DistributionKind::Normal, DistributionKind::Empirical] {
            let mut learner = learner(LearnerConfig {
                distributions: kind,
                ..config()
            });
            assert!(matches!(learner.update(&usual()), Update::Moved { .. }));
            assert!(matches!(
                learner.update(&Samples::default()),
                Update::Kept { .. }
            ));
            let text = serde_json::to_string(learner.learned()).unwrap();
            let resumed: LearnedThreshold = serde_json::from_str(&text).unwrap();
            assert_eq!(&resumed, learner.learned());
            assert_eq!(resumed.threshold().to_bits(), learner.threshold().to_bits());
        }
    }

    #[test]
    fn stored_threshold_outside_the_interval_is_refused() {
        let text = r#"{"threshold":1.5,"accepted":null,"updates":0,"kept":{}}"#;
        let error = serde_json::from_str::<LearnedThreshold>(text).unwrap_err();
        assert!(error.to_string().contains("threshold is 1.5"));
    }
}
