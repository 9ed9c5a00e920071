//! The threshold of least error between two distributions, in closed form or over histogram edges.

use crate::{Distribution, Empirical};
use serde::{Deserialize, Serialize};

/// Errors of histograms that differ by less than this are equal: far below one sample's share,
/// far above the rounding of a few additions.
const TIE: f64 = 1e-12;

/// Why two distributions give no threshold, so that the previous one is kept.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoThreshold {
    /// One side has fewer samples than the learner's minimum.
    #[error("fewer samples than the minimum")]
    TooFewSamples,
    /// A sample, mean or spread is NaN or infinite.
    #[error("a sample, mean or spread is not finite")]
    NonFinite,
    /// A sample of a histogram lies outside [-1, 1].
    #[error("a sample is not a cosine: outside -1 to 1")]
    OutOfRange,
    /// The penalty is not a positive finite number.
    #[error("the penalty is not a positive finite number")]
    InvalidPenalty,
    /// All samples of one side are equal.
    #[error("a distribution has no spread")]
    ZeroSpread,
    /// Relevant samples are on average no more relevant than irrelevant ones.
    #[error("the relevant mean is not above the irrelevant mean")]
    MeansNotOrdered,
    /// The densities never cross; for histograms, no cut beats accepting or refusing everything.
    #[error("the distributions do not cross")]
    NoCrossing,
}

/// The threshold t that separates relevant from irrelevant samples, s+ and s-, with the least
/// error.
///
/// ```text
/// t = argmin_t J(t)        J(t) = P(s+ <= t) + penalty · P(s- > t)
/// ```
/// Two normal distributions, with means mu and standard deviations σ, have a closed form.
/// `J'(t) = 0` is `A t² + B t + C = 0` with
///
/// ```text
/// A = σ+² - σ-²        B = 2 (mu+ σ-² - mu- σ+²)
/// C = (mu- σ+)² - (mu+ σ-)² + 2 (σ+ σ-)² ln( σ- / (penalty σ+) )        E = B² - 4AC
/// ```
/// and `J'` has the sign of that polynomial, so the minimum is the root at which it rises,
/// `(-B + √E) / 2A`, whatever the sign of A; for `B >= 0` the same root is `-2C / (B + √E)`, which
/// holds for `A = 0` too. The origin is moved to `mu-` first. Then `B = 2 (mu+ - mu-) σ-²` is
/// always positive, one form serves every case, and the cancellation inside E is gone:
///
/// ```text
/// d = mu+ - mu-        l = ln( σ- / (penalty σ+) )        q = √( d² - 2 (σ+² - σ-²) l )
/// t = mu- + σ- (d² - 2 σ+² l) / (d σ- + σ+ q)
/// ```
/// d, σ+ and σ- are divided by the largest of them, so that tiny ones do not underflow.
///
/// If one of the two is a histogram, or both are, `t` is the edge of [`Empirical`] with the least
/// J. If several edges have it, `t` is the middle of the lowest run of neighbouring ones (of two
/// middle edges the lower).
///
/// Corners: `t` is not limited to any interval; the learner clamps it. The root is a local minimum
/// of J. It may lie outside `[mu-, mu+]`, where accepting or refusing everything can have a lower
/// J:
/// [`error_probability`] compares them.
///
/// # Errors
/// A [`NoThreshold`]: anything non-finite, a penalty that is not positive, a spread of zero on
/// either side, `mu+ <= mu-`, or no crossing (`E <= 0`). Never [`NoThreshold::TooFewSamples`]: the
/// learner checks the number of samples.
///
/// # Source
/// Zhang et al., *UARDA*, IEEE TMM 2022: threshold of least error. Its closed form is used with
/// the other expression of the root, because `(-B + √E) / 2A` is 0/0 for equal spreads.
///
/// ```
/// use uard_relevance::{Distribution, Normal, NoThreshold, least_error_threshold};
///
/// let normal = |mean, std| Distribution::Normal(Normal { mean, std, count: 1000 });
/// let t = least_error_threshold(&normal(0.6, 0.15), &normal(0.2, 0.1), 1.0)?;
/// assert!((t - 0.374971).abs() < 1e-6);
///
/// let kept = least_error_threshold(&normal(0.2, 0.1), &normal(0.6, 0.1), 1.0);
/// assert_eq!(kept, Err(NoThreshold::MeansNotOrdered));
/// # Ok::<(), NoThreshold>(())
/// ```
pub fn least_error_threshold(
    relevant: &Distribution,
    irrelevant: &Distribution,
    penalty: f64,
) -> Result<f64, NoThreshold> {
    check(relevant, irrelevant, penalty)?;
    match (relevant, irrelevant) {
        (Distribution::Normal(_), Distribution::Normal(_)) => {
            closed_form(relevant, irrelevant, penalty)
        }
        _ => least_edge(relevant, irrelevant, penalty),
    }
}

