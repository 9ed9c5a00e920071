//! The two hills: the distributions of relevant and irrelevant samples with the threshold, one panel
//! an epoch.

use maud::{Markup, html};

use super::plot::{Axis, Plot, px, ticks};
use super::runs::{display_name, subject};
use crate::numbers::{enumerate, fixed, percent};
use crate::record::{EpochRecord, Fit, Histogram, RunRecord};
use crate::study::measured_errors;

const WIDTH: f64 = 350.0;
const HEIGHT: f64 = 215.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 26.0;
/// Largest number of epochs of one run that are drawn.
const PANELS: usize = 6;
/// Number of points of a fitted curve.
const POINTS: usize = 120;

/// The hills of one epoch, which has both relevant and irrelevant samples.
#[derive(Clone, Copy)]
struct Panel<'a> {
    run: &'a RunRecord,
    epoch: &'a EpochRecord,
}

/// The hills of the first run over its epochs, then of the other runs at their best epoch.
pub(super) fn hills(runs: &[RunRecord]) -> Markup {
    let Some((first, others)) = runs.split_first() else {
        return html! {};
    };
    let at_best = |run| Panel::new(run, run.best_epoch()?);
    let at_best: Vec<Panel> = others.iter().filter_map(at_best).collect();
    draw("hills-epochs", &chosen(first), &at_best)
}

/// The hills of one run over its epochs; `id` must be unique in the page.
pub(super) fn over_epochs(run: &RunRecord, id: &str) -> Markup {
    draw(id, &chosen(run), &[])
}

/// Panels of one run over its epochs, then panels of other runs.
fn draw(id: &str, epochs: &[Panel], others: &[Panel]) -> Markup {
    let all: Vec<Panel> = epochs.iter().chain(others).copied().collect();
    if all.is_empty() {
        return html! {};
    }
    let plot = frame(&all);
    let panels = |id: &str, panels: &[Panel]| {
        html! {
            div.charts.thirds {
                @for (index, panel) in panels.iter().enumerate() {
                    (panel.draw(&format!("{id}-{index}"), &plot))
                }
            }
        }
    };
    html! {
        p { (describe(epochs)) }
        (legend())
        @if !epochs.is_empty() { (panels(id, epochs)) }
        @if !others.is_empty() {
            h3 { "The other runs at their best epoch" }
            (panels("hills-others", others))
        }
    }
}

fn legend() -> Markup {
    html! {
        ul.legend aria-label="Curves" {
            li { span.block.irrelevant {} "irrelevant samples: mismatched pairs" }
            li { span.block.relevant {} "relevant samples: matched pairs" }
            li {
                svg.swatch viewBox="0 0 28 10" aria-hidden="true" {
                    path.fit d="M1 9C9 9 9 1 14 1S19 9 27 9" {}
                }
                "fitted normal"
            }
            li {
                svg.swatch viewBox="0 0 28 10" aria-hidden="true" {
                    line.threshold x1="14" y1="0" x2="14" y2="10" {}
                }
                "threshold"
            }
        }
    }
}

/// At most [`PANELS`] epochs in order: the first, the best, the last, and others evenly between.
fn chosen(run: &RunRecord) -> Vec<Panel<'_>> {
    let panels = run.epochs.iter().filter_map(|epoch| Panel::new(run, epoch));
    let panels: Vec<Panel> = panels.collect();
    if panels.len() <= PANELS {
        return panels;
    }
    let last = panels.len() - 1;
    let mut indices: Vec<usize> = (0..PANELS)
        .map(|panel| (panel * last + (PANELS - 1) / 2) / (PANELS - 1))
        .collect();
    let best = panels.iter().position(|panel| panel.is_best());
    if let Some(best) = best.filter(|best| !indices.contains(best)) {
        // The best epoch replaces the nearest of the epochs in between; the first and last are
        // kept.
        let between = indices[1..PANELS - 1].iter_mut();
        if let Some(nearest) = between.min_by_key(|index| index.abs_diff(best)) {
            *nearest = best;
        }
    }
    indices.sort_unstable();
    indices.into_iter().map(|index| panels[index]).collect()
}

