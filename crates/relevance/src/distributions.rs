//! The distribution of sampled relevance: a normal one, or a histogram.

use std::fmt;
use std::str::FromStr;

use crate::{Empirical, Error, Result};
use serde::{Deserialize, Serialize};

/// Which form a distribution takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistributionKind {
    /// Mean and standard deviation.
    #[default]
    Normal,
    /// A histogram, for skewed or heavy-tailed samples.
    Empirical,
}

impl fmt::Display for DistributionKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Normal => "normal",
            Self::Empirical => "empirical",
        })
    }
}

impl FromStr for DistributionKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "normal" => Ok(Self::Normal),
            "empirical" => Ok(Self::Empirical),
            _ => Err(Error::UnknownName {
                choice: "kind of distribution",
                expected: "normal, empirical",
                found: text.to_owned(),
            }),
        }
    }
}

/// The distribution of the relevant samples, or of the irrelevant ones.
///
/// ```
/// use uard_relevance::{Distribution, DistributionKind};
///
/// let samples = [0.1, 0.2, 0.3];
/// let normal = Distribution::from_samples(DistributionKind::Normal, &samples)?;
/// assert!((normal.mean() - 0.2).abs() < 1e-7 && (normal.std() - 0.1).abs() < 1e-7);
/// assert!((normal.cdf(0.3) - 0.841345).abs() < 1e-6);
///
/// let empirical = Distribution::from_samples(DistributionKind::Empirical, &samples)?;
/// assert_eq!(empirical.cdf(0.25), 2.0 / 3.0);
/// # Ok::<(), uard_relevance::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// The normal distribution of the samples' mean and spread.
    Normal(Normal),
    /// The samples' histogram.
    Empirical(Empirical),
}

impl Distribution {
    /// The distribution of `samples` in the given form.
    ///
    /// # Errors
    /// No samples; a sample that is NaN or infinite; for the histogram, one that is not a cosine.
    pub fn from_samples(kind: DistributionKind, samples: &[f32]) -> Result<Self> {
        Ok(match kind {
            DistributionKind::Normal => Self::Normal(Normal::from_samples(samples)?),
            DistributionKind::Empirical => Self::Empirical(Empirical::from_samples(samples)?),
        })
    }

    /// Mean of the samples.
    pub fn mean(&self) -> f64 {
        self.moments().mean
    }

    /// Bessel-corrected standard deviation of the samples.
    pub fn std(&self) -> f64 {
        self.moments().std
    }

    /// How many samples there were.
    pub fn count(&self) -> usize {
        self.moments().count
    }

    /// Probability of relevance at or below `t`, which the strict `s > t` refuses.
    pub fn cdf(&self, t: f64) -> f64 {
        match self {
            Self::Normal(normal) => normal.cdf(t),
            Self::Empirical(empirical) => empirical.cdf(t),
        }
    }

    /// Probability of relevance above `t`, precise in the far tail as well.
    pub fn survival(&self, t: f64) -> f64 {
        match self {
            Self::Normal(normal) => normal.survival(t),
            Self::Empirical(empirical) => 1.0 - empirical.cdf(t),
        }
    }

    fn moments(&self) -> Normal {
        match self {
            Self::Normal(normal) => *normal,
            Self::Empirical(empirical) => empirical.moments(),
        }
    }
}

/// A normal distribution with the number of samples behind it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normal {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
    /// Number of samples.
    pub count: usize,
}