/// The error J of a threshold: the share of relevant samples at or below it, plus `penalty` times
/// the share of irrelevant samples above it.
///
/// ```text
/// J(t) = P(s+ <= t) + penalty · P(s- > t)
/// ```
/// From 0 to `1 + penalty`; anything non-finite gives NaN.
///
/// ```
/// use uard_relevance::{Distribution, Normal, error_probability};
///
/// let normal = |mean| Distribution::Normal(Normal { mean, std: 0.1, count: 1000 });
/// let error = error_probability(&normal(0.6), &normal(0.4), 1.0, 0.5);
/// assert!((error - 2.0 * 0.158655).abs() < 1e-6);
/// ```
pub fn error_probability(
    relevant: &Distribution,
    irrelevant: &Distribution,
    penalty: f64,
    threshold: f64,
) -> f64 {
    let error = relevant.cdf(threshold) + penalty * irrelevant.survival(threshold);
    if error.is_finite() { error } else { f64::NAN }
}

fn check(
    relevant: &Distribution,
    irrelevant: &Distribution,
    penalty: f64,
) -> Result<(), NoThreshold> {
    if !(penalty.is_finite() && penalty > 0.0) {
        return Err(NoThreshold::InvalidPenalty);
    }
    for side in [relevant, irrelevant] {
        if !side.mean().is_finite() || !side.std().is_finite() {
            return Err(NoThreshold::NonFinite);
        }
        if side.std() <= 0.0 {
            return Err(NoThreshold::ZeroSpread);
        }
    }
    if relevant.mean() <= irrelevant.mean() {
        return Err(NoThreshold::MeansNotOrdered);
    }
    Ok(())
}

fn closed_form(
    relevant: &Distribution,
    irrelevant: &Distribution,
    penalty: f64,
) -> Result<f64, NoThreshold> {
    let distance = relevant.mean() - irrelevant.mean();
    let scale = distance.max(relevant.std()).max(irrelevant.std());
    let (d, wide, narrow) = (
        distance / scale,
        relevant.std() / scale,
        irrelevant.std() / scale,
    );
    let log_ratio = irrelevant.std().ln() - relevant.std().ln() - penalty.ln();
    let discriminant = d * d - 2.0 * (wide - narrow) * (wide + narrow) * log_ratio;
    if discriminant <= 0.0 {
        return Err(NoThreshold::NoCrossing);
    }
    let root = narrow * (d * d - 2.0 * wide * wide * log_ratio)
        / (d * narrow + wide * discriminant.sqrt());
    let threshold = irrelevant.mean() + root * scale;
    if threshold.is_finite() {
        Ok(threshold)
    } else {
        Err(NoThreshold::NonFinite)
    }
}

