//! How do the two hills of relevance move apart, and where does the threshold stand between them?

use super::axis::{Axis, ticks};
use super::markup::{escape, open_svg};
use super::numbers::{enumerate, fixed, percent};
use super::runs::{best_epoch, display_name, masks, subject};
use crate::record::{EpochRecord, Fit, Hills, Histogram, RunRecord};

const SIZE: (f64, f64) = (350.0, 215.0);
const TOP: f64 = 26.0;
const BOTTOM: f64 = 26.0;
/// Panels of the first run: enough to see the movement, few enough to compare.
const PANELS: usize = 6;

/// The hills of the first run over its epochs, then of the other runs at their best epoch.
pub(super) fn hills(runs: &[RunRecord]) -> String {
    let Some((first, others)) = runs.split_first() else {
        return String::new();
    };
    let moving: Vec<(&RunRecord, &EpochRecord)> = chosen(first)
        .into_iter()
        .map(|epoch| (first, epoch))
        .collect();
    let resting: Vec<(&RunRecord, &EpochRecord)> = others
        .iter()
        .filter_map(|run| Some((run, best_epoch(run).filter(|epoch| drawable(&epoch.hills))?)))
        .collect();
    let all: Vec<&EpochRecord> = moving.iter().chain(&resting).map(|panel| panel.1).collect();
    if all.is_empty() {
        return String::new();
    }
    let axes = axes(&all);
    let mut out = format!("<p>{}</p>\n{LEGEND}\n", seen(first, &moving));
    if !moving.is_empty() {
        out += &panels(&moving, axes, "epochs");
    }
    if !resting.is_empty() {
        out += "<h3>The hills of the other runs at their best epoch</h3>\n";
        out += &panels(&resting, axes, "others");
    }
    out
}

/// The hills of one run over its epochs; `id` tells the runs of a page apart.
pub(super) fn movement(run: &RunRecord, id: &str) -> String {
    let epochs = chosen(run);
    if epochs.is_empty() {
        return String::new();
    }
    let axes = axes(&epochs);
    let moving: Vec<(&RunRecord, &EpochRecord)> =
        epochs.into_iter().map(|epoch| (run, epoch)).collect();
    format!(
        "<p>{}</p>\n{LEGEND}\n{}",
        seen(run, &moving),
        panels(&moving, axes, id)
    )
}

fn panels(panels: &[(&RunRecord, &EpochRecord)], axes: (Axis, Axis), group: &str) -> String {
    let panel = |(place, &(run, epoch)): (usize, &(&RunRecord, &EpochRecord))| {
        Panel { run, epoch, axes }.draw(&format!("hills-{group}-{place}"))
    };
    let panels: String = panels.iter().enumerate().map(panel).collect();
    format!("<div class=\"charts thirds\">{panels}</div>\n")
}

const LEGEND: &str = "<ul class=\"legend\" aria-label=\"Curves\">\
    <li><span class=\"block irrelevant\"></span>irrelevant: mismatched pairs</li>\
    <li><span class=\"block relevant\"></span>relevant: matched pairs</li>\
    <li><svg class=\"swatch\" viewBox=\"0 0 28 10\" aria-hidden=\"true\"><path class=\"fit\" d=\"M1 9C9 9 9 1 14 1S19 9 27 9\"/></svg>fitted normal</li>\
    <li><svg class=\"swatch\" viewBox=\"0 0 28 10\" aria-hidden=\"true\"><line class=\"threshold\" x1=\"14\" y1=\"0\" x2=\"14\" y2=\"10\"/></svg>threshold</li></ul>";

/// First, best and last epoch, and others evenly between, in order.
fn chosen(run: &RunRecord) -> Vec<&EpochRecord> {
    let epochs: Vec<&EpochRecord> = run
        .epochs
        .iter()
        .filter(|epoch| drawable(&epoch.hills))
        .collect();
    if epochs.len() <= PANELS {
        return epochs;
    }
    let last = epochs.len() - 1;
    let mut places: Vec<usize> = (0..PANELS)
        .map(|panel| (panel * last + (PANELS - 1) / 2) / (PANELS - 1))
        .collect();
    if let Some(best) = epochs
        .iter()
        .position(|epoch| epoch.epoch == run.best_epoch)
        && !places.contains(&best)
    {
        let middle = 1..PANELS - 1;
        let nearest = middle
            .min_by_key(|&panel| places[panel].abs_diff(best))
            .unwrap_or(1);
        places[nearest] = best;
    }
    places.sort_unstable();
    places.into_iter().map(|place| epochs[place]).collect()
}

fn drawable(hills: &Hills) -> bool {
    hills.relevant.total() > 0 && hills.irrelevant.total() > 0
}

