//! The names of runs in headings and sentences.

use crate::record::RunRecord;

/// The name of a run in a heading.
pub(super) fn display_name(run: &RunRecord) -> &str {
    match run.name.as_str() {
        "learned" => "learned threshold",
        "nearest" => "learned threshold with the rule nearest",
        "zero" => "threshold fixed at zero",
        "scan" => "SCAN attention",
        "maxsim" => "MaxSim",
        other => other,
    }
}

/// The name of a run within a sentence.
pub(super) fn subject(run: &RunRecord) -> String {
    let name = display_name(run);
    match run.name.as_str() {
        "learned" | "nearest" | "zero" => format!("the {name}"),
        _ => name.to_owned(),
    }
}
