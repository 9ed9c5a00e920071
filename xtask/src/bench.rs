//! How are benches started? The race against the peers by `uard-bench`, one concept by criterion.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;

use crate::launch::{Place, become_child, cargo, rebase, words};

/// What asks for criterion's benches; the rest goes to criterion.
const CRITERION: &str = "--criterion";

/// Compiles a C library of a peer.
const PEER_FEATURE: [&str; 2] = ["--features", "numkong"];

/// Builds and starts `uard-bench`, or criterion's benches.
pub fn run(arguments: Vec<OsString>, place: &Place) -> anyhow::Result<ExitCode> {
    let mut command = cargo(&place.root);
    match arguments.iter().position(|argument| argument == CRITERION) {
        Some(at) => command.args(criterion(arguments, at)),
        None => {
            println!("building uard-bench");
            let built = cargo(&place.root)
                .args(build())
                .status()
                .context("starting cargo")?;
            if !built.success() {
                println!("building uard-bench without the peer numkong: see the errors above");
            }
            command.args(race(arguments, place, built.success()))
        }
    };
    become_child(command)
}

fn build() -> Vec<OsString> {
    let mut command = uard_bench("build");
    command.extend(words(&PEER_FEATURE));
    command
}

fn race(mut arguments: Vec<OsString>, place: &Place, with_peer: bool) -> Vec<OsString> {
    rebase(&mut arguments, place);
    let mut command = uard_bench("run");
    if with_peer {
        command.extend(words(&PEER_FEATURE));
    }
    command.push("--".into());
    command.extend(arguments);
    command
}

fn criterion(mut arguments: Vec<OsString>, at: usize) -> Vec<OsString> {
    arguments.remove(at);
    let mut command = words(&["bench", "--locked", "--package", "uard-benches", "--"]);
    command.extend(arguments);
    command
}

fn uard_bench(task: &str) -> Vec<OsString> {
    words(&[
        task,
        "--release",
        "--locked",
        "--package",
        "uard-benches",
        "--bin",
        "uard-bench",
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside() -> Place {
        Place {
            caller: "/house/docs".into(),
            root: "/house".into(),
        }
    }

    fn texts(command: &[OsString]) -> String {
        let texts: Vec<_> = command.iter().map(|text| text.to_string_lossy()).collect();
        texts.join(" ")
    }

    #[test]
    fn the_race_is_a_locked_release_with_the_peer_where_it_builds() {
        let command = texts(&race(words(&["--suite", "train"]), &inside(), true));
        assert_eq!(
            command,
            "run --release --locked --package uard-benches --bin uard-bench --features numkong -- \
             --suite train"
        );
        assert!(!texts(&race(vec![], &inside(), false)).contains("numkong"));
        assert!(texts(&build()).starts_with("build --release --locked"));
    }

    #[test]
    fn files_are_written_where_the_caller_stands() {
        let command = texts(&race(words(&["--json", "out.json"]), &inside(), true));
        assert!(
            command.ends_with("--json /house/docs/out.json"),
            "{command}"
        );
    }

    #[test]
    fn criterion_gets_what_stands_beside_its_name() {
        let command = texts(&criterion(words(&["--criterion", "matcher", "--quick"]), 0));
        assert_eq!(
            command,
            "bench --locked --package uard-benches -- matcher --quick"
        );
    }
}
