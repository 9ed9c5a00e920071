//! How is a chart of values over epochs drawn?

use super::axis::{Axis, round_range, tick_digits, ticks};
use super::markup::{escape, open_svg};
use super::numbers::{fixed, percent};

/// How values of a chart are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// As they are, with this many decimals.
    Plain(usize),
    /// As fractions, in percent.
    Fraction,
}

impl Unit {
    pub(super) fn write(self, value: f64) -> String {
        match self {
            Unit::Plain(digits) => fixed(value, digits),
            Unit::Fraction => percent(value),
        }
    }
}

/// One line: what it is, how it is coloured, and its points (epoch, value).
pub(super) struct Series {
    pub(super) name: String,
    /// Class of `page.css`.
    pub(super) class: String,
    pub(super) points: Vec<(f64, f64)>,
    /// Epoch whose point is ringed.
    pub(super) ringed: Option<f64>,
    /// Text at the right end; empty for none.
    pub(super) end_label: String,
}

/// A chart over epochs.
pub(super) struct LineChart<'a> {
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    pub(super) unit: Unit,
    /// Range of values; by the data where `None`.
    pub(super) range: Option<(f64, f64)>,
    /// Values that must be inside a range by the data.
    pub(super) include: Option<f64>,
    pub(super) size: (f64, f64),
    pub(super) series: Vec<Series>,
}

const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;
const LEFT: f64 = 46.0;
/// Width of a letter of the labels, on average.
const LETTER: f64 = 6.6;
/// Least distance of two labels at the right end.
const LABEL_HEIGHT: f64 = 14.0;

impl LineChart<'_> {
    /// A `figure` with the chart; empty without a finite value.
    pub(super) fn draw(mut self) -> String {
        for series in &mut self.series {
            series
                .points
                .retain(|&(x, y)| x.is_finite() && y.is_finite());
        }
        self.series.retain(|series| !series.points.is_empty());
        let Some((x, y)) = self.axes() else {
            return String::new();
        };
        let marks: String = self
            .series
            .iter()
            .map(|series| self.line(series, x, y))
            .collect();
        format!(
            "<figure class=\"chart\" id=\"chart-{}\"><figcaption>{}</figcaption>\n{}{}{}{}</svg></figure>\n",
            self.id,
            escape(self.title),
            open_svg(self.id, self.size, self.title, &self.description()),
            self.grid(x, y),
            marks,
            self.end_labels(x, y)
        )
    }

    fn axes(&self) -> Option<(Axis, Axis)> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (first, last) = points().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &(x, _)| {
            (a.min(x), b.max(x))
        });
        let data = round_range(points().map(|point| point.1).chain(self.include))?;
        let range = self.range.unwrap_or(data);
        let letters = self
            .series
            .iter()
            .map(|series| series.end_label.chars().count())
            .max();
        let right = self.size.0 - 14.0 - LETTER * letters.unwrap_or(0) as f64;
        let x = Axis::new((first, last), (LEFT + 6.0, right));
        Some((x, Axis::new(range, (self.size.1 - BOTTOM, TOP))))
    }

    fn grid(&self, x: Axis, y: Axis) -> String {
        let values = ticks(y.low(), y.high(), 5);
        let digits = tick_digits(&values);
        let mut out = String::from("<g class=\"grid\">");
        for &value in &values {
            let text = match self.unit {
                Unit::Plain(_) => fixed(value, digits),
                Unit::Fraction => format!("{}\u{202f}%", fixed(value * 100.0, 0)),
            };
            let (at, from, to) = (y.at(value), LEFT, x.at(x.high()) + 6.0);
            out += &format!(
                "<line x1=\"{from:.1}\" y1=\"{at:.1}\" x2=\"{to:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>\n",
                LEFT - 6.0,
                at + 4.0
            );
        }
        for epoch in epoch_ticks(x.low(), x.high()) {
            let (at, base) = (x.at(epoch), self.size.1 - 10.0);
            out += &format!(
                "<text x=\"{at:.1}\" y=\"{base:.1}\" text-anchor=\"middle\">{epoch:.0}</text>"
            );
        }
        out + "</g>\n"
    }

    fn line(&self, series: &Series, x: Axis, y: Axis) -> String {
        let path: Vec<String> = series
            .points
            .iter()
            .map(|&(a, b)| format!("{:.1},{:.1}", x.at(a), y.at(b)))
            .collect();
        let mut out = format!(
            "<g class=\"{}\"><polyline class=\"line\" points=\"{}\"/>",
            series.class,
            path.join(" ")
        );
        let dense = series.points.len() > 40;
        for &(epoch, value) in &series.points {
            let ringed = series.ringed == Some(epoch);
            let (class, radius) = match (ringed, dense) {
                (true, _) => ("ring", 4.5),
                (false, true) => ("dot", 1.2),
                (false, false) => ("dot", 2.6),
            };
            out += &format!(
                "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"><title>{}, epoch {epoch:.0}: {}</title></circle>",
                x.at(epoch),
                y.at(value),
                escape(&series.name),
                self.unit.write(value)
            );
        }
        out + "</g>\n"
    }

    fn end_labels(&self, x: Axis, y: Axis) -> String {
        let mut labels: Vec<(f64, &Series)> = self
            .series
            .iter()
            .filter(|series| !series.end_label.is_empty())
            .filter_map(|series| series.points.last().map(|point| (y.at(point.1), series)))
            .collect();
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut heights: Vec<f64> = labels.iter().map(|label| label.0).collect();
        spread(&mut heights, (TOP, self.size.1 - BOTTOM));
        let at = x.at(x.high()) + 10.0;
        let texts = labels.iter().zip(heights).map(|((_, series), height)| {
            format!(
                "<text class=\"end {}\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
                series.class,
                height + 4.0,
                escape(&series.end_label)
            )
        });
        texts.collect()
    }

    fn description(&self) -> String {
        let of = |series: &Series| -> Option<String> {
            let (first, last) = (series.points.first()?, series.points.last()?);
            Some(format!(
                "{}: {} at epoch {}, {} at epoch {}.",
                series.name,
                self.unit.write(first.1),
                first.0,
                self.unit.write(last.1),
                last.0
            ))
        };
        let parts: Vec<String> = self.series.iter().filter_map(of).collect();
        parts.join(" ")
    }
}

