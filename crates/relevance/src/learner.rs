//! How does the threshold move while the embedding is learned?

use crate::threshold::{NoThreshold, least_error_threshold};
use crate::{Carry, Distribution, Error, LearnerConfig};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// What one update did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
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
    /// The threshold stayed, and why.
    Kept(NoThreshold),
}

/// The distributions behind an accepted update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Of relevant relevance, S+.
    pub relevant: Distribution,
    /// Of irrelevant relevance, S-.
    pub irrelevant: Distribution,
}

/// The threshold, what it was learned from, and how often it moved or stayed.
///
/// Holds no settings: those are passed to each update. Stored with the weights, it resumes exactly.
///
/// ```
/// use uard_relevance::{LearnerConfig, ThresholdLearner};
///
/// let config = LearnerConfig { minimum_samples: 2, ..LearnerConfig::default() };
/// let mut learner = ThresholdLearner::new(&config);
/// learner.update(&config, &[0.7, 0.8], &[0.1, 0.3]);
///
/// let text = serde_json::to_string(&learner)?;
/// let resumed: ThresholdLearner = serde_json::from_str(&text)?;
/// assert_eq!(resumed, learner);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdLearner {
    #[serde(deserialize_with = "threshold_from_zero_to_one")]
    threshold: f64,
    accepted: Option<Accepted>,
    updates: u64,
    kept: BTreeMap<NoThreshold, u64>,
}

