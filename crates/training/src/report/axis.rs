//! Where does a value lie on a chart, and which values get a tick?

/// A linear map from values to picture coordinates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// Maps `[low, high]` to `[start, end]`; an empty interval is widened.
    pub(super) fn new((low, high): (f64, f64), (start, end): (f64, f64)) -> Self {
        let (low, high) = if high > low {
            (low, high)
        } else {
            (low - 0.5, low + 0.5)
        };
        Self {
            low,
            high,
            start,
            end,
        }
    }

    pub(super) fn low(self) -> f64 {
        self.low
    }

    pub(super) fn high(self) -> f64 {
        self.high
    }

    /// The coordinate of a finite value.
    pub(super) fn at(self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }
}

/// Round values inside `[low, high]`, at most about `wanted` steps apart.
pub(super) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let step = round_step((high - low) / wanted.max(1) as f64);
    let (first, last) = (
        (low / step - 1e-6).ceil() as i64,
        (high / step + 1e-6).floor() as i64,
    );
    (first..=last).map(|count| count as f64 * step).collect()
}

/// Widens the range of some values to round ends; `None` without a finite value.
pub(super) fn round_range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        });
    if low > high {
        return None;
    }
    let spread = if high > low {
        high - low
    } else {
        high.abs().max(0.1) * 0.2
    };
    let step = round_step(spread / 4.0);
    Some((
        (low / step).floor() * step,
        ((high + 1e-9) / step).ceil() * step,
    ))
}

/// Decimals that tell neighbouring ticks apart.
pub(super) fn tick_digits(ticks: &[f64]) -> usize {
    let step = if ticks.len() > 1 {
        ticks[1] - ticks[0]
    } else {
        1.0
    };
    (0..6)
        .find(|&digits| {
            (step * 10f64.powi(digits) % 1.0).min(1.0 - step * 10f64.powi(digits) % 1.0) < 1e-6
        })
        .map_or(6, |digits| digits as usize)
}

fn round_step(rough: f64) -> f64 {
    if !rough.is_finite() || rough <= 0.0 {
        return 1.0;
    }
    let magnitude = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .find(|factor| factor * magnitude >= rough * 0.999);
    factor.unwrap_or(10.0) * magnitude
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(
            ticks(0.0, 1.0, 5),
            [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]
        );
        assert_eq!(ticks(1.0, 6.0, 8), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn digits_follow_the_step() {
        assert_eq!(tick_digits(&[0.0, 0.25]), 2);
        assert_eq!(tick_digits(&[0.0, 50.0]), 0);
        assert_eq!(tick_digits(&[0.0, 0.1]), 1);
    }

    #[test]
    fn empty_interval_is_widened() {
        let axis = Axis::new((3.0, 3.0), (0.0, 10.0));
        assert_eq!(axis.at(3.0), 5.0);
    }

    #[test]
    fn range_without_finite_values_is_none() {
        assert_eq!(round_range([f64::NAN].into_iter()), None);
    }

    #[test]
    fn range_of_one_value_has_width() {
        let (low, high) = round_range([0.0].into_iter()).expect("one finite value");
        assert!(low < high);
    }
}