impl Normal {
    /// Mean and Bessel-corrected standard deviation in one stable pass in f64.
    ///
    /// ```text
    /// mean_k = mean_{k-1} + (x_k - mean_{k-1}) / k        M_k = M_{k-1} + (x_k - mean_{k-1}) (x_k - mean_k)
    /// std    = √( M_n / (n - 1) )
    /// ```
    /// Equal samples, and a single one, have a spread of exactly zero.
    ///
    /// # Errors
    /// No samples, or a sample that is NaN or infinite.
    ///
    /// # Source
    /// B. P. Welford, *Note on a method for calculating corrected sums of squares and products*, 1962.
    ///
    /// ```
    /// let normal = uard_relevance::Normal::from_samples(&[1.0, 2.0, 3.0, 4.0])?;
    /// assert_eq!((normal.mean, normal.count), (2.5, 4));
    /// assert!((normal.std * normal.std - 5.0 / 3.0).abs() < 1e-15);
    /// # Ok::<(), uard_relevance::Error>(())
    /// ```
    pub fn from_samples(samples: &[f32]) -> Result<Self> {
        if samples.is_empty() {
            return Err(Error::NoSamples);
        }
        let (mut mean, mut squares) = (0.0_f64, 0.0_f64);
        for (index, &value) in samples.iter().enumerate() {
            if !value.is_finite() {
                return Err(Error::NonFiniteSample { index, value });
            }
            let before = f64::from(value) - mean;
            mean += before / (index + 1) as f64;
            squares += before * (f64::from(value) - mean);
        }
        let count = samples.len();
        let freedom = count.saturating_sub(1).max(1) as f64;
        Ok(Self {
            mean,
            std: (squares / freedom).sqrt(),
            count,
        })
    }

    /// Probability at or below `t`; as precise as `libm::erfc`, about one unit in the last place.
    ///
    /// ```text
    /// cdf(t) = erfc( (mean - t) / (std √2) ) / 2
    /// ```
    /// A spread of zero is a step: 0 below the mean, 1 from the mean on.
    pub fn cdf(&self, t: f64) -> f64 {
        if self.std == 0.0 {
            return if t < self.mean { 0.0 } else { 1.0 };
        }
        upper_tail((self.mean - t) / self.std)
    }

    /// Probability above `t`: `1 - cdf(t)` without its cancellation.
    pub fn survival(&self, t: f64) -> f64 {
        if self.std == 0.0 {
            return if t < self.mean { 1.0 } else { 0.0 };
        }
        upper_tail((t - self.mean) / self.std)
    }
}

/// Probability that a standard normal variable exceeds `z`.
fn upper_tail(z: f64) -> f64 {
    0.5 * libm::erfc(z * std::f64::consts::FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_survive_a_large_offset() {
        let samples = [16_777_200.0_f32, 16_777_201.0, 16_777_202.0];
        let normal = Normal::from_samples(&samples).unwrap();
        assert_eq!((normal.mean, normal.std), (16_777_201.0, 1.0));
    }

    #[test]
    fn names_are_those_of_serde_and_an_unknown_one_is_answered_with_the_known_ones() {
        for kind in [DistributionKind::Normal, DistributionKind::Empirical] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "beta".parse::<DistributionKind>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`beta` is no kind of distribution: expected one of normal, empirical"
        );
    }

    #[test]
    fn one_sample_and_equal_samples_have_no_spread() {
        assert_eq!(Normal::from_samples(&[0.3]).unwrap().std, 0.0);
        assert_eq!(Normal::from_samples(&[0.1; 1000]).unwrap().std, 0.0);
    }

    #[test]
    fn no_samples_and_non_finite_samples_are_refused() {
        for kind in [DistributionKind::Normal, DistributionKind::Empirical] {
            let fitted = |samples: &[f32]| Distribution::from_samples(kind, samples);
            assert_eq!(fitted(&[]), Err(Error::NoSamples));
            assert!(matches!(
                fitted(&[0.1, f32::NAN]),
                Err(Error::NonFiniteSample { index: 1, .. })
            ));
            assert!(matches!(
                fitted(&[f32::INFINITY]),
                Err(Error::NonFiniteSample { index: 0, .. })
            ));
        }
    }

    #[test]
    fn normal_cdf_has_its_known_quantiles_and_tail() {
        let normal = Normal {
            mean: 1.0,
            std: 2.0,
            count: 9,
        };
        assert_eq!(normal.cdf(1.0), 0.5);
        assert!((normal.cdf(1.0 + 2.0 * 1.959963984540054) - 0.975).abs() < 1e-15);
        assert!((normal.survival(21.0) / 7.61985302416052e-24 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn zero_spread_is_a_step_at_the_mean() {
        let step = Normal {
            mean: 0.5,
            std: 0.0,
            count: 3,
        };
        assert_eq!([step.cdf(0.4), step.cdf(0.5)], [0.0, 1.0]);
        assert_eq!([step.survival(0.4), step.survival(0.5)], [1.0, 0.0]);
    }
}
