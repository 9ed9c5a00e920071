//! What a run is called, and which of its results may stand beside another's.

use crate::numbers::fixed;
use crate::record::{RunRecord, SplitRecord};

/// The name of a run in a sentence.
pub(super) fn display_name(run: &RunRecord) -> &str {
    match run.name.as_str() {
        "learned" => "learned threshold",
        "nearest" => "learned threshold with the nearest below it",
        "zero" => "threshold fixed at zero",
        "scan" => "SCAN weights",
        "maxsim" => "MaxSim",
        other => other,
    }
}

/// The name of a run as the subject of a sentence.
pub(super) fn subject(run: &RunRecord) -> String {
    let name = display_name(run);
    match run.name.as_str() {
        "learned" | "nearest" | "zero" => format!("the {name}"),
        _ => name.to_owned(),
    }
}

/// A threshold of a run; some rules have none.
pub(super) fn threshold_text(run: &RunRecord, threshold: f64) -> String {
    match run.masks() {
        true => fixed(threshold, 3),
        false => "none".to_owned(),
    }
}

/// Results of one split for every run that has them: only equals are compared.
pub(super) struct Results<'a> {
    /// `test`, or `dev` where a run lacks a test result.
    pub(super) split: &'a str,
    pub(super) rows: Vec<RunResult<'a>>,
}

/// A run with the result that counts.
pub(super) struct RunResult<'a> {
    /// Its place in the report.
    pub(super) place: usize,
    pub(super) run: &'a RunRecord,
    pub(super) of: &'a SplitRecord,
}

impl<'a> Results<'a> {
    /// Test results if all runs have one; otherwise each run's best epoch on dev.
    pub(super) fn of(runs: &'a [RunRecord]) -> Self {
        let tested = runs.iter().all(|run| run.test.is_some());
        let result = |(place, run): (usize, &'a RunRecord)| {
            let of = match tested {
                true => run.test.as_ref()?,
                false => &run.best_epoch()?.dev,
            };
            Some(RunResult { place, run, of })
        };
        let rows: Vec<RunResult> = runs.iter().enumerate().filter_map(result).collect();
        let split = rows.first().map_or("dev", |row| row.of.split.as_str());
        Self { split, rows }
    }

    /// The threshold of the first run, which the examples were made with.
    pub(super) fn first_threshold(&self) -> Option<f64> {
        let first = self.rows.first()?;
        Some(first.of.threshold).filter(|value| value.is_finite())
    }
}
