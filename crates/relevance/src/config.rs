//! The settings of threshold learning.

use crate::{CaptionRule, DistributionKind, Error, Result, SamplingRule};
use serde::{Deserialize, Serialize};

/// The threshold with which an update averages the new one (see [`LearnerConfig::smoothing`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carry {
    /// The previous threshold, which carries over from batch to batch.
    #[default]
    AcrossBatches,
    /// The first threshold, again in every batch.
    ///
    /// # Source
    /// CrossmodalGroup/NAAF restarts at 0 in every batch.
    Restart,
}

/// Settings of threshold learning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearnerConfig {
    /// Which captions are sampled.
    pub captions: CaptionRule,
    /// Which mismatched images give irrelevant samples.
    pub sampling: SamplingRule,
    /// The form of both distributions.
    pub distributions: DistributionKind,
    /// What accepting an irrelevant pair costs, when refusing a relevant one costs 1.
    pub penalty: f64,
    /// Share of the new threshold in the smoothed one, from 0 (it never moves) to 1 (no smoothing).
    pub smoothing: f64,
    /// Samples that each side of a batch needs, 2 or more; with fewer the previous threshold is kept.
    /// A batch gives about one relevant sample for each word of its captions.
    pub minimum_samples: usize,
    /// The threshold before any update, from 0 to 1.
    pub first_threshold: f64,
    /// The threshold with which an update averages the new one.
    pub carry: Carry,
    /// Epochs, from the start, in which training attends with the first threshold. The threshold is
    /// learned all the same.
    pub hold_epochs: f64,
    /// Epochs after those, in which the threshold in use goes from the first to the learned one.
    pub anneal_epochs: f64,
}

impl Default for LearnerConfig {
    fn default() -> Self {
        Self {
            captions: CaptionRule::RankedFirst,
            sampling: SamplingRule::Easiest,
            distributions: DistributionKind::Normal,
            penalty: 1.0,
            smoothing: 0.7,
            minimum_samples: 200,
            first_threshold: 0.0,
            carry: Carry::AcrossBatches,
            hold_epochs: 0.0,
            anneal_epochs: 0.0,
        }
    }
}

impl LearnerConfig {
    /// The threshold that training attends with when `learned` is the learned one, `epochs` after
    /// its start.
    ///
    /// ```text
    /// first + clamp((epochs - hold_epochs) / anneal_epochs, 0, 1) (learned - first)
    /// ```
    /// Without annealing the learned one holds from `hold_epochs` on.
    ///
    /// ```
    /// use uard_relevance::LearnerConfig;
    ///
    /// let config = LearnerConfig { hold_epochs: 1.0, anneal_epochs: 2.0, ..Default::default() };
    /// assert_eq!(config.in_use(0.3, 0.5), 0.0);
    /// assert_eq!(config.in_use(0.3, 2.0), 0.15);
    /// assert_eq!(config.in_use(0.3, 5.0), 0.3);
    /// ```
    pub fn in_use(&self, learned: f64, epochs: f64) -> f64 {
        let past = epochs - self.hold_epochs;
        if past >= self.anneal_epochs {
            return learned;
        }
        let share = (past / self.anneal_epochs).max(0.0);
        self.first_threshold + share * (learned - self.first_threshold)
    }

    /// Checks every setting against the values it may take.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first that is out of range.
    ///
    /// ```
    /// use uard_relevance::LearnerConfig;
    ///
    /// let config = LearnerConfig { smoothing: 1.5, ..LearnerConfig::default() };
    /// let error = config.validate().unwrap_err();
    /// assert_eq!(error.to_string(), "setting `smoothing` is 1.5: expected a number from 0 to 1");
    /// ```
    pub fn validate(&self) -> Result<()> {
        let refuse = |setting, expected, found: String| {
            Err(Error::Setting {
                setting,
                expected,
                found,
            })
        };
        let unit = "a number from 0 to 1";
        if !(self.penalty.is_finite() && self.penalty > 0.0) {
            let found = self.penalty.to_string();
            return refuse("penalty", "a positive finite number", found);
        }
        if !(0.0..=1.0).contains(&self.smoothing) {
            return refuse("smoothing", unit, self.smoothing.to_string());
        }
        if !(0.0..=1.0).contains(&self.first_threshold) {
            return refuse("first_threshold", unit, self.first_threshold.to_string());
        }
        for (setting, epochs) in [
            ("hold_epochs", self.hold_epochs),
            ("anneal_epochs", self.anneal_epochs),
        ] {
            if !(epochs.is_finite() && epochs >= 0.0) {
                return refuse(setting, "a finite number, 0 or more", epochs.to_string());
            }
        }
        if self.minimum_samples < 2 {
            let found = self.minimum_samples.to_string();
            return refuse("minimum_samples", "2 or more, for a spread", found);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_unknown_settings_are_refused() {
        assert_eq!(LearnerConfig::default().validate(), Ok(()));
        let empty: LearnerConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(empty, LearnerConfig::default());
        assert!(serde_json::from_str::<LearnerConfig>(r#"{"smooth":1}"#).is_err());
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let setting = |config: LearnerConfig| match config.validate() {
            Err(Error::Setting { setting, .. }) => setting,
            other => panic!("{other:?}"),
        };
        let default = LearnerConfig::default;
        for penalty in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(
                setting(LearnerConfig {
                    penalty,
                    ..default()
                }),
                "penalty"
            );
        }
        for bad in [-0.1, 1.1, f64::NAN] {
            let smoothing = LearnerConfig {
                smoothing: bad,
                ..default()
            };
            assert_eq!(setting(smoothing), "smoothing");
            let first = LearnerConfig {
                first_threshold: bad,
                ..default()
            };
            assert_eq!(setting(first), "first_threshold");
        }
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            let hold = LearnerConfig {
                hold_epochs: bad,
                ..default()
            };
            assert_eq!(setting(hold), "hold_epochs");
            let anneal = LearnerConfig {
                anneal_epochs: bad,
                ..default()
            };
            assert_eq!(setting(anneal), "anneal_epochs");
        }
        let few = LearnerConfig {
            minimum_samples: 1,
            ..default()
        };
        assert_eq!(setting(few), "minimum_samples");
    }

    #[test]
    fn the_learned_threshold_holds_at_once_unless_it_is_held_back() {
        let at_once = LearnerConfig::default();
        assert_eq!(at_once.in_use(0.3, 0.0), 0.3);
        let held = LearnerConfig {
            hold_epochs: 2.0,
            first_threshold: 0.1,
            ..LearnerConfig::default()
        };
        assert_eq!(held.in_use(0.3, 1.99), 0.1);
        assert_eq!(held.in_use(0.3, 2.0), 0.3);
    }
}
