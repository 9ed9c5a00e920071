//! What is a run called, and which of its results may stand beside another's?

use super::numbers::fixed;
use crate::record::{EpochRecord, RunRecord, SplitRecord};

/// How many line styles `page.css` knows.
const STYLES: usize = 8;

/// The name of a run in a sentence; not yet escaped.
pub(super) fn display_name(run: &RunRecord) -> String {
    match run.name.as_str() {
        "learned" => "learned threshold".to_owned(),
        "nearest" => "learned threshold with the nearest below it".to_owned(),
        "zero" => "threshold fixed at zero".to_owned(),
        "scan" => "SCAN weights".to_owned(),
        "maxsim" => "MaxSim".to_owned(),
        other => other.to_owned(),
    }
}

/// The name of a run as the subject of a sentence; not yet escaped.
pub(super) fn subject(run: &RunRecord) -> String {
    match run.name.as_str() {
        "learned" | "nearest" | "zero" => format!("the {}", display_name(run)),
        _ => display_name(run),
    }
}

/// The class that colours the run at this place of the report.
pub(super) fn style(place: usize) -> String {
    format!("run-{}", place % STYLES)
}

/// Whether the attention of a run masks by the threshold at all: SCAN and MaxSim do not.
pub(super) fn masks(run: &RunRecord) -> bool {
    let rule = toml::from_str::<toml::Table>(&run.config)
        .ok()
        .and_then(|table| rule_in(&table));
    !matches!(
        rule.as_deref().unwrap_or(&run.name),
        "scan" | "maxsim" | "max_sim"
    )
}

fn rule_in(table: &toml::Table) -> Option<String> {
    if let Some(rule) = table.get("rule").and_then(toml::Value::as_str) {
        return Some(rule.to_owned());
    }
    table
        .values()
        .filter_map(toml::Value::as_table)
        .find_map(rule_in)
}

/// The threshold of a record, or a dash for a rule without one.
pub(super) fn threshold_text(run: &RunRecord, threshold: f64) -> String {
    if masks(run) {
        fixed(threshold, 3)
    } else {
        "none".to_owned()
    }
}

/// The epoch whose model counts; the last one where the best is not recorded.
pub(super) fn best_epoch(run: &RunRecord) -> Option<&EpochRecord> {
    run.epochs
        .iter()
        .find(|epoch| epoch.epoch == run.best_epoch)
        .or(run.epochs.last())
}

/// Results of one split for every run that has them: only equals are compared.
pub(super) struct Results<'a> {
    /// `test`, or `dev` where a run lacks a test result.
    pub(super) split: &'a str,
    /// Place in the report, run, and its result.
    pub(super) rows: Vec<(usize, &'a RunRecord, &'a SplitRecord)>,
}

impl<'a> Results<'a> {
    /// Test results if all runs have one; otherwise each run's best epoch on dev.
    pub(super) fn of(runs: &'a [RunRecord]) -> Self {
        let tested = !runs.is_empty() && runs.iter().all(|run| run.test.is_some());
        let rows: Vec<_> = runs
            .iter()
            .enumerate()
            .filter_map(|(place, run)| {
                let dev = best_epoch(run).map(|epoch| &epoch.dev);
                let chosen = if tested { run.test.as_ref() } else { dev };
                Some((place, run, chosen?))
            })
            .collect();
        let split = rows
            .first()
            .map_or("dev", |(_, _, record)| record.split.as_str());
        Self { split, rows }
    }

    /// The threshold of the first run, which the examples were made with.
    pub(super) fn first_threshold(&self) -> Option<f64> {
        self.rows
            .first()
            .map(|(_, _, record)| record.threshold)
            .filter(|value| value.is_finite())
    }
}
