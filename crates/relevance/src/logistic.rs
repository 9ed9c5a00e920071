//! The chance that something is relevant, as a function of its relevance.

use serde::{Deserialize, Serialize};

use crate::{Error, Normal, Result};

/// Weight of the L2 penalty on the slope, for relevance in units of its standard deviation. Without it, samples
/// that do not overlap would have an infinite slope.
const PENALTY: f64 = 1e-3;

/// The most steps of Newton's method, and the longest; it needs about ten.
const STEPS: usize = 100;
const LONGEST_STEP: f64 = 1.0;

/// A step this short is the last.
const SHORT_STEP: f64 = 1e-10;

/// A logistic regression: log(p / (1 - p)) = slope × relevance + intercept, where p is the chance that a
/// sample of this relevance is one of the relevant ones.
///
/// The chance counts how many samples there are of each: it is right where relevant ones are as frequent as
/// among the samples.
///
/// ```
/// use uard_relevance::Logistic;
///
/// let curve = Logistic::fit(&[0.5, 0.6, 0.7, 0.3], &[0.1, 0.2, 0.3, 0.5])?;
/// let even = curve.relevance_at(0.0);
/// assert!((0.3..0.5).contains(&even) && (curve.chance(even) - 0.5).abs() < 1e-9);
/// assert!(curve.chance(0.7) > 0.8 && curve.explained() > 0.2);
/// assert!((curve.log_chance(0.7) - curve.chance(0.7).ln()).abs() < 1e-12);
/// # Ok::<(), uard_relevance::Error>(())
/// ```
///
/// # Source
/// Platt, "Probabilistic Outputs for Support Vector Machines", 1999.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logistic {
    slope: f64,
    intercept: f64,
    explained: f64,
}

impl Logistic {
    /// Fits slope and intercept by maximum likelihood, with Newton's method.
    ///
    /// # Errors
    /// When one of the two has no samples, or a sample is NaN or infinite.
    pub fn fit(relevant: &[f32], irrelevant: &[f32]) -> Result<Self> {
        if relevant.is_empty() || irrelevant.is_empty() {
            return Err(Error::NoSamples);
        }
        let samples = LabelledSamples::new(relevant, irrelevant)?;
        let share = relevant.len() as f64 / samples.scaled.len() as f64;
        let (mut slope, mut intercept) = (0.0, (share / (1.0 - share)).ln());
        for _ in 0..STEPS {
            let [slope_step, intercept_step] = samples.newton_step(slope, intercept);
            slope -= slope_step.clamp(-LONGEST_STEP, LONGEST_STEP);
            intercept -= intercept_step.clamp(-LONGEST_STEP, LONGEST_STEP);
            if slope_step.abs().max(intercept_step.abs()) < SHORT_STEP {
                break;
            }
        }
        let without = -(share * share.ln() + (1.0 - share) * (1.0 - share).ln());
        let slope_of_relevance = slope / samples.spread;
        Ok(Self {
            slope: slope_of_relevance,
            intercept: intercept - slope_of_relevance * samples.mean,
            explained: 1.0 - samples.loss(slope, intercept) / without,
        })
    }

    /// The chance that something of this relevance is relevant.
    pub fn chance(&self, relevance: f64) -> f64 {
        sigmoid(self.slope * relevance + self.intercept)
    }

    /// The natural logarithm of [`chance`](Self::chance), finite also where the chance underflows to 0.
    pub fn log_chance(&self, relevance: f64) -> f64 {
        let log_odds = self.slope * relevance + self.intercept;
        // log(1 / (1 + e^-x)), without overflow for negative x.
        log_odds.min(0.0) - (-log_odds.abs()).exp().ln_1p()
    }

    /// The relevance at which log(p / (1 - p)) has this value; infinite if the curve is flat.
    pub fn relevance_at(&self, log_odds: f64) -> f64 {
        (log_odds - self.intercept) / self.slope
    }

    /// Whether more relevance means a higher chance.
    pub fn rises(&self) -> bool {
        self.slope > 0.0
    }

    /// How much of the uncertainty the relevance explains: 0 if the chance is the same for all, 1 if it is
    /// certain for each. McFadden's R².
    pub fn explained(&self) -> f64 {
        self.explained
    }
}