impl ThresholdLearner {
    /// A learner that has seen nothing and answers with the first threshold.
    pub fn new(config: &LearnerConfig) -> Self {
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

    /// Moves the threshold towards the one of least error between these samples.
    ///
    /// ```text
    /// t_k = clamp( argmin_t J(t), 0, 1 )        t <- smoothing · t_k + (1 - smoothing) · t_{k-1}
    /// ```
    /// The clamp comes before the smoothing, so one batch's far-off cut weighs no more than an end
    /// of the interval, and the result lies between the old and the clamped new threshold. Whatever
    /// gives no threshold ([`NoThreshold`]) leaves it, and the distributions, as they were; it is
    /// counted. That holds under [`Carry::Restart`] too.
    ///
    /// # Source
    /// Zhang et al., *UARDA*, IEEE TMM 2022: smoothing over updates.
    ///
    /// ```
    /// use uard_relevance::{LearnerConfig, NoThreshold, ThresholdLearner, Update};
    ///
    /// let config = LearnerConfig::default();
    /// let mut learner = ThresholdLearner::new(&config);
    /// let update = learner.update(&config, &[0.5, 0.6], &[0.1, 0.2]);
    /// assert_eq!(update, Update::Kept(NoThreshold::TooFewSamples));
    /// assert_eq!(learner.kept()[&NoThreshold::TooFewSamples], 1);
    /// ```
    pub fn update(
        &mut self,
        config: &LearnerConfig,
        relevant: &[f32],
        irrelevant: &[f32],
    ) -> Update {
        match estimate(config, relevant, irrelevant) {
            Err(reason) => {
                *self.kept.entry(reason).or_default() += 1;
                Update::Kept(reason)
            }
            Ok((raw, accepted)) => {
                let from = match config.carry {
                    Carry::AcrossBatches => self.threshold,
                    Carry::Restart => clamp(config.first_threshold),
                };
                self.threshold = smoothed(from, clamp(raw), config.smoothing);
                self.accepted = Some(accepted);
                self.updates += 1;
                let to = self.threshold;
                Update::Moved { from, to, raw }
            }
        }
    }
}

fn estimate(
    config: &LearnerConfig,
    relevant: &[f32],
    irrelevant: &[f32],
) -> Result<(f64, Accepted), NoThreshold> {
    if relevant.len().min(irrelevant.len()) < config.minimum_samples {
        return Err(NoThreshold::TooFewSamples);
    }
    let distribution = |samples| {
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

/// Rounding may carry the weighted mean past an end, hence the limits.
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
    use crate::DistributionKind;

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

    fn moved(update: Update) -> (f64, f64, f64) {
        match update {
            Update::Moved { from, to, raw } => (from, to, raw),
            Update::Kept(reason) => panic!("kept: {reason}"),
        }
    }

    #[test]
    fn new_threshold_weighs_seven_tenths() {
        let mut learner = ThresholdLearner::new(&config());
        let (from, to, raw) = moved(learner.update(&config(), &RELEVANT, &IRRELEVANT));
        assert_eq!(from, 0.0);
        assert!((raw - 0.4).abs() < ROUNDING && (to - 0.28).abs() < ROUNDING);
        let (from, to, _) = moved(learner.update(&config(), &RELEVANT, &IRRELEVANT));
        assert!((from - 0.28).abs() < ROUNDING && (to - 0.364).abs() < ROUNDING);
        assert_eq!((learner.threshold(), learner.updates()), (to, 2));
    }

    #[test]
    fn restart_smooths_with_the_first_threshold_every_time() {
        let config = LearnerConfig {
            carry: Carry::Restart,
            ..config()
        };
        let mut learner = ThresholdLearner::new(&config);
        let first = moved(learner.update(&config, &RELEVANT, &IRRELEVANT));
        let second = moved(learner.update(&config, &RELEVANT, &IRRELEVANT));
        assert_eq!(first, second);
    }

    #[test]
    fn every_reason_keeps_threshold_and_distributions_and_is_counted() {
        let mut learner = ThresholdLearner::new(&config());
        learner.update(&config(), &RELEVANT, &IRRELEVANT);
        let before = learner.clone();
        let cases: [(&[f32], &[f32], NoThreshold); 6] = [
            (&RELEVANT[..2], &IRRELEVANT, NoThreshold::TooFewSamples),
            (&RELEVANT, &IRRELEVANT[..2], NoThreshold::TooFewSamples),
            (&[0.5, f32::NAN, 0.7], &IRRELEVANT, NoThreshold::NonFinite),
            (&RELEVANT, &[0.2; 3], NoThreshold::ZeroSpread),
            (&IRRELEVANT, &RELEVANT, NoThreshold::MeansNotOrdered),
            (&RELEVANT, &RELEVANT, NoThreshold::MeansNotOrdered),
        ];
        for (relevant, irrelevant, reason) in cases {
            let update = learner.update(&config(), relevant, irrelevant);
            assert_eq!(update, Update::Kept(reason));
        }
        let harsh = LearnerConfig {
            penalty: 1e4,
            ..config()
        };
        let update = learner.update(&harsh, &[0.3, 0.31, 0.32], &[0.0, 0.3, 0.6]);
        assert_eq!(update, Update::Kept(NoThreshold::NoCrossing));
        assert_eq!(learner.threshold(), before.threshold());
        assert_eq!(learner.accepted(), before.accepted());
        assert_eq!(learner.updates(), 1);
        assert_eq!(learner.kept()[&NoThreshold::TooFewSamples], 2);
        assert_eq!(learner.kept().values().sum::<u64>(), 7);
    }

    #[test]
    fn histogram_of_what_is_no_cosine_keeps_the_threshold() {
        let config = LearnerConfig {
            distributions: DistributionKind::Empirical,
            ..config()
        };
        let mut learner = ThresholdLearner::new(&config);
        let update = learner.update(&config, &[0.5, 3.0, 0.7], &IRRELEVANT);
        assert_eq!(update, Update::Kept(NoThreshold::OutOfRange));
    }

    #[test]
    fn no_samples_at_all_keep_the_threshold_even_without_a_minimum() {
        let config = LearnerConfig {
            minimum_samples: 0,
            ..config()
        };
        let update = ThresholdLearner::new(&config).update(&config, &[], &[]);
        assert_eq!(update, Update::Kept(NoThreshold::TooFewSamples));
    }

    #[test]
    fn cut_outside_the_interval_is_clamped_before_smoothing() {
        let mut learner = ThresholdLearner::new(&config());
        let (_, to, raw) = moved(learner.update(&config(), &[2.5, 2.6, 2.7], &[2.0, 2.1, 2.2]));
        assert!(raw > 2.0);
        assert_eq!(to, 0.7);
        let below = [-0.9, -0.8, -0.7];
        let (from, to, raw) = moved(learner.update(&config(), &IRRELEVANT, &below));
        assert!(raw < 0.0);
        assert!((to - 0.3 * from).abs() < 1e-15);
    }

    #[test]
    fn state_survives_json_bit_for_bit() {
        for kind in DistributionKind::ALL {
            let config = LearnerConfig {
                distributions: *kind,
                ..config()
            };
            let mut learner = ThresholdLearner::new(&config);
            learner.update(&config, &RELEVANT, &IRRELEVANT);
            learner.update(&config, &[], &[]);
            let text = serde_json::to_string(&learner).unwrap();
            let resumed: ThresholdLearner = serde_json::from_str(&text).unwrap();
            assert_eq!(resumed, learner);
            assert_eq!(resumed.threshold().to_bits(), learner.threshold().to_bits());
        }
    }

    #[test]
    fn stored_threshold_outside_the_interval_is_refused() {
        let text = r#"{"threshold":1.5,"accepted":null,"updates":0,"kept":{}}"#;
        let error = serde_json::from_str::<ThresholdLearner>(text).unwrap_err();
        assert!(error.to_string().contains("threshold is 1.5"));
    }
}