/// Whole epochs, few enough to stand side by side.
fn epoch_ticks(first: f64, last: f64) -> Vec<f64> {
    let mut whole: Vec<f64> = ticks(first, last, 8)
        .into_iter()
        .filter(|tick| tick.fract().abs() < 1e-6)
        .collect();
    if whole.is_empty() || first == last {
        whole = vec![first];
    }
    whole
}

/// Moves sorted heights apart until labels fit, and back inside the bounds.
fn spread(heights: &mut [f64], (top, bottom): (f64, f64)) {
    for place in 1..heights.len() {
        heights[place] = heights[place].max(heights[place - 1] + LABEL_HEIGHT);
    }
    let mut limit = bottom;
    for height in heights.iter_mut().rev() {
        *height = height.min(limit).max(top);
        limit = *height - LABEL_HEIGHT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> String {
        let series = Series {
            name: "a".to_owned(),
            class: "run-0".to_owned(),
            points,
            ringed: Some(1.0),
            end_label: "a".to_owned(),
        };
        let (unit, size) = (Unit::Plain(2), (300.0, 200.0));
        LineChart {
            id: "c",
            title: "t",
            unit,
            range: None,
            include: None,
            size,
            series: vec![series],
        }
        .draw()
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
    fn nothing_to_draw_draws_nothing() {
        assert_eq!(chart(vec![]), "");
        assert_eq!(chart(vec![(1.0, f64::NAN)]), "");
    }

    #[test]
    fn one_epoch_has_one_tick() {
        assert_eq!(epoch_ticks(1.0, 1.0), [1.0]);
        assert!(chart(vec![(1.0, 5.0)]).contains("class=\"ring\""));
    }

    #[test]
    fn labels_at_one_height_are_spread() {
        let mut heights = [50.0, 50.0, 51.0];
        spread(&mut heights, (0.0, 100.0));
        assert!(
            heights
                .windows(2)
                .all(|pair| pair[1] - pair[0] >= LABEL_HEIGHT)
        );
    }
}