/// The same axes for all panels, so that they can be compared: x covers every threshold and every
/// bin with more than a thousandth of its histogram's samples, y the highest density.
fn frame(panels: &[Panel]) -> Plot {
    let (mut low, mut high, mut top) = (0.0f64, 0.0f64, 0.0f64);
    for Panel { epoch, .. } in panels {
        for (histogram, _, _) in epoch.hills.both() {
            let enough = histogram.total() / 1000;
            for (x, _) in histogram.bins().filter(|bin| bin.1 > enough) {
                (low, high) = (low.min(x), high.max(x));
            }
            top = density(histogram).fold(top, |top, point| top.max(point.1));
        }
        for peak in epoch
            .hills
            .both()
            .into_iter()
            .filter_map(|hill| peak(hill.1?))
        {
            // The peak of a very narrow fit is cut off, because it would flatten the histograms.
            top = top.max(peak.min(1.3 * top));
        }
        if epoch.threshold.is_finite() {
            (low, high) = (low.min(epoch.threshold), high.max(epoch.threshold));
        }
    }
    let low = ((low * 10.0 - 0.3).floor() / 10.0).max(-1.0);
    let high = ((high * 10.0 + 0.3).ceil() / 10.0).min(1.0);
    Plot {
        width: WIDTH,
        height: HEIGHT,
        x: Axis::new(low..high, 10.0..WIDTH - 10.0),
        y: Axis::new(0.0..top.max(1e-9) * 1.04, HEIGHT - BOTTOM..TOP),
    }
}

/// The middle of each bin and the density there; the densities integrate to one.
fn density(histogram: &Histogram) -> impl Iterator<Item = (f64, f64)> {
    let scale = histogram.total().max(1) as f64 * Histogram::WIDTH;
    histogram
        .bins()
        .map(move |(x, count)| (x, count as f64 / scale))
}

fn mean(histogram: &Histogram) -> f64 {
    density(histogram).map(|(x, y)| x * y).sum::<f64>() * Histogram::WIDTH
}

/// Heading of the sections with hills.
pub(super) const HEADING: &str = "The two hills: relevance in matched and in mismatched pairs";

const INTRODUCTION: &str = "Each panel shows two histograms of relevance, the highest cosine of a \
    word with any region of an image. The right hill is over words with their own image (relevant \
    samples), the left hill over words with an image that does not match (irrelevant samples). \
    “Missed” is the fraction of relevant samples that are not above the threshold, “let through” \
    the fraction of irrelevant samples that are.";

/// The introduction, and a sentence on how the panels of a run differ.
fn describe(panels: &[Panel]) -> String {
    let [first, .., last] = panels else {
        return match panels {
            [only] => format!("{INTRODUCTION} {}", only.describe()),
            _ => INTRODUCTION.to_owned(),
        };
    };
    let (before, after) = (first.gap(), last.gap());
    let movement = match after - before {
        apart if apart > 0.005 => "move apart",
        apart if apart < -0.005 => "move closer",
        _ => "keep their distance",
    };
    let from_to = |what: &str, write: &dyn Fn(&Panel) -> String| {
        format!("{what} changes from {} to {}", write(first), write(last))
    };
    let facts = enumerate(&[
        from_to("the distance of their means", &|of| fixed(of.gap(), 2)),
        from_to("the threshold", &|of| fixed(of.epoch.threshold, 3)),
        from_to("the fraction of samples on its wrong side", &|of| {
            percent(of.wrong())
        }),
    ]);
    format!(
        "{INTRODUCTION} From epoch {} to epoch {} of the run with {}, the hills {movement}: {facts}.",
        first.epoch.epoch,
        last.epoch.epoch,
        subject(first.run)
    )
}

impl<'a> Panel<'a> {
    /// The panel of an epoch; `None` if relevant or irrelevant samples are missing.
    fn new(run: &'a RunRecord, epoch: &'a EpochRecord) -> Option<Self> {
        let drawable = epoch.hills.relevant.total() > 0 && epoch.hills.irrelevant.total() > 0;
        drawable.then_some(Self { run, epoch })
    }

    fn is_best(&self) -> bool {
        self.epoch.epoch == self.run.best_epoch
    }

    /// Distance between the means of both hills.
    fn gap(&self) -> f64 {
        mean(&self.epoch.hills.relevant) - mean(&self.epoch.hills.irrelevant)
    }

    /// Fraction of samples on the wrong side of the threshold; NaN without samples.
    fn wrong(&self) -> f64 {
        let errors = measured_errors(&self.epoch.hills, self.epoch.threshold);
        errors.map_or(f64::NAN, |errors| errors.error)
    }

