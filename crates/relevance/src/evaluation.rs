//! Which threshold is a trained model evaluated with?

use crate::names::named;
use crate::{Accepted, ThresholdLearner};
use serde::{Deserialize, Serialize};

/// Which threshold is used when a trained model is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationThreshold {
    /// The learned one, as it is.
    #[default]
    Learned,
    /// Three standard deviations below the mean of relevant relevance.
    ///
    /// # Source
    /// CrossmodalGroup/NAAF: `mu+ - 3 sigma+`.
    #[serde(rename = "relevant_minus_3_std")]
    RelevantMinus3Std,
}

named!(EvaluationThreshold, "threshold at evaluation", {
    Learned => "learned",
    RelevantMinus3Std => "relevant_minus_3_std",
});

impl EvaluationThreshold {
    /// The threshold to evaluate with, from 0 to 1.
    ///
    /// Before any update moved the threshold there is no distribution to take three deviations
    /// from, and both choices answer with the learner's threshold.
    ///
    /// ```
    /// use uard_relevance::{EvaluationThreshold, LearnerConfig, ThresholdLearner};
    ///
    /// let config = LearnerConfig { minimum_samples: 3, ..LearnerConfig::default() };
    /// let mut learner = ThresholdLearner::new(&config);
    /// learner.update(&config, &[0.5, 0.6, 0.7], &[0.1, 0.2, 0.3]);
    /// let choice: EvaluationThreshold = "relevant_minus_3_std".parse()?;
    /// assert!((choice.resolve(&learner) - 0.3).abs() < 1e-6);
    /// # Ok::<(), uard_relevance::Error>(())
    /// ```
    pub fn resolve(self, learner: &ThresholdLearner) -> f64 {
        match (self, learner.accepted()) {
            (Self::RelevantMinus3Std, Some(Accepted { relevant, .. })) => {
                (relevant.mean() - 3.0 * relevant.std()).clamp(0.0, 1.0)
            }
            _ => learner.threshold(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LearnerConfig;

    #[test]
    fn three_deviations_below_the_relevant_mean_are_clamped_and_need_an_update() {
        let config = LearnerConfig {
            minimum_samples: 3,
            ..LearnerConfig::default()
        };
        let choice = EvaluationThreshold::RelevantMinus3Std;
        let mut learner = ThresholdLearner::new(&config);
        assert_eq!(choice.resolve(&learner), 0.0);
        learner.update(&config, &[0.2, 0.6, 1.0], &[-0.2, 0.1, 0.2]);
        assert_eq!(choice.resolve(&learner), 0.0);
        assert_eq!(
            EvaluationThreshold::Learned.resolve(&learner),
            learner.threshold()
        );
    }
}
