//! Line charts of values over epochs, one line for each run or setting.

use std::ops::Range;

use maud::{Markup, html};

use super::plot::{Axis, Plot, extent, px, round_range, tick_digits, ticks};
use crate::numbers::{fixed, percent};

/// Number of line styles that `page.css` defines.
const STYLES: usize = 8;

/// How values of a chart are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// The plain number, with this many decimals.
    Plain(usize),
    /// Fractions, written in percent.
    Fraction,
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Unit::Plain(digits) => fixed(value, digits),
            Unit::Fraction => percent(value),
        }
    }
}

/// The range of the value axis.
#[derive(Debug, Clone)]
pub(super) enum ValueRange {
    /// All values that are drawn.
    Drawn,
    /// All values that are drawn, and zero.
    DrawnAndZero,
    /// A fixed range.
    Fixed(Range<f64>),
}

/// Title, unit and size of a chart.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) unit: Unit,
    pub(super) range: ValueRange,
    /// Whether the chart is so wide that two fit in a row; otherwise three do.
    pub(super) wide: bool,
}

/// One line of a chart.
pub(super) struct Series {
    pub(super) name: String,
    /// Class of `page.css` that colours the line.
    pub(super) class: String,
    /// Epoch and value of each point.
    pub(super) points: Vec<(f64, f64)>,
    /// Epoch whose point gets a ring.
    pub(super) ringed: Option<f64>,
    /// Text at the right end, which may be empty; the last value where `None`.
    pub(super) end_label: Option<String>,
}

/// The class of `page.css` that colours the run or setting with this index.
pub(super) fn style(index: usize) -> String {
    format!("run-{}", index % STYLES)
}

/// A legend with the name and colour of each line.
pub(super) fn legend(what: &str, names: impl Iterator<Item = impl AsRef<str>>) -> Markup {
    html! {
        ul.legend aria-label=(what) {
            @for (index, name) in names.enumerate() {
                li {
                    svg.swatch.(style(index)) viewBox="0 0 28 10" aria-hidden="true" {
                        line.line x1="1" y1="5" x2="27" y2="5" {}
                        circle.dot cx="14" cy="5" r="2.8" {}
                    }
                    (name.as_ref())
                }
            }
        }
    }
}

const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;
const LEFT: f64 = 46.0;
/// Average width of a letter of the labels.
const LETTER: f64 = 6.6;
/// Smallest vertical distance of two labels at the right end.
const LABEL_HEIGHT: f64 = 14.0;

impl Chart {
    /// A `figure` with the lines; empty without a finite value. `group` is a prefix that makes the
    /// chart's id unique in the page.
    pub(super) fn draw(&self, group: &str, mut lines: Vec<Series>) -> Markup {
        for line in &mut lines {
            line.points.retain(|&(x, y)| x.is_finite() && y.is_finite());
        }
        lines.retain(|line| !line.points.is_empty());
        let Some(plot) = self.plot(&lines) else {
            return html! {};
        };
        let id = format!("{group}{}", self.id);
        let texts: Vec<String> = lines.iter().map(|line| self.describe(line)).collect();
        let marks = html! {
            (self.grid(&plot))
            @for line in &lines { (self.line(line, &plot)) }
            (self.end_labels(&lines, &plot))
        };
        html! {
            figure.chart id={ "chart-" (id) } {
                figcaption { (self.title) }
                (plot.svg(&id, self.title, &texts.join(" "), &marks))
            }
        }
    }

    fn plot(&self, lines: &[Series]) -> Option<Plot> {
        let (width, height) = match self.wide {
            true => (530.0, 270.0),
            false => (350.0, 230.0),
        };
        let points = || lines.iter().flat_map(|line| &line.points);
        let zero = matches!(self.range, ValueRange::DrawnAndZero).then_some(0.0);
        let epochs = extent(points().map(|point| point.0))?;
        let values = match &self.range {
            ValueRange::Fixed(values) => values.clone(),
            _ => round_range(points().map(|point| point.1).chain(zero))?,
        };
        let letters = lines
            .iter()
            .map(|line| self.end_label(line).chars().count());
        let right = width - 14.0 - LETTER * letters.max().unwrap_or(0) as f64;
        Some(Plot {
            width,
            height,
            x: Axis::new(epochs, LEFT + 6.0..right),
            y: Axis::new(values, height - BOTTOM..TOP),
        })
    }

    fn grid(&self, plot: &Plot) -> Markup {
        let Plot { x, y, height, .. } = *plot;
        let values = ticks(y.low, y.high, 5);
        let digits = tick_digits(&values);
        let write = |value: f64| match self.unit {
            Unit::Plain(_) => fixed(value, digits),
            Unit::Fraction => format!("{}\u{202f}%", fixed(value * 100.0, 0)),
        };
        html! {
            g.grid {
                @for &value in &values {
                    @let at = y.at(value);
                    line x1=(px(LEFT)) y1=(px(at)) x2=(px(x.at(x.high) + 6.0)) y2=(px(at)) {}
                    text x=(px(LEFT - 6.0)) y=(px(at + 4.0)) text-anchor="end" { (write(value)) }
                }
                @for epoch in epoch_ticks(x) {
                    text x=(px(x.at(epoch))) y=(px(height - 10.0)) text-anchor="middle" { (epoch) }
                }
            }
        }
    }