    fn describe(&self) -> String {
        format!(
            "In epoch {} of the run with {}, the means of the hills are {} apart, and {} of the \
             samples are on the wrong side of the threshold {}.",
            self.epoch.epoch,
            subject(self.run),
            fixed(self.gap(), 2),
            percent(self.wrong()),
            fixed(self.epoch.threshold, 3)
        )
    }

    fn draw(&self, id: &str, plot: &Plot) -> Markup {
        let EpochRecord {
            epoch,
            threshold,
            hills,
            ..
        } = self.epoch;
        let title = format!("Epoch {epoch}, {}", display_name(self.run));
        let threshold = Some(*threshold).filter(|t| t.is_finite() && self.run.masks());
        let errors = threshold.and_then(|threshold| measured_errors(hills, threshold));
        let facts = errors.map_or("this weight rule has no threshold".to_owned(), |errors| {
            let (missed, passed) = (percent(errors.missed), percent(errors.passed));
            format!("missed {missed} · let through {passed}")
        });
        let marks = html! {
            (base_line(plot))
            @for (histogram, _, class) in hills.both() { (hill(histogram, class, plot)) }
            @for (_, fit, class) in hills.both() { (normal(fit, class, plot)) }
            @if let Some(threshold) = threshold { (border(threshold, plot)) }
        };
        html! {
            figure.chart.hills {
                figcaption {
                    (title)
                    @if self.is_best() { " " b.badge { "best" } }
                    small { (facts) }
                }
                (plot.svg(id, &title, &facts, &marks))
            }
        }
    }
}

fn border(threshold: f64, plot: &Plot) -> Markup {
    let at = plot.x.at(threshold);
    html! {
        line.threshold x1=(px(at)) y1=(px(TOP - 6.0)) x2=(px(at)) y2=(px(HEIGHT - BOTTOM)) {}
        text.value x=(px(at.clamp(40.0, WIDTH - 40.0))) y="14" text-anchor="middle" {
            "t = " (fixed(threshold, 3))
        }
    }
}

fn base_line(plot: &Plot) -> Markup {
    let (x, base) = (plot.x, HEIGHT - BOTTOM);
    html! {
        g.grid {
            line x1=(px(x.at(x.low))) y1=(px(base)) x2=(px(x.at(x.high))) y2=(px(base)) {}
            @for tick in ticks(x.low, x.high, 7) {
                @let at = px(x.at(tick));
                line x1=(at) y1=(px(base)) x2=(at) y2=(px(base + 4.0)) {}
                text x=(at) y=(px(base + 18.0)) text-anchor="middle" { (fixed(tick, 1)) }
            }
        }
    }
}

fn hill(histogram: &Histogram, class: &str, plot: &Plot) -> Markup {
    let inside = |point: &(f64, f64)| (plot.x.low..=plot.x.high).contains(&point.0);
    let points: Vec<(f64, f64)> = density(histogram).filter(inside).collect();
    let foot = |point: Option<&(f64, f64)>| point.map(|point| (point.0, 0.0));
    let (first, last) = (foot(points.first()), foot(points.last()));
    let outline = first.into_iter().chain(points).chain(last);
    html! {
        path.hill.(class) d={ "M" (plot.points(outline)) "Z" } {}
    }
}

/// The highest density of a fitted normal; `None` for one that cannot be drawn.
fn peak(Fit { mean, std }: Fit) -> Option<f64> {
    let drawable = mean.is_finite() && std.is_finite() && std > 1e-6;
    drawable.then(|| 1.0 / (std * (2.0 * std::f64::consts::PI).sqrt()))
}

/// The curve of a fitted normal, cut off at the top of the frame.
fn normal(fit: Option<Fit>, class: &str, plot: &Plot) -> Markup {
    let Some((Fit { mean, std }, height)) = fit.and_then(|fit| Some((fit, peak(fit)?))) else {
        return html! {};
    };
    let Plot { x, y, .. } = *plot;
    let points = (0..=POINTS).map(|point| {
        let value = x.low + (x.high - x.low) * point as f64 / POINTS as f64;
        let density = height * (-0.5 * ((value - mean) / std).powi(2)).exp();
        (value, density.min(y.high))
    });
    html! {
        polyline.fit.(class) points=(plot.points(points)) {}
    }
}