/// One frame for all panels, so that they can be compared: the range that holds
/// samples, and the highest density.
fn axes(epochs: &[&EpochRecord]) -> (Axis, Axis) {
    let (mut low, mut high, mut top) = (0.0f64, 0.0f64, 0.0f64);
    for epoch in epochs {
        for histogram in [&epoch.hills.relevant, &epoch.hills.irrelevant] {
            low = low.min(quantile(histogram, 0.001));
            high = high.max(quantile(histogram, 0.999));
            top = density(histogram)
                .iter()
                .fold(top, |top, point| top.max(point.1));
        }
        for fit in [epoch.hills.relevant_fit, epoch.hills.irrelevant_fit]
            .into_iter()
            .flatten()
        {
            // A spike must not flatten everything else.
            top = top.max(peak(fit).unwrap_or(0.0).min(1.3 * top));
        }
        if epoch.threshold.is_finite() {
            (low, high) = (low.min(epoch.threshold), high.max(epoch.threshold));
        }
    }
    let (low, high) = (
        (low * 10.0 - 0.3).floor() / 10.0,
        (high * 10.0 + 0.3).ceil() / 10.0,
    );
    let x = Axis::new((low.max(-1.0), high.min(1.0)), (10.0, SIZE.0 - 10.0));
    (
        x,
        Axis::new((0.0, top.max(1e-9) * 1.04), (SIZE.1 - BOTTOM, TOP)),
    )
}

/// Middle of each bin and the density there; the area below is one.
fn density(histogram: &Histogram) -> Vec<(f64, f64)> {
    let width = 2.0 / histogram.counts.len().max(1) as f64;
    let scale = histogram.total().max(1) as f64 * width;
    let middle = |bin: usize| -1.0 + (bin as f64 + 0.5) * width;
    histogram
        .counts
        .iter()
        .enumerate()
        .map(|(bin, &n)| (middle(bin), n as f64 / scale))
        .collect()
}

fn quantile(histogram: &Histogram, share: f64) -> f64 {
    let wanted = share * histogram.total() as f64;
    let mut seen = 0.0;
    for (bin, &count) in histogram.counts.iter().enumerate() {
        seen += count as f64;
        if count > 0 && seen >= wanted {
            return -1.0 + (bin as f64 + 0.5) * 2.0 / histogram.counts.len() as f64;
        }
    }
    0.0
}

fn mean(histogram: &Histogram) -> f64 {
    let weighted = density(histogram).iter().map(|&(x, y)| x * y).sum::<f64>();
    weighted * 2.0 / histogram.counts.len().max(1) as f64
}

/// Share of relevant samples not above the threshold, and of irrelevant ones above it.
fn errors(epoch: &EpochRecord) -> (f64, f64) {
    let Hills {
        relevant,
        irrelevant,
        ..
    } = &epoch.hills;
    (
        relevant.below(epoch.threshold).unwrap_or(0.0),
        1.0 - irrelevant.below(epoch.threshold).unwrap_or(0.0),
    )
}

/// One sentence on what the panels show, from their numbers.
fn seen(run: &RunRecord, panels: &[(&RunRecord, &EpochRecord)]) -> String {
    let intro = "Each panel holds the highest relevance that a word finds in an image: right hill, \
                 in its own image; left hill, in an image that does not match. Missed are relevant \
                 samples below the threshold, let through are irrelevant ones above it.";
    let (Some((_, first)), Some((_, last))) = (panels.first(), panels.last()) else {
        return intro.to_owned();
    };
    let gap = |epoch: &EpochRecord| mean(&epoch.hills.relevant) - mean(&epoch.hills.irrelevant);
    let wrong = |epoch: &EpochRecord| {
        let (missed, passed) = errors(epoch);
        (missed + passed) / 2.0
    };
    let name = escape(&subject(run));
    let (before, after) = (gap(first), gap(last));
    if first.epoch == last.epoch {
        return format!(
            "{intro} In epoch {} of the run with {name} their means are {} apart, and the \
             threshold of {} puts {} of the samples on the wrong side.",
            first.epoch,
            fixed(before, 2),
            fixed(first.threshold, 3),
            percent(wrong(first))
        );
    }
    let movement = if after > before + 0.005 {
        "move apart"
    } else if after < before - 0.005 {
        "move together"
    } else {
        "keep their distance"
    };
    let facts = enumerate(&[
        format!(
            "the distance of their means goes from {} to {}",
            fixed(before, 2),
            fixed(after, 2)
        ),
        format!(
            "the threshold from {} to {}",
            fixed(first.threshold, 3),
            fixed(last.threshold, 3)
        ),
        format!(
            "the share of samples on its wrong side from {} to {}",
            percent(wrong(first)),
            percent(wrong(last))
        ),
    ]);
    format!(
        "{intro} From epoch {} to {} of the run with {name} the hills {movement}: {facts}.",
        first.epoch, last.epoch
    )
}

