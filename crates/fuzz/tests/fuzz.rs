//! Tests that a short run of the fuzzer finds nothing in `uard`, and that it finds planted errors.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::process::{Command, Output};

fn fuzz(out: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uard-fuzz"));
    command
        .arg("--out")
        .arg(out)
        .args(arguments.split_whitespace());
    command.output().unwrap()
}

#[test]
fn damaged_files_are_accepted_or_refused() {
    let out = tempfile::tempdir().unwrap();
    let output = fuzz(
        out.path(),
        "--inputs 45000 --minutes 10 --seed 18 --seconds 60",
    );
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("45000 inputs, at most"), "{text}");
}

#[test]
fn planted_errors_are_found() {
    let out = tempfile::tempdir().unwrap();
    let output = fuzz(
        out.path(),
        "--planted --inputs 100 --minutes 10 --seconds 5",
    );
    assert_eq!(output.status.code(), Some(1));
    let findings = std::fs::read_to_string(out.path().join("findings.jsonl")).unwrap();
    let mut found: Vec<(u64, String)> = findings
        .lines()
        .map(|line| {
            let finding: serde_json::Value = serde_json::from_str(line).unwrap();
            let kind = finding["kind"].as_str().unwrap().to_owned();
            (finding["input"].as_u64().unwrap(), kind)
        })
        .collect();
    found.sort();
    let expected = [
        (10, "panic"),
        (20, "death"),
        (30, "death"),
        (40, "hang"),
        (50, "memory"),
        (60, "panic"),
        (70, "death"),
        (80, "failed"),
    ];
    assert_eq!(
        found,
        expected.map(|(input, kind)| (input, kind.to_owned()))
    );
}
