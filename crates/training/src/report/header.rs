//! What was trained on what, by which command?

use super::ReportInput;
use super::markup::escape;
use super::numbers::{counted, duration, grouped};
use super::runs::{Results, display_name};
use super::verdict::outcome;
use crate::record::RunRecord;

/// The head of the page: title, outcome, circumstances, command.
pub(super) fn header(input: &ReportInput, results: &Results) -> String {
    let entries: String = facts(input.runs)
        .into_iter()
        .filter(|fact| !fact.1.is_empty())
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>\n"))
        .collect();
    let command = if input.command.is_empty() {
        String::new()
    } else {
        format!(
            "<pre class=\"command\" aria-label=\"Command\"><code>{}</code></pre>\n",
            escape(input.command)
        )
    };
    format!(
        "<header>\n<p class=\"kicker\">Image-text matching · training report</p>\n<h1>{}</h1>\n\
         <p class=\"outcome\">{}</p>\n<dl class=\"facts\">\n{entries}</dl>\n{command}</header>\n",
        escape(input.title),
        outcome(results)
    )
}

fn facts(runs: &[RunRecord]) -> Vec<(&'static str, String)> {
    let trained = |run: &RunRecord| {
        format!(
            "{}, {}",
            counted(run.train_images, "image"),
            counted(run.train_captions, "caption")
        )
    };
    let epochs = |run: &RunRecord| counted(run.epochs.len(), "epoch");
    let seconds: f64 = runs.iter().map(|run| run.seconds).sum();
    let time = match runs.len() {
        0 => String::new(),
        1 => duration(seconds),
        count => format!("{} for {}", duration(seconds), counted(count, "run")),
    };
    vec![
        ("Trained on", distinct(runs, trained)),
        ("For", distinct(runs, epochs)),
        ("Parameters", distinct(runs, |run| grouped(run.parameters))),
        ("Seed", distinct(runs, |run| run.seed.to_string())),
        ("Device", distinct(runs, |run| run.device.clone())),
        ("Time", time),
        ("Data, sha256", distinct(runs, |run| run.data_hash.clone())),
    ]
}

/// What the runs agree on, once; otherwise each value.
fn distinct(runs: &[RunRecord], read: impl Fn(&RunRecord) -> String) -> String {
    let mut values: Vec<String> = Vec::new();
    for value in runs.iter().map(read) {
        if !value.is_empty() && !values.contains(&value) {
            values.push(value);
        }
    }
    escape(&values.join("; "))
}

/// Resolved configurations, folded away.
pub(super) fn configurations(runs: &[RunRecord]) -> String {
    let shown = runs.iter().filter(|run| !run.config.trim().is_empty()).map(|run| {
        format!(
            "<details><summary>Configuration: {}</summary><pre><code>{}</code></pre></details>\n",
            escape(&display_name(run)),
            escape(run.config.trim())
        )
    });
    shown.collect()
}
