//! What a run is called.

use crate::record::RunRecord;

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