/// One epoch's hills in the common frame.
struct Panel<'a> {
    run: &'a RunRecord,
    epoch: &'a EpochRecord,
    axes: (Axis, Axis),
}

impl Panel<'_> {
    fn draw(&self, id: &str) -> String {
        let (missed, passed) = errors(self.epoch);
        let best = if self.epoch.epoch == self.run.best_epoch {
            " <b class=\"badge\">best</b>"
        } else {
            ""
        };
        let title = format!("Epoch {}, {}", self.epoch.epoch, display_name(self.run));
        let facts = if self.epoch.threshold.is_finite() && masks(self.run) {
            format!(
                "missed {} · let through {}",
                percent(missed),
                percent(passed)
            )
        } else {
            "no threshold in this rule".to_owned()
        };
        let (x, y) = self.axes;
        format!(
            "<figure class=\"chart hills\"><figcaption>{}{best}<small>{facts}</small></figcaption>\n\
             {}{}{}{}{}{}{}</svg></figure>\n",
            escape(&title),
            open_svg(id, SIZE, &title, &facts),
            frame(x),
            hill(&self.epoch.hills.irrelevant, "irrelevant", (x, y)),
            hill(&self.epoch.hills.relevant, "relevant", (x, y)),
            normal(self.epoch.hills.irrelevant_fit, "irrelevant", (x, y)),
            normal(self.epoch.hills.relevant_fit, "relevant", (x, y)),
            if masks(self.run) {
                self.border(x)
            } else {
                String::new()
            },
        )
    }

    fn border(&self, x: Axis) -> String {
        if !self.epoch.threshold.is_finite() {
            return String::new();
        }
        let at = x.at(self.epoch.threshold);
        let middle = at.clamp(40.0, SIZE.0 - 40.0);
        format!(
            "<line class=\"threshold\" x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\"/>\
             <text class=\"value\" x=\"{middle:.1}\" y=\"14\" text-anchor=\"middle\">t = {}</text>",
            TOP - 6.0,
            SIZE.1 - BOTTOM,
            fixed(self.epoch.threshold, 3)
        )
    }
}

fn frame(x: Axis) -> String {
    let base = SIZE.1 - BOTTOM;
    let mut out = format!(
        "<g class=\"grid\"><line x1=\"{:.1}\" y1=\"{base:.1}\" x2=\"{:.1}\" y2=\"{base:.1}\"/>",
        x.at(x.low()),
        x.at(x.high())
    );
    for tick in ticks(x.low(), x.high(), 7) {
        let at = x.at(tick);
        out += &format!(
            "<line x1=\"{at:.1}\" y1=\"{base:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            base + 4.0,
            base + 18.0,
            fixed(tick, 1)
        );
    }
    out + "</g>\n"
}

fn hill(histogram: &Histogram, class: &str, (x, y): (Axis, Axis)) -> String {
    let inside = |point: &(f64, f64)| point.0 >= x.low() && point.0 <= x.high();
    let points: Vec<(f64, f64)> = density(histogram).into_iter().filter(inside).collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return String::new();
    };
    let path: Vec<String> = points
        .iter()
        .map(|&(a, b)| format!("{:.1},{:.1}", x.at(a), y.at(b)))
        .collect();
    let base = y.at(0.0);
    format!(
        "<path class=\"hill {class}\" d=\"M{:.1},{base:.1}L{}L{:.1},{base:.1}Z\"/>\n",
        x.at(first.0),
        path.join("L"),
        x.at(last.0)
    )
}

/// The highest density of a fitted normal; `None` for one that cannot be drawn.
fn peak(Fit { mean, std }: Fit) -> Option<f64> {
    let drawable = mean.is_finite() && std.is_finite() && std > 1e-6;
    drawable.then(|| 1.0 / (std * (2.0 * std::f64::consts::PI).sqrt()))
}

/// A thin normal curve; one that would leave the frame is cut at its top.
fn normal(fit: Option<Fit>, class: &str, (x, y): (Axis, Axis)) -> String {
    let Some(Fit { mean, std }) = fit else {
        return String::new();
    };
    let Some(height) = peak(Fit { mean, std }) else {
        return String::new();
    };
    const POINTS: usize = 120;
    let point = |place: usize| {
        let value = x.low() + (x.high() - x.low()) * place as f64 / POINTS as f64;
        let density = height * (-0.5 * ((value - mean) / std).powi(2)).exp();
        format!("{:.1},{:.1}", x.at(value), y.at(density.min(y.high())))
    };
    let path: Vec<String> = (0..=POINTS).map(point).collect();
    format!(
        "<polyline class=\"fit {class}\" points=\"{}\"/>\n",
        path.join(" ")
    )
}
