//! Statistics of the rounds of a contestant: median, spread and the uncertainty of the median.

use serde::Serialize;

/// Seconds of each round, in the order in which they were run.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct Timings {
    seconds: Vec<f64>,
}

impl Timings {
    /// Adds a round.
    pub fn push(&mut self, seconds: f64) {
        self.seconds.push(seconds);
    }

    /// The number of rounds.
    pub fn rounds(&self) -> usize {
        self.seconds.len()
    }

    /// The median; NaN without any round.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The distance of the quartiles as a share of the median; NaN without any round.
    ///
    /// One slow round of many does not change it; if half of the rounds are slow, it rises.
    pub fn spread(&self) -> f64 {
        (self.quantile(0.75) - self.quantile(0.25)) / self.median()
    }

    /// The standard error of the median, as a share of it, from the quartiles. It falls with the number of
    /// rounds. NaN without any round.
    ///
    /// # Source
    /// R. McGill, J. W. Tukey, W. A. Larsen, *Variations of Box Plots*, 1978: 1.25 IQR / (1.35 √n).
    pub fn uncertainty(&self) -> f64 {
        1.25 / 1.35 * self.spread() / (self.rounds() as f64).sqrt()
    }

    /// The number below which a share of the rounds lies, interpolated between neighbours.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else {
            return f64::NAN;
        };
        let place = share * last as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        sorted[below] + (sorted[above] - sorted[below]) * place.fract()
    }
}

impl FromIterator<f64> for Timings {
    fn from_iter<I: IntoIterator<Item = f64>>(seconds: I) -> Self {
        Self {
            seconds: seconds.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timings(seconds: &[f64]) -> Timings {
        seconds.iter().copied().collect()
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert_eq!(timings(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(timings(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(timings(&[7.0]).median(), 7.0);
    }

    #[test]
    fn the_spread_is_the_distance_of_the_quartiles_over_the_median() {
        // Quartiles 2 and 4 of 1..=5.
        assert!((timings(&[5.0, 4.0, 3.0, 2.0, 1.0]).spread() - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(timings(&[2.0, 2.0, 2.0]).spread(), 0.0);
    }

    #[test]
    fn one_slow_round_of_many_does_not_move_the_spread() {
        let quiet = timings(&[1.0; 9]);
        let mut seconds = vec![1.0; 8];
        seconds.push(50.0);
        assert_eq!(timings(&seconds).spread(), quiet.spread());
    }

    #[test]
    fn no_round_has_no_median() {
        assert!(Timings::default().median().is_nan());
        assert!(Timings::default().spread().is_nan());
    }
}
