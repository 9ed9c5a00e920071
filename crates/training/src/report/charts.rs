//! What is drawn over epochs: loss, recall, threshold, kept fractions.

use super::line_chart::{LineChart, Series, Unit};
use super::markup::escape;
use super::numbers::{duration, fixed, percent, scientific};
use super::runs::{best_epoch, display_name, masks, style, threshold_text};
use crate::record::{EpochRecord, RunRecord};

const THIRD: (f64, f64) = (350.0, 230.0);
const HALF: (f64, f64) = (530.0, 270.0);

/// One value of an epoch.
type Reading = fn(&EpochRecord) -> f64;

/// All charts with their legend, and the numbers behind them; empty without epochs.
pub(super) fn charts(runs: &[RunRecord]) -> String {
    if runs.iter().all(|run| run.epochs.is_empty()) {
        return String::new();
    }
    format!(
        "<p>One point an epoch, one colour a run; the ring marks the epoch of highest rsum on dev, \
         whose model counts.</p>\n{}\n\
         <div class=\"charts thirds\">{}</div>\n\
         <h3>Recall on dev</h3>\n<div class=\"charts halves\">{}</div>\n\
         <h3>Work kept on dev</h3>\n<p>Of all pairs of images and captions, the share that survives \
         the threshold; the rest of the attention need not be computed.</p>\n\
         <div class=\"charts thirds\">{}</div>\n{}",
        legend(runs),
        learning(runs),
        recalls(runs),
        kept(runs),
        numbers(runs)
    )
}

/// Names every run beside its line.
pub(super) fn legend(runs: &[RunRecord]) -> String {
    let items: String = runs
        .iter()
        .enumerate()
        .map(|(place, run)| {
            format!(
                "<li><svg class=\"swatch {}\" viewBox=\"0 0 28 10\" aria-hidden=\"true\">\
                 <line class=\"line\" x1=\"1\" y1=\"5\" x2=\"27\" y2=\"5\"/>\
                 <circle class=\"dot\" cx=\"14\" cy=\"5\" r=\"2.8\"/></svg>{}</li>",
                style(place),
                escape(&display_name(run))
            )
        })
        .collect();
    format!("<ul class=\"legend\" aria-label=\"Runs\">{items}</ul>")
}

fn learning(runs: &[RunRecord]) -> String {
    let loss = LineChart {
        id: "loss",
        title: "Mean loss of a step",
        unit: Unit::Plain(2),
        range: None,
        include: Some(0.0),
        size: THIRD,
        series: lines(runs, |epoch| epoch.loss, |value| fixed(value, 2)),
    };
    let rsum = LineChart {
        id: "rsum",
        title: "rsum on dev",
        unit: Unit::Plain(1),
        range: None,
        include: None,
        size: THIRD,
        series: lines(
            runs,
            |epoch| epoch.dev.retrieval.rsum,
            |value| fixed(value, 1),
        ),
    };
    let mut series = lines(runs, |epoch| epoch.threshold, |value| fixed(value, 3));
    let mut masking = runs.iter().map(masks);
    series.retain(|_| masking.next().unwrap_or(false));
    let threshold = LineChart {
        id: "threshold",
        title: "Threshold (a cosine)",
        unit: Unit::Plain(3),
        range: None,
        include: Some(0.0),
        size: THIRD,
        series,
    };
    [loss, rsum, threshold].map(LineChart::draw).concat()
}

fn lines(runs: &[RunRecord], read: Reading, label: fn(f64) -> String) -> Vec<Series> {
    let of = |(place, run): (usize, &RunRecord)| {
        let points: Vec<(f64, f64)> = run
            .epochs
            .iter()
            .map(|epoch| (epoch.epoch as f64, read(epoch)))
            .collect();
        Series {
            name: display_name(run),
            class: style(place),
            ringed: best_epoch(run).map(|best| best.epoch as f64),
            end_label: points
                .last()
                .map(|point| label(point.1))
                .unwrap_or_default(),
            points,
        }
    };
    runs.iter().enumerate().map(of).collect()
}

