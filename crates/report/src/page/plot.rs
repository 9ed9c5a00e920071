//! An SVG plot with two linear axes: maps values to coordinates and chooses round ticks.

use std::ops::Range;

use maud::{Markup, html};

/// A linear map from values to coordinates of the plot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// Maps the start and end of `values` to those of `coordinates`; an empty range of values is
    /// widened.
    pub(super) fn new(values: Range<f64>, coordinates: Range<f64>) -> Self {
        let (low, high) = match values.end > values.start {
            true => (values.start, values.end),
            false => (values.start - 0.5, values.start + 0.5),
        };
        Self {
            low,
            high,
            start: coordinates.start,
            end: coordinates.end,
        }
    }

    /// The coordinate of a finite value.
    pub(super) fn at(self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }
}

/// Size and axes of a plot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plot {
    /// Width, in units of the SVG's view box.
    pub(super) width: f64,
    /// Height, in the same units.
    pub(super) height: f64,
    /// Horizontal axis, from left to right.
    pub(super) x: Axis,
    /// Vertical axis, from bottom to top.
    pub(super) y: Axis,
}

impl Plot {
    /// The coordinates of points, in the format of `polyline` and `path`.
    pub(super) fn points(&self, points: impl IntoIterator<Item = (f64, f64)>) -> String {
        let write = |(x, y)| format!("{},{}", px(self.x.at(x)), px(self.y.at(y)));
        let written: Vec<String> = points.into_iter().map(write).collect();
        written.join(" ")
    }

    /// The `svg` element around the marks, with a title and a description for screen readers.
    pub(super) fn svg(&self, id: &str, title: &str, description: &str, marks: &Markup) -> Markup {
        let (title_id, description_id) = (format!("{id}-title"), format!("{id}-desc"));
        html! {
            svg viewBox={ "0 0 " (self.width) " " (self.height) } role="img"
                aria-labelledby={ (title_id) " " (description_id) } {
                title id=(title_id) { (title) }
                desc id=(description_id) { (description) }
                (marks)
            }
        }
    }
}

/// A coordinate as text.
pub(super) fn px(coordinate: f64) -> String {
    format!("{coordinate:.1}")
}

/// Round values inside `[low, high]`, with about `wanted` steps between them at most.
pub(super) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let step = round_step((high - low) / wanted.max(1) as f64);
    let first = (low / step - 1e-6).ceil() as i64;
    let last = (high / step + 1e-6).floor() as i64;
    (first..=last).map(|count| count as f64 * step).collect()
}

/// The range of some values, widened to round ends; `None` without a finite value.
pub(super) fn round_range(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let Range { start, end } = extent(values.filter(|value| value.is_finite()))?;
    let spread = match end > start {
        true => end - start,
        false => end.abs().max(0.1) * 0.2,
    };
    let step = round_step(spread / 4.0);
    Some((start / step).floor() * step..((end + 1e-9) / step).ceil() * step)
}

/// The range from the lowest to the highest value; `None` without any.
pub(super) fn extent(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let values = values.map(|value| value..value);
    values.reduce(|all, one| all.start.min(one.start)..all.end.max(one.end))
}

/// The number of decimals with which neighbouring ticks differ as text.
pub(super) fn tick_digits(ticks: &[f64]) -> usize {
    let step = match ticks {
        [first, second, ..] => second - first,
        _ => 1.0,
    };
    let is_whole = |&digits: &usize| {
        let scaled = step * 10f64.powi(digits as i32);
        (scaled - scaled.round()).abs() < 1e-6
    };
    (0..6).find(is_whole).unwrap_or(6)
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
        let axis = Axis::new(3.0..3.0, 0.0..10.0);
        assert_eq!(axis.at(3.0), 5.0);
    }

    #[test]
    fn range_without_finite_values_is_none() {
        assert_eq!(round_range([f64::NAN].into_iter()), None);
    }

    #[test]
    fn range_of_one_value_has_width() {
        let range = round_range([0.0].into_iter()).expect("one finite value");
        assert!(range.start < range.end);
    }
}
