//! What came out, run beside run.

use maud::{Markup, html};
use uard_eval::RecallPercent;

use super::lines::style;
use super::runs::{Results, RunResult, display_name, threshold_text};
use super::verdict::verdict;
use crate::numbers::{UNKNOWN, capitalised, duration, fixed, percent};

/// The table of all runs and the sentences that say what it shows.
pub(super) fn results(results: &Results) -> Markup {
    html! {
        @if !results.rows.is_empty() {
            (table(results))
            ul.verdict {
                @for (about, says) in verdict(results) { li { b { (about) "." } " " (says) } }
            }
        }
    }
}

/// How the numbers of a row are written, and which of them is the best.
#[derive(Clone, Copy)]
enum Kind {
    /// A number of which more is better, up to this one.
    Points(f64),
    /// A fraction of which more is better.
    Gain,
    /// A fraction of which less is better.
    Cost,
    /// Epochs, of which no number is better.
    Count,
    /// Seconds, of which no number is better.
    Time,
}

impl Kind {
    fn write(self, value: f64) -> String {
        match self {
            Self::Points(_) => fixed(value, 1),
            Self::Gain | Self::Cost => percent(value),
            Self::Count => fixed(value, 0),
            Self::Time => duration(value),
        }
    }

    /// Largest value of the bar behind a number, if there is one.
    fn bar(self) -> Option<f64> {
        match self {
            Self::Points(most) => Some(most),
            Self::Gain | Self::Cost => Some(1.0),
            Self::Count | Self::Time => None,
        }
    }

    fn best(self, values: &[Option<f64>]) -> Option<f64> {
        let known = values.iter().flatten().copied();
        match self {
            _ if values.len() < 2 => None,
            Self::Points(_) | Self::Gain => known.reduce(f64::max),
            Self::Cost => known.reduce(f64::min),
            Self::Count | Self::Time => None,
        }
    }
}

/// One number of a run.
struct Number {
    /// What it stands below.
    heading: &'static str,
    name: &'static str,
    kind: Kind,
    value: Option<f64>,
}

/// The numbers of a run; those of all runs have the same order.
fn numbers(result: &RunResult) -> Vec<Number> {
    let mut numbers = Vec::new();
    let mut add = |heading, kind, named: &[(&'static str, Option<f64>)]| {
        numbers.extend(named.iter().map(|&(name, value)| Number {
            heading,
            name,
            kind,
            value: value.filter(|value| value.is_finite()),
        }));
    };
    let RunResult { run, of, .. } = result;
    let (retrieval, kept, truth) = (&of.retrieval, of.kept, of.alignment);
    let recalls = |of: RecallPercent| {
        [("R@1", of.r1), ("R@5", of.r5), ("R@10", of.r10)].map(|(name, r)| (name, Some(r)))
    };
    let [images, captions] = ["Image → text, % of images", "Text → image, % of captions"];
    add(
        images,
        Kind::Points(100.0),
        &recalls(retrieval.image_to_text),
    );
    add(
        captions,
        Kind::Points(100.0),
        &recalls(retrieval.text_to_image),
    );
    let rsum = [("rsum of the six", Some(retrieval.rsum))];
    add(captions, Kind::Points(600.0), &rsum);
    let kept = [
        ("word queries", Some(kept.word_queries)),
        ("region queries", Some(kept.region_queries)),
        ("region-word cells", Some(kept.cells)),
    ];
    add("Work kept, of all pairs", Kind::Cost, &kept);
    let aligned = [
        ("precision", truth.map(|of| of.precision)),
        ("recall", truth.map(|of| of.recall)),
        (
            "best region is true",
            truth.map(|of| of.best_region_accuracy),
        ),
    ];
    add("Alignment, matched pairs", Kind::Gain, &aligned);
    let best_epoch = [("best epoch", Some(run.best_epoch as f64))];
    add("Training", Kind::Count, &best_epoch);
    add("Training", Kind::Time, &[("time", Some(run.seconds))]);
    numbers
}

/// A number with what each run has of it.
type Line<'a> = (&'a Number, Vec<Option<f64>>);

fn table(results: &Results) -> Markup {
    let rows = &results.rows;
    let numbers: Vec<Vec<Number>> = rows.iter().map(numbers).collect();
    let of_runs = |place: usize| -> Vec<Option<f64>> {
        let values = numbers.iter().map(|of_run| of_run[place].value);
        values.collect()
    };
    let lines = numbers.iter().take(1).flatten().enumerate();
    // What no run knows is left out.
    let lines: Vec<Line> = lines
        .map(|(place, number)| (number, of_runs(place)))
        .filter(|line| line.1.iter().any(Option::is_some))
        .collect();
    let protocol = rows.first().map_or("", |row| &row.of.retrieval.protocol);
    html! {
        div.scroll {
            table.results {
                caption {
                    "Results on " (results.split)
                    @if !protocol.is_empty() { " (" (protocol) ")" }
                    ", each run with the model of its best epoch."
                    @if rows.len() > 1 { " Bold: the best of a row." }
                }
                thead {
                    tr {
                        td {}
                        @for row in rows {
                            th.(style(row.place)) scope="col" {
                                span { (capitalised(display_name(row.run))) }
                            }
                        }
                    }
                }
                tbody {
                    tr {
                        th scope="row" { "threshold (a cosine)" }
                        @for row in rows { td { (threshold_text(row.run, row.of.threshold)) } }
                    }
                }
                @for lines in lines.chunk_by(|a, b| a.0.heading == b.0.heading) {
                    tbody {
                        tr.group {
                            th scope="rowgroup" colspan=(rows.len() + 1) { (lines[0].0.heading) }
                        }
                        @for (number, values) in lines { (line(number, values, rows)) }
                    }
                }
            }
        }
    }
}

fn line(number: &Number, values: &[Option<f64>], runs: &[RunResult]) -> Markup {
    let best = number.kind.best(values);
    html! {
        tr {
            th scope="row" { (number.name) }
            @for (value, run) in values.iter().zip(runs) {
                td { (cell(number.kind, *value, best, &style(run.place))) }
            }
        }
    }
}

fn cell(kind: Kind, value: Option<f64>, best: Option<f64>, class: &str) -> Markup {
    let Some(value) = value else {
        return html! { (UNKNOWN) };
    };
    let text = kind.write(value);
    // Values that read the same are equally good.
    let is_best = best.is_some_and(|best| kind.write(best) == text);
    let width = |full: f64| format!("width:{:.1}%", (value / full * 100.0).clamp(0.0, 100.0));
    html! {
        @if is_best { b { (text) } } @else { (text) }
        @if let Some(full) = kind.bar() {
            i.bar.(class) aria-hidden="true" { i style=(width(full)) {} }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_of_one_run_is_not_marked() {
        assert_eq!(Kind::Gain.best(&[Some(1.0)]), None);
        assert_eq!(Kind::Cost.best(&[Some(1.0), None, Some(0.5)]), Some(0.5));
    }
}
