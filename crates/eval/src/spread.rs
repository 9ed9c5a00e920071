//! Mean and standard deviation over seeds, and the 95 % interval of the mean.

use serde::{Deserialize, Serialize};

/// Largest number of degrees of freedom in the table; above it the normal quantile is used.
const LAST_TABLED: usize = 30;

/// Quantile 0.975 of Student's t for 1 to [`LAST_TABLED`] degrees of freedom.
///
/// # Source
/// M. Abramowitz and I. A. Stegun, *Handbook of Mathematical Functions*, table 26.10, with three
/// more digits. The tests check [`quantile`] against an integral of the density.
const STUDENT: [f64; LAST_TABLED] = [
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157,
    2.228139, 2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922,
    2.093024, 2.085963, 2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831,
    2.048407, 2.045230, 2.042272,
];

/// Quantile 0.975 of the normal distribution; at most 4 % too small above 30 degrees of freedom.
const NORMAL: f64 = 1.959964;

/// Mean and standard deviation of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Bessel-corrected standard deviation; `None` for one value.
    pub std: Option<f64>,
    /// Number of values.
    pub count: usize,
}

impl Spread {
    /// Mean and standard deviation of values; `None` without values.
    ///
    /// ```text
    /// mean = Σ x / n        std = √( Σ (x - mean)² / (n - 1) )
    /// ```
    ///
    /// ```
    /// use uard_eval::Spread;
    ///
    /// let spread = Spread::from_values(&[1.0, 2.0, 3.0, 4.0]).unwrap();
    /// assert_eq!((spread.mean, spread.count), (2.5, 4));
    /// assert!((spread.std.unwrap() - (5.0f64 / 3.0).sqrt()).abs() < 1e-15);
    /// ```
    pub fn from_values(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let std = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
        Some(Self { mean, std, count })
    }

    /// The 95 % interval of the mean, for values drawn from one normal distribution; `None` for one
    /// value.
    ///
    /// ```text
    /// mean ± t(0.975, n - 1) · std / √n
    /// ```
    ///
    /// # Source
    /// Student, *The probable error of a mean*, Biometrika 1908.
    pub fn interval(&self) -> Option<Interval> {
        let half = quantile(self.count - 1) * self.std? / (self.count as f64).sqrt();
        Some(Interval {
            low: self.mean - half,
            high: self.mean + half,
        })
    }
}

/// A 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether zero lies outside the interval.
    pub fn excludes_zero(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Quantile 0.975 of Student's t; `freedom` is 1 or more.
fn quantile(freedom: usize) -> f64 {
    let tabled = freedom.checked_sub(1).and_then(|row| STUDENT.get(row));
    tabled.copied().unwrap_or(NORMAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_a_mean_and_neither_spread_nor_interval() {
        let one = Spread::from_values(&[3.0]).unwrap();
        assert_eq!((one.mean, one.std, one.interval()), (3.0, None, None));
        assert_eq!(Spread::from_values(&[]), None);
    }

    #[test]
    fn interval_of_three_values_is_the_one_computed_by_hand() {
        // Mean 2, std 1: 2 ± 4.302653 / √3.
        let spread = Spread::from_values(&[1.0, 2.0, 3.0]).unwrap();
        let interval = spread.interval().unwrap();
        assert!((interval.low - (2.0 - 2.484138)).abs() < 1e-6);
        assert!((interval.high - (2.0 + 2.484138)).abs() < 1e-6);
        assert!(!interval.excludes_zero());
    }

    #[test]
    fn equal_values_have_an_interval_of_one_point() {
        let interval = |value| Spread::from_values(&[value; 4]).unwrap().interval();
        let half = interval(0.5).unwrap();
        assert_eq!((half.low, half.high), (0.5, 0.5));
        assert!(half.excludes_zero());
        assert!(!interval(0.0).unwrap().excludes_zero());
    }

    /// Student's density without its constant factor.
    fn density(x: f64, freedom: f64) -> f64 {
        (1.0 + x * x / freedom).powf(-(freedom + 1.0) / 2.0)
    }

    /// Simpson's rule over [0, end].
    fn integral(freedom: f64, end: f64) -> f64 {
        const PARTS: usize = 200_000;
        let step = end / PARTS as f64;
        let weight = |node: usize| match node {
            0 | PARTS => 1.0,
            odd if odd % 2 == 1 => 4.0,
            _ => 2.0,
        };
        let sum: f64 = (0..=PARTS)
            .map(|node| weight(node) * density(node as f64 * step, freedom))
            .sum();
        sum * step / 3.0
    }

    #[test]
    fn tabled_quantiles_leave_a_fortieth_above_them() {
        for freedom in [2_usize, 3, 5, 10, 17, 24, 30] {
            // Beyond 2000 lies less than 1e-6 of the half integral, even with two degrees of
            // freedom.
            let (inside, half) = (
                integral(freedom as f64, quantile(freedom)),
                integral(freedom as f64, 2_000.0),
            );
            assert!((inside / half - 0.95).abs() < 2e-6, "{freedom}");
        }
        // With one degree of freedom it is Cauchy's distribution, whose quantile is tan(0.475 π).
        let cauchy = (0.475 * std::f64::consts::PI).tan();
        assert!((quantile(1) - cauchy).abs() < 1e-6);
    }

    #[test]
    fn above_30_degrees_of_freedom_the_normal_quantile_is_used() {
        assert_eq!(quantile(30), 2.042272);
        assert_eq!(quantile(31), NORMAL);
        assert!(STUDENT.is_sorted_by(|a, b| a > b));
    }
}