fn sigmoid(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// Two samples, scaled to mean 0 and standard deviation 1 over both.
struct LabelledSamples {
    /// Each sample with its label: 1 for a relevant one, 0 for an irrelevant one.
    scaled: Vec<(f64, f64)>,
    mean: f64,
    spread: f64,
}

impl LabelledSamples {
    fn new(relevant: &[f32], irrelevant: &[f32]) -> Result<Self> {
        let all = [relevant, irrelevant].concat();
        let Normal { mean, std, .. } = Normal::from_samples(&all)?;
        // Of equal samples the slope is 0, whatever they are divided by.
        let spread = if std > 0.0 { std } else { 1.0 };
        let scaled = all.iter().map(|&value| (f64::from(value) - mean) / spread);
        let labels = [vec![1.0; relevant.len()], vec![0.0; irrelevant.len()]].concat();
        Ok(Self {
            scaled: scaled.zip(labels).collect(),
            mean,
            spread,
        })
    }

    /// The step of Newton's method, to be subtracted from slope and intercept.
    fn newton_step(&self, slope: f64, intercept: f64) -> [f64; 2] {
        let mut gradient = [0.0; 2];
        // The second derivatives: by slope, by both, by intercept.
        let mut curvature = [0.0; 3];
        for &(value, label) in &self.scaled {
            let chance = sigmoid(slope * value + intercept);
            let (error, weight) = (chance - label, chance * (1.0 - chance));
            gradient[0] += error * value;
            gradient[1] += error;
            curvature[0] += weight * value * value;
            curvature[1] += weight * value;
            curvature[2] += weight;
        }
        let penalty = PENALTY * self.scaled.len() as f64;
        gradient[0] += penalty * slope;
        curvature[0] += penalty;
        let [first, both, second] = curvature;
        let determinant = (first * second - both * both).max(f64::MIN_POSITIVE);
        [
            (second * gradient[0] - both * gradient[1]) / determinant,
            (first * gradient[1] - both * gradient[0]) / determinant,
        ]
    }

    /// The mean cross-entropy, without the penalty.
    fn loss(&self, slope: f64, intercept: f64) -> f64 {
        let losses = self.scaled.iter().map(|&(value, label)| {
            let log_odds = slope * value + intercept;
            let against = if label == 1.0 { -log_odds } else { log_odds };
            // log(1 + e^x), without overflow.
            against.max(0.0) + (-against.abs()).exp().ln_1p()
        });
        losses.sum::<f64>() / self.scaled.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loss with its penalty has its minimum at the fitted curve.
    #[test]
    fn no_other_curve_near_it_fits_better() {
        let relevant = [0.31, 0.45, 0.5, 0.52, 0.6, 0.2];
        let irrelevant = [0.1, 0.15, 0.2, 0.22, 0.3, 0.33, 0.4, 0.05];
        let samples = LabelledSamples::new(&relevant, &irrelevant).unwrap();
        let curve = Logistic::fit(&relevant, &irrelevant).unwrap();
        let slope = curve.slope * samples.spread;
        let intercept = curve.intercept + curve.slope * samples.mean;
        let loss =
            |slope: f64, intercept| samples.loss(slope, intercept) + PENALTY / 2.0 * slope * slope;
        let least = loss(slope, intercept);
        for (a, b) in [(1e-3, 0.0), (-1e-3, 0.0), (0.0, 1e-3), (0.0, -1e-3)] {
            assert!(loss(slope + a, intercept + b) > least, "{a} {b}");
        }
    }

    #[test]
    fn the_curve_passes_the_share_of_the_relevant_ones() {
        // Equal samples say nothing: the chance is their share.
        let curve = Logistic::fit(&[0.5; 3], &[0.5; 9]).unwrap();
        assert!((curve.chance(0.5) - 0.25).abs() < 1e-9, "{curve:?}");
        assert!(!curve.rises() && curve.explained().abs() < 1e-9);
        // The mean chance is the share of the relevant samples.
        let (relevant, irrelevant) = ([0.4, 0.6, 0.7], [0.1, 0.2, 0.3, 0.5, 0.55]);
        let curve = Logistic::fit(&relevant, &irrelevant).unwrap();
        let all = relevant.iter().chain(&irrelevant);
        let mean = all
            .map(|&value| curve.chance(f64::from(value)))
            .sum::<f64>()
            / 8.0;
        assert!((mean - 3.0 / 8.0).abs() < 1e-9, "{mean}");
    }

    #[test]
    fn samples_that_do_not_overlap_have_a_steep_curve_between_them() {
        let curve = Logistic::fit(&[0.6, 0.7, 0.8], &[0.1, 0.2, 0.3]).unwrap();
        assert!(curve.rises() && curve.explained() > 0.9, "{curve:?}");
        assert!((curve.relevance_at(0.0) - 0.45).abs() < 1e-6, "{curve:?}");
        let falling = Logistic::fit(&[0.1, 0.2], &[0.6, 0.7]).unwrap();
        assert!(!falling.rises());
    }

    #[test]
    fn missing_and_infinite_samples_are_errors() {
        assert_eq!(Logistic::fit(&[], &[0.1]), Err(Error::NoSamples));
        assert_eq!(Logistic::fit(&[0.1], &[]), Err(Error::NoSamples));
        let error = Logistic::fit(&[0.1], &[0.2, f32::INFINITY]).unwrap_err();
        assert!(
            matches!(error, Error::NonFiniteSample { index: 2, .. }),
            "{error}"
        );
    }
}