fn least_edge(
    relevant: &Distribution,
    irrelevant: &Distribution,
    penalty: f64,
) -> Result<f64, NoThreshold> {
    let errors: Vec<f64> = (0..=Empirical::BINS)
        .map(|edge| error_probability(relevant, irrelevant, penalty, Empirical::edge(edge)))
        .collect();
    let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
    if least + TIE >= penalty.min(1.0) {
        return Err(NoThreshold::NoCrossing);
    }
    let is_least = |error: &f64| *error <= least + TIE;
    let first = errors.iter().position(is_least).unwrap_or(0);
    let length = errors[first..].iter().take_while(|e| is_least(e)).count();
    Ok(Empirical::edge(first + length.saturating_sub(1) / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DistributionKind, Normal};

    /// The table has six decimals.
    const PRINTED: f64 = 1e-6;

    fn normal(mean: f64, std: f64) -> Distribution {
        Distribution::Normal(Normal {
            mean,
            std,
            count: 1000,
        })
    }

    fn empirical(samples: &[f32]) -> Distribution {
        Distribution::from_samples(DistributionKind::Empirical, samples).unwrap()
    }

    /// The threshold between normal distributions, each given as its mean and standard deviation.
    fn threshold(relevant: [f64; 2], irrelevant: [f64; 2], penalty: f64) -> f64 {
        let [relevant, irrelevant] = [relevant, irrelevant].map(|[mean, std]| normal(mean, std));
        least_error_threshold(&relevant, &irrelevant, penalty).unwrap()
    }

    #[test]
    fn table_of_the_method_is_met() {
        // The fourth row of the specification prints 0.450911; the formula in arithmetic of 50
        // digits gives 0.450912113361, and J' vanishes there, so the rounded value stands here.
        let rows = [
            ([0.6, 0.15], [0.2, 0.1], 1.0, 0.374971),
            ([0.6, 0.15], [0.2, 0.1], 2.0, 0.399567),
            ([0.6, 0.1], [0.2, 0.15], 1.0, 0.425029),
            ([0.6, 0.1], [0.2, 0.15], 2.0, 0.450912),
            ([0.55, 0.12], [0.25, 0.12], 1.0, 0.400000),
            ([0.55, 0.12], [0.25, 0.12], 2.0, 0.433271),
            ([0.4, 0.2], [0.3, 0.1], 2.0, 0.470167),
        ];
        for (relevant, irrelevant, penalty, expected) in rows {
            let found = threshold(relevant, irrelevant, penalty);
            assert!((found - expected).abs() < PRINTED, "{found} {expected}");
        }
    }

    #[test]
    fn densities_that_never_cross_give_no_threshold() {
        let found = least_error_threshold(&normal(0.3, 0.1), &normal(0.28, 0.2), 4.0);
        assert_eq!(found, Err(NoThreshold::NoCrossing));
    }

    #[test]
    fn means_that_are_equal_or_swapped_give_no_threshold() {
        for mean in [0.3, 0.2] {
            let found = least_error_threshold(&normal(mean, 0.1), &normal(0.3, 0.2), 1.0);
            assert_eq!(found, Err(NoThreshold::MeansNotOrdered));
        }
    }

    #[test]
    fn zero_spread_on_either_side_gives_no_threshold() {
        for (relevant, irrelevant) in [(0.0, 0.1), (0.1, 0.0), (0.0, 0.0)] {
            let (relevant, irrelevant) = (normal(0.6, relevant), normal(0.2, irrelevant));
            assert_eq!(
                least_error_threshold(&relevant, &irrelevant, 1.0),
                Err(NoThreshold::ZeroSpread)
            );
        }
    }

    #[test]
    fn non_finite_moments_give_no_threshold_and_no_error_probability() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for broken in [normal(bad, 0.1), normal(0.6, bad)] {
                let other = normal(0.2, 0.1);
                for (relevant, irrelevant) in [(&broken, &other), (&other, &broken)] {
                    assert_eq!(
                        least_error_threshold(relevant, irrelevant, 1.0),
                        Err(NoThreshold::NonFinite)
                    );
                }
            }
        }
        assert!(error_probability(&normal(f64::NAN, 0.1), &normal(0.2, 0.1), 1.0, 0.5).is_nan());
    }

    #[test]
    fn penalty_must_be_positive_and_finite() {
        for penalty in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let found = least_error_threshold(&normal(0.6, 0.1), &normal(0.2, 0.1), penalty);
            assert_eq!(found, Err(NoThreshold::InvalidPenalty));
        }
    }

    #[test]
    fn equal_spreads_cut_in_the_middle() {
        assert!((threshold([0.55, 0.12], [0.25, 0.12], 1.0) - 0.4).abs() < 1e-15);
    }

    #[test]
    fn nearly_equal_spreads_move_the_cut_by_next_to_nothing() {
        for difference in [1e-9, 1e-12, 1e-15, -1e-15, -1e-12, -1e-9] {
            let found = threshold([0.55, 0.12 + difference], [0.25, 0.12], 1.0);
            assert!((found - 0.4).abs() < 10.0 * difference.abs() + 1e-15);
        }
    }

    #[test]
    fn scale_of_relevance_does_not_matter() {
        let whole = threshold([0.6, 0.15], [0.2, 0.1], 2.0);
        for scale in [1e-200, 1e-30, 1e-6, 1e6, 1e150] {
            let scaled = threshold([0.6 * scale, 0.15 * scale], [0.2 * scale, 0.1 * scale], 2.0);
            assert!((scaled / scale - whole).abs() < 1e-12, "{scale}");
        }
    }

    #[test]
    fn tiny_spreads_cut_between_the_means() {
        let found = threshold([0.6, 1e-160], [0.2, 1e-160], 1.0);
        assert!((found - 0.4).abs() < 1e-12);
        let found = threshold([0.6, 0.1], [0.2, 1e-160], 1.0);
        assert!((found - 0.2).abs() < 1e-12);
    }

    #[test]
    fn histograms_cut_in_the_middle_of_the_gap() {
        let relevant = empirical(&[0.75, 0.875, 0.8125]);
        let irrelevant = empirical(&[0.0, 0.125, 0.25]);
        // Equal from 0.25 up to 0.75 - 1/128; the lower of the two middle edges.
        let expected = (0.25 + 0.75 - 1.0 / 128.0) / 2.0;
        let found = least_error_threshold(&relevant, &irrelevant, 1.0).unwrap();
        assert!((found - expected).abs() <= 1.0 / 256.0 && found <= expected);
        assert_eq!(error_probability(&relevant, &irrelevant, 1.0, found), 0.0);
    }

    #[test]
    fn lowest_run_of_equal_edges_wins() {
        // One sample is on the wrong side of any t from 0.0 to 0.25, and of any from 0.5 to 0.75.
        let relevant = empirical(&[0.25, 0.75, 0.75]);
        let irrelevant = empirical(&[0.0, 0.0, 0.5]);
        let found = least_error_threshold(&relevant, &irrelevant, 1.0).unwrap();
        assert!((0.0..0.25).contains(&found));
    }

    #[test]
    fn higher_penalty_moves_the_histogram_cut_up() {
        let relevant = empirical(&[0.25, 0.75, 0.75]);
        let irrelevant = empirical(&[0.0, 0.0, 0.5]);
        let found = least_error_threshold(&relevant, &irrelevant, 2.0).unwrap();
        assert!((0.5..0.75).contains(&found));
    }

    #[test]
    fn histograms_without_a_useful_cut_give_no_threshold() {
        let relevant = empirical(&[-0.5, 0.9]);
        let irrelevant = empirical(&[0.0, 0.1]);
        assert_eq!(
            least_error_threshold(&relevant, &irrelevant, 0.1),
            Err(NoThreshold::NoCrossing)
        );
    }

    #[test]
    fn histogram_beside_a_normal_is_cut_at_an_edge() {
        let relevant = empirical(&[0.5, 0.6, 0.7]);
        let found = least_error_threshold(&relevant, &normal(0.1, 0.05), 1.0).unwrap();
        assert!((0.3..0.5).contains(&found));
        assert_eq!((found * 128.0).fract(), 0.0);
    }
}
