//! The report of a training: results of its runs, charts over the epochs, hills, examples.

use maud::{Markup, html};
use uard_eval::{RecallPercent, RetrievalReport};

use super::lines::{Chart, Series, Unit, ValueRange, legend, style};
use super::runs::display_name;
use super::{Page, Row, Section, examples, folded, hills, results, table_of, terms, verdict};
use crate::comparison::{Results, threshold_text};
use crate::numbers::{counted, duration, fixed, grouped, percent, scientific};
use crate::record::{CaptionExample, EpochRecord, RunRecord};

/// The contents of a report.
#[derive(Debug, Clone, Copy)]
pub struct ReportInput<'a> {
    /// Heading of the page.
    pub title: &'a str,
    /// The runs; the first is compared with each of the others.
    pub runs: &'a [RunRecord],
    /// Retrieval examples of the first run.
    pub examples: &'a [CaptionExample],
    /// The command that made the runs, as typed.
    pub command: &'a str,
}

/// Renders the page.
///
/// No file is read or written. Style, charts and images are embedded, and the page's content
/// security policy forbids requests. All text is escaped. The sentences about the results are made
/// from the records.
///
/// Runs are compared on `test` if all of them have a test result, otherwise on `dev`. Parts without
/// data are left out: without epochs there are no charts, without samples no hills, without boxes
/// or pixel sizes no boxes. Values that are not finite are written as a dash and not drawn.
///
/// # Examples
///
/// ```
/// use uard_report::page::{ReportInput, render};
///
/// let page = render(&ReportInput { title: "Scenes", runs: &[], examples: &[], command: "" });
/// assert!(page.starts_with("<!DOCTYPE html>"));
/// ```
pub fn render(input: &ReportInput) -> String {
    let &ReportInput {
        title,
        runs,
        examples,
        command,
    } = input;
    let results = Results::from_runs(runs);
    let shown = examples::examples(examples, results.first_threshold());
    let mut sections = vec![
        Section::new("results", "Results", results::results(&results)),
        Section::new("epochs", "Over the epochs", charts(runs)),
        Section::new("hills", hills::HEADING, hills::hills(runs)),
        Section::new("examples", "Captions and the images found for them", shown),
        Section::new("configuration", "Configuration", configurations(runs)),
    ];
    if !runs.is_empty() {
        sections.push(terms());
    }
    let outcome = verdict::outcome(&results);
    let page = Page {
        title,
        kind: "training report",
        heading: title,
        outcome: html! { (outcome) },
        facts: facts(runs),
        command,
        style: examples::links(examples),
        sections,
    };
    page.draw()
}

fn facts(runs: &[RunRecord]) -> Vec<(&'static str, String)> {
    let trained = |run: &RunRecord| {
        let images = counted(run.train_images, "image");
        format!("{images}, {}", counted(run.train_captions, "caption"))
    };
    let seconds = duration(runs.iter().map(|run| run.seconds).sum());
    let time = match runs.len() {
        0 => String::new(),
        1 => seconds,
        count => format!("{seconds} for {}", counted(count, "run")),
    };
    vec![
        ("Trained on", distinct(runs, trained)),
        (
            "Trained for",
            distinct(runs, |run| counted(run.epochs.len(), "epoch")),
        ),
        ("Parameters", distinct(runs, |run| grouped(run.parameters))),
        ("Seed", distinct(runs, |run| run.seed.to_string())),
        ("Device", distinct(runs, |run| run.device.clone())),
        ("Time", time),
        ("Data, sha256", distinct(runs, |run| run.data_hash.clone())),
    ]
}

/// The values that `read` gives for the runs; equal values are listed once.
fn distinct(runs: &[RunRecord], read: impl Fn(&RunRecord) -> String) -> String {
    let mut values: Vec<String> = Vec::new();
    for value in runs.iter().map(read) {
        if !value.is_empty() && !values.contains(&value) {
            values.push(value);
        }
    }
    values.join("; ")
}

/// The complete configuration of each run, hidden until opened.
fn configurations(runs: &[RunRecord]) -> Markup {
    let shown = |run: &&RunRecord| !run.config.trim().is_empty();
    html! {
        @for run in runs.iter().filter(shown) {
            (folded(
                &format!("Configuration: {}", display_name(run)),
                &html! { pre { code { (run.config.trim()) } } },
            ))
        }
    }
}

/// All charts with their legend and a table of their numbers; empty without epochs.
fn charts(runs: &[RunRecord]) -> Markup {
    if runs.iter().all(|run| run.epochs.is_empty()) {
        return html! {};
    }
    html! {
        p {
            "One point for each epoch, one colour for each run. The ring marks the epoch of highest "
            "rsum on dev; the model of that epoch is the result of the run."
        }
        (legend("Runs", runs.iter().map(display_name)))
        div.charts.thirds { (learning(runs)) }
        h3 { "Recall on dev" }
        div.charts.halves { (recalls(runs)) }
        h3 { "Above the threshold on dev" }
        p {
            "The fraction of queries and cells above the threshold, over all pairs of images and "
            "captions. For the others no attention needs to be computed."
        }
        div.charts.thirds { (kept(runs)) }
        (folded("The numbers behind these charts", &numbers(runs)))
    }
}

