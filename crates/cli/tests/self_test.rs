//! Tests of `uard self-test`, with and without a GPU.

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use crate::uard;

use std::process::Output;

use uard::{random_array, run, succeeded};

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The names of all checks, after testing that each passed and was printed in a line.
fn checks_of(extent: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("checks.json");
    let done = run(&format!(
        "self-test --device cpu {extent} --json {}",
        json.display()
    ));
    succeeded(&done);
    let text = std::fs::read_to_string(&json).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["failed"], 0);
    let checks = record["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["passed"] == true));
    let names = checks.iter().map(|check| check["name"].as_str().unwrap());
    let names: Vec<String> = names.map(str::to_owned).collect();
    let said = String::from_utf8(done.stdout).unwrap();
    let lines = said
        .lines()
        .filter_map(|line| line.strip_prefix("passed  "));
    let said: Vec<&str> = lines
        .map(|line| line.split_once(": off by ").map_or(line, |(name, _)| name))
        .collect();
    assert_eq!(said, names);
    names
}

#[test]
fn checks_of_the_cpu_pass_and_are_printed_and_written() {
    let quick = checks_of("--quick");
    assert!(quick.len() >= 48, "{}", quick.len());
    let smallest = checks_of("--smallest");
    assert!(!smallest.is_empty() && smallest.len() < quick.len() / 4);
    assert!(smallest.iter().all(|name| quick.contains(name)));
}

/// With a GPU the checks pass; without one the error names what is missing.
#[test]
fn without_a_gpu_the_error_names_the_reason_and_auto_uses_the_cpu() {
    let done = run("self-test --device cuda --quick");
    if done.status.success() {
        return;
    }
    let said = errors(&done);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("error: --device cuda cannot be used: "),
        "{said}"
    );
    assert!(
        said.contains("NVIDIA") && said.lines().count() == 1,
        "{said}"
    );
    let done = run("self-test --device auto --quick");
    succeeded(&done);
    assert!(
        errors(&done).starts_with("device cpu: "),
        "{}",
        errors(&done)
    );
}

#[test]
fn scoring_on_a_missing_gpu_creates_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    random_array(&path("R.npy"), &[2, 3, 4], 1);
    random_array(&path("W.npy"), &[2, 2, 4], 2);
    let done = run(&format!(
        "score --kernel cuda --regions {} --words {} --threshold 0.2 --out {}",
        path("R.npy").display(),
        path("W.npy").display(),
        path("S.npy").display()
    ));
    if !done.status.success() {
        assert_eq!(done.status.code(), Some(1), "{}", errors(&done));
        assert!(
            errors(&done).contains("--kernel cuda cannot run: "),
            "{}",
            errors(&done)
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
    let done =
        run("score --kernel cuda --precision exact --regions R --words W --threshold 0 --out S");
    assert_eq!(done.status.code(), Some(2));
    assert!(
        errors(&done).contains("computes in f16"),
        "{}",
        errors(&done)
    );
}
