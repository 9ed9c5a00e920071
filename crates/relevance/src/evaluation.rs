//! The threshold that a trained model is evaluated with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Accepted, Error, LearnedThreshold, Result};

/// Which threshold is used when a trained model is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationThreshold {
    /// The learned one, as it is.
    #[default]
    Learned,
    /// Three standard deviations below the mean of the relevant samples.
    ///
    /// # Source
    /// CrossmodalGroup/NAAF: `mu+ - 3 sigma+`.
    #[serde(rename = "relevant_minus_3_std")]
    RelevantMinus3Std,
    /// A fixed cosine; in files a number.
    #[serde(untagged)]
    Fixed(f64),
}

impl fmt::Display for EvaluationThreshold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Learned => formatter.pad("learned"),
            Self::RelevantMinus3Std => formatter.pad("relevant_minus_3_std"),
            Self::Fixed(threshold) => threshold.fmt(formatter),
        }
    }
}

impl FromStr for EvaluationThreshold {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = || text.parse().ok().filter(|t| (0.0..=1.0).contains(t));
        match text {
            "learned" => Ok(Self::Learned),
            "relevant_minus_3_std" => Ok(Self::RelevantMinus3Std),
            _ => number().map(Self::Fixed).ok_or_else(|| Error::UnknownName {
                choice: "threshold at evaluation",
                expected: "learned, relevant_minus_3_std, or a number from 0 to 1",
                found: text.to_owned(),
            }),
        }
    }
}

impl EvaluationThreshold {
    /// The threshold to evaluate with, from 0 to 1.
    ///
    /// Before the first update that moves the threshold there is no distribution of samples, and
    /// `RelevantMinus3Std` gives the threshold as it is, like `Learned`.
    ///
    /// ```
    /// use uard_relevance::{EvaluationThreshold, LearnerConfig, Samples, ThresholdLearner, Update};
    ///
    /// let config = LearnerConfig { minimum_samples: 3, ..LearnerConfig::default() };
    /// let mut learner = ThresholdLearner::new(config)?;
    /// let samples = Samples { relevant: vec![0.5, 0.6, 0.7], irrelevant: vec![0.1, 0.2, 0.3] };
    /// assert!(matches!(learner.update(&samples), Update::Moved { .. }));
    /// let choice: EvaluationThreshold = "relevant_minus_3_std".parse()?;
    /// assert!((choice.resolve(learner.learned()) - 0.3).abs() < 1e-6);
    /// # Ok::<(), uard_relevance::Error>(())
    /// ```
    pub fn resolve(self, learned: &LearnedThreshold) -> f64 {
        match (self, learned.accepted()) {
            (Self::Fixed(threshold), _) => threshold,
            (Self::RelevantMinus3Std, Some(Accepted { relevant, .. })) => {
                (relevant.mean() - 3.0 * relevant.std()).clamp(0.0, 1.0)
            }
            _ => learned.threshold(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LearnerConfig, Samples, ThresholdLearner};

    #[test]
    fn a_number_is_a_fixed_threshold_in_files_and_in_text() {
        let fixed = EvaluationThreshold::Fixed(0.25);
        assert_eq!(serde_json::to_string(&fixed).unwrap(), "0.25");
        assert_eq!(
            serde_json::from_str::<EvaluationThreshold>("0.25").unwrap(),
            fixed
        );
        assert_eq!("0.25".parse::<EvaluationThreshold>().unwrap(), fixed);
        assert_eq!(
            fixed.resolve(&LearnedThreshold::first(&LearnerConfig::default())),
            0.25
        );
        for wrong in ["1.5", "-0.1", "NaN", "learnt"] {
            assert!(wrong.parse::<EvaluationThreshold>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_those_of_serde() {
        for choice in [
            EvaluationThreshold::Learned,
            EvaluationThreshold::RelevantMinus3Std,
        ] {
            assert_eq!(serde_json::to_value(choice).unwrap(), choice.to_string());
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
    }

    #[test]
    fn three_deviations_below_the_relevant_mean_are_clamped_and_need_an_update() {
        let config = LearnerConfig {
            minimum_samples: 3,
            ..LearnerConfig::default()
        };
        let choice = EvaluationThreshold::RelevantMinus3Std;
        let mut learner = ThresholdLearner::new(config).unwrap();
        assert_eq!(choice.resolve(learner.learned()), 0.0);
        let _ = learner.update(&Samples {
            relevant: vec![0.2, 0.6, 1.0],
            irrelevant: vec![-0.2, 0.1, 0.2],
        });
        assert_eq!(choice.resolve(learner.learned()), 0.0);
        assert_eq!(
            EvaluationThreshold::Learned.resolve(learner.learned()),
            learner.threshold()
        );
    }
}