fn learning(runs: &[RunRecord]) -> Markup {
    let chart = |id, title, digits, range| Chart {
        id,
        title,
        unit: Unit::Plain(digits),
        range,
        wide: false,
    };
    let with_zero = || ValueRange::DrawnAndZero;
    let loss = chart("loss", "Mean loss of a step", 2, with_zero());
    let rsum = chart("rsum", "rsum on dev", 1, ValueRange::Drawn);
    let threshold = chart("threshold", "Threshold (a cosine)", 3, with_zero());
    let mut thresholds = lines(runs, |epoch| epoch.threshold);
    let mut masking = runs.iter().map(RunRecord::masks);
    thresholds.retain(|_| masking.next().unwrap_or(false));
    html! {
        (loss.draw("", lines(runs, |epoch| epoch.loss)))
        (rsum.draw("", lines(runs, |epoch| epoch.dev.retrieval.rsum)))
        (threshold.draw("", thresholds))
    }
}

fn lines(runs: &[RunRecord], read: impl Fn(&EpochRecord) -> f64) -> Vec<Series> {
    let point = |epoch: &EpochRecord| (epoch.epoch as f64, read(epoch));
    let line = |(index, run): (usize, &RunRecord)| Series {
        name: display_name(run).to_owned(),
        class: style(index),
        points: run.epochs.iter().map(point).collect(),
        ringed: run.best_epoch().map(|best| best.epoch as f64),
        end_label: None,
    };
    runs.iter().enumerate().map(line).collect()
}

/// Reads R@1, R@5 or R@10 of a direction.
type ReadRecall = fn(&RecallPercent) -> f64;

fn recalls(runs: &[RunRecord]) -> Markup {
    let chart = |id, title, read: fn(&RetrievalReport) -> RecallPercent| {
        let chart = Chart {
            id,
            title,
            unit: Unit::Plain(1),
            range: ValueRange::Fixed(0.0..100.0),
            wide: true,
        };
        let recalls: [(&str, ReadRecall); 3] = [
            ("R@1", |recall| recall.r1),
            ("R@5", |recall| recall.r5),
            ("R@10", |recall| recall.r10),
        ];
        let mut all = Vec::new();
        for (name, read_recall) in recalls {
            let of_runs = lines(runs, |epoch| read_recall(&read(&epoch.dev.retrieval)));
            for (index, mut line) in of_runs.into_iter().enumerate() {
                line.name = format!("{name}, {}", line.name);
                // The lines of all runs lie close together, so only the first gets a label.
                line.end_label = Some(if index == 0 { name } else { "" }.to_owned());
                all.push(line);
            }
        }
        chart.draw("", all)
    };
    html! {
        (chart("recall-i2t", "Image → text, percent of images", |found| found.image_to_text))
        (chart("recall-t2i", "Text → image, percent of captions", |found| found.text_to_image))
    }
}

fn kept(runs: &[RunRecord]) -> Markup {
    let chart = |id, title, read: fn(&EpochRecord) -> f64| {
        let chart = Chart {
            id,
            title,
            unit: Unit::Fraction,
            range: ValueRange::Fixed(0.0..1.0),
            wide: false,
        };
        chart.draw("", lines(runs, read))
    };
    html! {
        (chart("kept-words", "Word queries", |epoch| epoch.dev.kept.word_queries))
        (chart("kept-regions", "Region queries", |epoch| epoch.dev.kept.region_queries))
        (chart("kept-cells", "Region-word cells", |epoch| epoch.dev.kept.cells))
    }
}

/// A table of every epoch of every run.
fn numbers(runs: &[RunRecord]) -> Markup {
    let epochs = runs
        .iter()
        .flat_map(|run| run.epochs.iter().map(move |epoch| (run, epoch)));
    let rows = epochs.map(|(run, epoch)| Row {
        name: &run.name,
        cells: epoch_cells(run, epoch),
    });
    table_of("", "run", &rows.collect::<Vec<Row>>())
}

fn epoch_cells(run: &RunRecord, epoch: &EpochRecord) -> Vec<(&'static str, String)> {
    let dev = &epoch.dev;
    vec![
        ("epoch", epoch.epoch.to_string()),
        ("steps", epoch.step.to_string()),
        ("loss", fixed(epoch.loss, 3)),
        ("threshold", threshold_text(run, epoch.threshold)),
        ("learning rate", scientific(epoch.learning_rate)),
        ("rsum", fixed(dev.retrieval.rsum, 1)),
        ("word queries", percent(dev.kept.word_queries)),
        ("region queries", percent(dev.kept.region_queries)),
        ("cells", percent(dev.kept.cells)),
        ("time", duration(epoch.seconds)),
    ]
}
