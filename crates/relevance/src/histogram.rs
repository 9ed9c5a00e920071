//! The distribution of sampled relevance as a histogram.

use crate::{Error, Normal, Result};
use serde::{Deserialize, Serialize};

/// A histogram of cosines: [`Empirical::BINS`] equal bins over [-1, 1], with mean and spread.
///
/// Bin `b` holds `edge(b) < s <= edge(b + 1)`, so that at an edge the share of samples that a
/// strict threshold refuses is exact; the first bin holds -1 as well. The width is 2⁻⁷, so edges
/// are exact in binary. Rounding may push a cosine past ±1 by up to [`Empirical::SLACK`]: such
/// samples lie in the outermost bins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredEmpirical", into = "StoredEmpirical")]
pub struct Empirical {
    moments: Normal,
    bins: Vec<u64>,
}

impl Empirical {
    /// Number of bins.
    pub const BINS: usize = 256;
    /// How far beyond ±1 a cosine of f32 vectors may lie.
    pub const SLACK: f32 = 1e-3;

    /// The histogram of `samples`.
    ///
    /// # Errors
    /// No samples; a sample that is NaN, infinite, or beyond ±1 by more than [`Self::SLACK`].
    ///
    /// ```
    /// use uard_relevance::Empirical;
    ///
    /// let histogram = Empirical::from_samples(&[0.004, 0.006, 0.5])?;
    /// assert_eq!(histogram.bins()[128], 2);
    /// assert_eq!(Empirical::edge(129), 0.0078125);
    /// # Ok::<(), uard_relevance::Error>(())
    /// ```
    pub fn from_samples(samples: &[f32]) -> Result<Self> {
        let moments = Normal::from_samples(samples)?;
        let mut bins = vec![0; Self::BINS];
        for (index, &value) in samples.iter().enumerate() {
            if value.abs() > 1.0 + Self::SLACK {
                return Err(Error::SampleOutOfRange { index, value });
            }
            bins[bin_of(f64::from(value))] += 1;
        }
        Ok(Self { moments, bins })
    }

    /// Samples in each bin, from -1 to 1.
    pub fn bins(&self) -> &[u64] {
        &self.bins
    }

    /// Lower edge of bin `index`; the upper edge of bin `b` is `edge(b + 1)`.
    pub fn edge(index: usize) -> f64 {
        index as f64 * (2.0 / Self::BINS as f64) - 1.0
    }

    /// Mean, spread and number of the samples themselves, not of their bins.
    pub fn moments(&self) -> Normal {
        self.moments
    }

    /// Share of samples at or below `t`: exact at an edge, linear within a bin; 0 up to -1, 1 from 1 on.
    pub fn cdf(&self, t: f64) -> f64 {
        if t.is_nan() {
            return f64::NAN;
        }
        let place = ((t + 1.0) * (Self::BINS as f64 / 2.0)).clamp(0.0, Self::BINS as f64);
        let whole = place.floor();
        let below: u64 = self.bins[..whole as usize].iter().sum();
        let inside = self.bins.get(whole as usize).copied().unwrap_or(0);
        (below as f64 + (place - whole) * inside as f64) / self.moments.count as f64
    }
}

fn bin_of(value: f64) -> usize {
    let upper_edge = ((value + 1.0) * (Empirical::BINS as f64 / 2.0)).ceil();
    (upper_edge.clamp(1.0, Empirical::BINS as f64) as usize) - 1
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredEmpirical {
    mean: f64,
    std: f64,
    count: usize,
    bins: Vec<u64>,
}

impl From<Empirical> for StoredEmpirical {
    fn from(empirical: Empirical) -> Self {
        let Normal { mean, std, count } = empirical.moments;
        let bins = empirical.bins;
        Self {
            mean,
            std,
            count,
            bins,
        }
    }
}

impl TryFrom<StoredEmpirical> for Empirical {
    type Error = Error;

    fn try_from(stored: StoredEmpirical) -> Result<Self> {
        let mismatch = |property, expected, found| Error::HistogramMismatch {
            property,
            expected,
            found,
        };
        if stored.bins.len() != Self::BINS {
            let found = stored.bins.len() as u64;
            return Err(mismatch("number of bins", Self::BINS as u64, found));
        }
        let count = stored.count as u64;
        let total = stored
            .bins
            .iter()
            .fold(0_u64, |sum, &bin| sum.saturating_add(bin));
        if total != count || count == 0 {
            return Err(mismatch("number of samples", count.max(1), total));
        }
        Ok(Self {
            moments: Normal {
                mean: stored.mean,
                std: stored.std,
                count: stored.count,
            },
            bins: stored.bins,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_on_an_edge_counts_as_refused_there() {
        let histogram = Empirical::from_samples(&[0.5, 0.75]).unwrap();
        assert_eq!(histogram.cdf(0.5), 0.5);
        assert_eq!(histogram.cdf(0.5 - 1.0 / 128.0), 0.0);
        assert_eq!(histogram.cdf(0.5 - 1.0 / 256.0), 0.25);
        assert_eq!(histogram.cdf(0.75), 1.0);
    }

    #[test]
    fn ends_of_the_histogram_hold_rounded_cosines() {
        let histogram = Empirical::from_samples(&[-1.000_001, -1.0, 1.0, 1.000_001]).unwrap();
        assert_eq!([histogram.bins()[0], histogram.bins()[255]], [2, 2]);
        assert_eq!([histogram.cdf(-1.0), histogram.cdf(1.0)], [0.0, 1.0]);
        assert_eq!([histogram.cdf(-7.0), histogram.cdf(7.0)], [0.0, 1.0]);
        assert!(histogram.cdf(f64::NAN).is_nan());
    }

    #[test]
    fn histogram_refuses_what_is_no_cosine() {
        assert!(matches!(
            Empirical::from_samples(&[0.0, 1.5]),
            Err(Error::SampleOutOfRange { index: 1, .. })
        ));
    }

    #[test]
    fn altered_histogram_is_refused_on_reading() {
        let histogram = Empirical::from_samples(&[0.25, 0.5]).unwrap();
        let text = serde_json::to_string(&histogram).unwrap();
        assert_eq!(serde_json::from_str::<Empirical>(&text).unwrap(), histogram);
        let altered = text.replace("\"count\":2", "\"count\":3");
        let error = serde_json::from_str::<Empirical>(&altered).unwrap_err();
        assert!(error.to_string().contains("number of samples"));
    }
}