fn recalls(runs: &[RunRecord]) -> String {
    let image_to_text: [Reading; 3] = [
        |epoch| epoch.dev.retrieval.image_to_text.r1,
        |epoch| epoch.dev.retrieval.image_to_text.r5,
        |epoch| epoch.dev.retrieval.image_to_text.r10,
    ];
    let text_to_image: [Reading; 3] = [
        |epoch| epoch.dev.retrieval.text_to_image.r1,
        |epoch| epoch.dev.retrieval.text_to_image.r5,
        |epoch| epoch.dev.retrieval.text_to_image.r10,
    ];
    recall_chart(
        runs,
        ("recall-i2t", "Image → text, percent of images"),
        image_to_text,
    ) + &recall_chart(
        runs,
        ("recall-t2i", "Text → image, percent of captions"),
        text_to_image,
    )
}

fn recall_chart(runs: &[RunRecord], (id, title): (&str, &str), readings: [Reading; 3]) -> String {
    let mut series = Vec::new();
    for (name, read) in ["R@1", "R@5", "R@10"].into_iter().zip(readings) {
        for (place, mut line) in lines(runs, read, |_| String::new()).into_iter().enumerate() {
            line.name = format!("{name}, {}", line.name);
            if place == 0 {
                name.clone_into(&mut line.end_label);
            }
            series.push(line);
        }
    }
    let range = Some((0.0, 100.0));
    LineChart {
        id,
        title,
        unit: Unit::Plain(1),
        range,
        include: None,
        size: HALF,
        series,
    }
    .draw()
}

fn kept(runs: &[RunRecord]) -> String {
    let charts: [(&str, &str, Reading); 3] = [
        ("kept-words", "Word queries", |epoch| {
            epoch.dev.kept.word_queries
        }),
        ("kept-regions", "Region queries", |epoch| {
            epoch.dev.kept.region_queries
        }),
        ("kept-cells", "Region-word cells", |epoch| {
            epoch.dev.kept.cells
        }),
    ];
    let draw = |(id, title, read): (&str, &str, Reading)| {
        let series = lines(runs, read, percent);
        let range = Some((0.0, 1.0));
        LineChart {
            id,
            title,
            unit: Unit::Fraction,
            range,
            include: None,
            size: THIRD,
            series,
        }
        .draw()
    };
    charts.map(draw).concat()
}

/// Every epoch of every run as a table, for those who read rather than look.
fn numbers(runs: &[RunRecord]) -> String {
    let head: String = [
        "run",
        "epoch",
        "steps",
        "loss",
        "threshold",
        "learning rate",
        "rsum",
        "word queries",
        "region queries",
        "cells",
        "time",
    ]
    .iter()
    .map(|name| format!("<th scope=\"col\">{name}</th>"))
    .collect();
    let rows: String = runs
        .iter()
        .flat_map(|run| run.epochs.iter().map(move |epoch| row(run, epoch)))
        .collect();
    format!(
        "<details><summary>The numbers behind these charts</summary>\
         <div class=\"scroll\"><table class=\"plain\"><thead><tr>{head}</tr></thead>\
         <tbody>{rows}</tbody></table></div></details>\n"
    )
}

fn row(run: &RunRecord, epoch: &EpochRecord) -> String {
    let cells = [
        epoch.epoch.to_string(),
        epoch.step.to_string(),
        fixed(epoch.loss, 3),
        threshold_text(run, epoch.threshold),
        scientific(epoch.learning_rate),
        fixed(epoch.dev.retrieval.rsum, 1),
        percent(epoch.dev.kept.word_queries),
        percent(epoch.dev.kept.region_queries),
        percent(epoch.dev.kept.cells),
        duration(epoch.seconds),
    ];
    let cells: String = cells
        .iter()
        .map(|cell| format!("<td>{cell}</td>"))
        .collect();
    format!(
        "<tr><th scope=\"row\">{}</th>{cells}</tr>\n",
        escape(&run.name)
    )
}
