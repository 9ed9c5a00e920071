//! The fraction of samples on the wrong side of the threshold, by the fitted normals and by counting.

use serde::{Deserialize, Serialize};
use uard_relevance::{Distribution, Normal, error_probability};

use crate::record::{Fit, Hills, Histogram};

/// Fractions of samples on the wrong side of a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ErrorShares {
    /// Fraction of relevant samples at or below the threshold.
    pub missed: f64,
    /// Fraction of irrelevant samples above the threshold.
    pub passed: f64,
    /// Weighted mean of `missed` and `passed`.
    ///
    /// ```text
    /// error = ( missed + weight · passed ) / ( 1 + weight )
    /// ```
    pub error: f64,
}

/// The errors by the fitted normals and by the samples themselves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SampleErrors {
    /// The errors by the two fitted normal distributions, with the penalty as the weight of
    /// `passed`. The learned threshold minimises this `error`.
    pub modelled: Option<ErrorShares>,
    /// The errors by counting the samples of the epoch, with equal weights.
    pub measured: Option<ErrorShares>,
}

/// The errors of an epoch's samples at a threshold; `None` without samples.
///
/// The fits are those of the last update, while the histograms hold the whole epoch, so modelled
/// and measured errors also differ while the embedding changes fast. The samples of the bin that
/// contains the threshold count as evenly distributed over that bin.
pub fn sample_errors(hills: &Hills, penalty: f64, threshold: f64) -> Option<SampleErrors> {
    let modelled = modelled_errors(hills, penalty, threshold);
    let measured = measured_errors(hills, threshold);
    (modelled.is_some() || measured.is_some()).then_some(SampleErrors { modelled, measured })
}

fn modelled_errors(hills: &Hills, penalty: f64, threshold: f64) -> Option<ErrorShares> {
    let normal = |Fit { mean, std }, samples: &Histogram| {
        let count = samples.total() as usize;
        Distribution::Normal(Normal { mean, std, count })
    };
    let relevant = normal(hills.relevant_fit?, &hills.relevant);
    let irrelevant = normal(hills.irrelevant_fit?, &hills.irrelevant);
    let error = error_probability(&relevant, &irrelevant, penalty, threshold) / (1.0 + penalty);
    error.is_finite().then(|| ErrorShares {
        missed: relevant.cdf(threshold),
        passed: irrelevant.survival(threshold),
        error,
    })
}

/// The errors by counting samples, with equal weights; `None` unless there are both relevant and
/// irrelevant samples.
pub(crate) fn measured_errors(hills: &Hills, threshold: f64) -> Option<ErrorShares> {
    let missed = hills.relevant.below(threshold)?;
    let passed = 1.0 - hills.irrelevant.below(threshold)?;
    Some(ErrorShares {
        missed,
        passed,
        error: (missed + passed) / 2.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hills(relevant: &[f32], irrelevant: &[f32]) -> Hills {
        let mut hills = Hills::default();
        hills.relevant.add(relevant);
        hills.irrelevant.add(irrelevant);
        hills
    }

    #[test]
    fn samples_are_counted_on_both_sides_of_the_threshold() {
        // The samples are middles of bins, and 0.3 is a border between two bins.
        let hills = hills(&[0.51, 0.51, 0.51, 0.11], &[0.11, 0.41]);
        let errors = sample_errors(&hills, 1.0, 0.3).unwrap();
        let measured = errors.measured.unwrap();
        assert!((measured.missed - 0.25).abs() < 1e-9, "{measured:?}");
        assert!((measured.passed - 0.5).abs() < 1e-9);
        assert!((measured.error - 0.375).abs() < 1e-9);
        assert_eq!(errors.modelled, None);
    }

    #[test]
    fn modelled_errors_are_the_tails_of_the_normals() {
        let mut hills = hills(&[0.5], &[0.1]);
        let fit = |mean| Some(Fit { mean, std: 0.1 });
        (hills.relevant_fit, hills.irrelevant_fit) = (fit(0.4), fit(0.2));
        // One standard deviation from both means: 15.87 % of each.
        let equal = sample_errors(&hills, 1.0, 0.3).unwrap().modelled.unwrap();
        assert!((equal.error - 0.158655).abs() < 1e-6, "{equal:?}");
        let tail = |penalty| {
            sample_errors(&hills, penalty, 0.4)
                .unwrap()
                .modelled
                .unwrap()
        };
        // At 0.4 half of the relevant is missed and 2.28 % of the irrelevant passes.
        assert!((tail(3.0).error - (0.5 + 3.0 * 0.022750) / 4.0).abs() < 1e-6);
    }

    #[test]
    fn without_samples_there_is_no_error() {
        assert_eq!(sample_errors(&Hills::default(), 1.0, 0.3), None);
    }
}