    fn line(&self, line: &Series, plot: &Plot) -> Markup {
        let radius = if line.points.len() > 40 { 1.2 } else { 2.6 };
        let marks = line.points.iter().map(|&(epoch, value)| {
            let (class, radius) = match line.ringed == Some(epoch) {
                true => ("ring", 4.5),
                false => ("dot", radius),
            };
            html! {
                circle class=(class) cx=(px(plot.x.at(epoch))) cy=(px(plot.y.at(value))) r=(radius) {
                    title { (line.name) ", epoch " (epoch) ": " (self.unit.write(value)) }
                }
            }
        });
        html! {
            g class=(line.class) {
                polyline.line points=(plot.points(line.points.iter().copied())) {}
                @for mark in marks { (mark) }
            }
        }
    }

    fn end_label(&self, line: &Series) -> String {
        let last = || line.points.last().map(|point| self.unit.write(point.1));
        line.end_label.clone().or_else(last).unwrap_or_default()
    }

    fn end_labels(&self, lines: &[Series], plot: &Plot) -> Markup {
        let height = |line: &Series| line.points.last().map_or(TOP, |point| plot.y.at(point.1));
        let mut labels: Vec<(f64, &Series)> = lines
            .iter()
            .filter(|line| line.end_label.as_deref() != Some(""))
            .map(|line| (height(line), line))
            .collect();
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut heights: Vec<f64> = labels.iter().map(|label| label.0).collect();
        spread(&mut heights, TOP..plot.height - BOTTOM);
        let at = plot.x.at(plot.x.high) + 10.0;
        html! {
            @for ((_, line), height) in labels.iter().zip(heights) {
                text.end.(line.class) x=(px(at)) y=(px(height + 4.0)) { (self.end_label(line)) }
            }
        }
    }

    /// First and last value of a line, for screen readers.
    fn describe(&self, line: &Series) -> String {
        let at = |point: Option<&(f64, f64)>| {
            let (epoch, value) = point.copied().unwrap_or_default();
            format!("{} at epoch {epoch}", self.unit.write(value))
        };
        let (first, last) = (at(line.points.first()), at(line.points.last()));
        format!("{}: {first}, {last}.", line.name)
    }
}

/// The ticks of the epoch axis: whole epochs, about eight at most.
fn epoch_ticks(epochs: Axis) -> Vec<f64> {
    let whole = |tick: f64| (tick - tick.round()).abs() < 1e-6;
    let ticks = ticks(epochs.low, epochs.high, 8).into_iter();
    ticks.filter(|&tick| whole(tick)).map(f64::round).collect()
}

/// Moves sorted heights apart until labels fit, and back inside the bounds.
fn spread(heights: &mut [f64], bounds: Range<f64>) {
    for index in 1..heights.len() {
        heights[index] = heights[index].max(heights[index - 1] + LABEL_HEIGHT);
    }
    let mut limit = bounds.end;
    for height in heights.iter_mut().rev() {
        *height = height.min(limit).max(bounds.start);
        limit = *height - LABEL_HEIGHT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> String {
        let line = Series {
            name: "a".to_owned(),
            class: "run-0".to_owned(),
            points,
            ringed: Some(1.0),
            end_label: Some("a".to_owned()),
        };
        let chart = Chart {
            id: "c",
            title: "t",
            unit: Unit::Plain(2),
            range: ValueRange::Drawn,
            wide: false,
        };
        chart.draw("", vec![line]).into_string()
    }

    #[test]
    fn values_that_are_not_finite_are_left_out() {
        let drawn = chart(vec![
            (1.0, 2.0),
            (2.0, f64::NAN),
            (3.0, f64::INFINITY),
            (4.0, 1.0),
        ]);
        assert_eq!(drawn.matches("<circle").count(), 2);
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"));
    }

    #[test]
    fn a_chart_without_finite_values_is_empty() {
        assert_eq!(chart(vec![]), "");
        assert_eq!(chart(vec![(1.0, f64::NAN)]), "");
    }

    #[test]
    fn one_epoch_has_one_tick() {
        assert_eq!(epoch_ticks(Axis::new(1.0..1.0, 0.0..1.0)), [1.0]);
        assert!(chart(vec![(1.0, 5.0)]).contains("class=\"ring\""));
    }

    #[test]
    fn labels_at_one_height_are_spread() {
        let mut heights = [50.0, 50.0, 51.0];
        spread(&mut heights, 0.0..100.0);
        assert!(
            heights
                .windows(2)
                .all(|pair| pair[1] - pair[0] >= LABEL_HEIGHT)
        );
    }
}
