//! The last checkpoint has the same bytes for the same seed: with any number of threads, after a run was
//! killed and resumed, and after a full disk.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::uard;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use uard::{final_hash, hash_of, refused, scenes, succeeded, train};
use uard_core::random::{Draws, uniform};

/// How often the run is killed.
const KILLS: usize = 10;

/// The highest number of starts: some runs end before they are killed.
const MOST_STARTS: usize = 100;

/// The longest wait; no command of these tests takes as long.
const TIMEOUT: Duration = Duration::from_secs(120);

fn whole_run(data: &Path, more: &[&str]) -> (tempfile::TempDir, String) {
    let run = tempfile::tempdir().unwrap();
    succeeded(&train(data, run.path(), more).output().unwrap());
    let hash = final_hash(run.path());
    (run, hash)
}

fn start(mut command: Command) -> Child {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until `happened` is true or the child has ended; returns whether it became true.
fn wait_for(child: &mut Child, happened: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < TIMEOUT {
        if happened() {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::hint::spin_loop();
    }
    panic!("waited too long");
}

/// Whether a checkpoint of the run is being written, or was left unfinished.
fn has_unfinished_checkpoint(run: &Path) -> bool {
    let Ok(entries) = fs::read_dir(run.join("checkpoints")) else {
        return false;
    };
    let mut names = entries.flatten().map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().starts_with(".unfinished-step-"))
}

#[test]
fn seed_alone_decides_the_bytes_of_the_last_checkpoint() {
    let data = scenes(3);
    let (_run, once) = whole_run(data.path(), &["--threads", "1"]);
    let (_run, again) = whole_run(data.path(), &["--threads", "1"]);
    let (_run, threads) = whole_run(data.path(), &["--threads", "2"]);
    let (_run, seed) = whole_run(data.path(), &["--set", "training.seed=1"]);
    assert_eq!(once, again);
    assert_eq!(once, threads);
    assert_ne!(once, seed);
}

/// The command with `--resume` if the run has begun, and without if it was killed before that.
fn begin_or_resume(data: &Path, run: &Path) -> Command {
    let has_begun = run.join("config.toml").exists();
    let more: &[&str] = if has_begun { &["--resume"] } else { &[] };
    train(data, run, more)
}

#[test]
fn killed_at_ten_moments_and_resumed_the_bytes_are_the_same() {
    let data = scenes(3);
    let started = Instant::now();
    let (_whole, expected) = whole_run(data.path(), &[]);
    let seconds = started.elapsed().as_secs_f32();
    let mut moments = Draws::new(0).stream("moments", &[]);
    let moments = uniform(&mut moments, 0.0, seconds, MOST_STARTS);
    let mut run = tempfile::tempdir().unwrap();
    let mut kills = 0;
    for moment in moments {
        let mut child = start(begin_or_resume(data.path(), run.path()));
        sleep(Duration::from_secs_f32(moment));
        if child.try_wait().unwrap().is_some() {
            // The run ended before the kill: its bytes must be right, and a new run is started.
            assert_eq!(final_hash(run.path()), expected);
            run = tempfile::tempdir().unwrap();
            continue;
        }
        kill(child);
        kills += 1;
        if kills == KILLS {
            break;
        }
    }
    assert_eq!(kills, KILLS);
    // The last kill may have come before the run had anything to resume.
    succeeded(&begin_or_resume(data.path(), run.path()).output().unwrap());
    assert_eq!(final_hash(run.path()), expected);
}

#[test]
fn killed_while_a_checkpoint_is_written_the_bytes_are_the_same() {
    let data = scenes(3);
    let (_whole, expected) = whole_run(data.path(), &[]);
    let run = tempfile::tempdir().unwrap();
    let mut unfinished = 0;
    loop {
        let mut child = start(begin_or_resume(data.path(), run.path()));
        let caught = wait_for(&mut child, || has_unfinished_checkpoint(run.path()));
        kill(child);
        unfinished += usize::from(has_unfinished_checkpoint(run.path()));
        if unfinished >= 2 || !caught {
            break;
        }
        // A run first removes the unfinished checkpoint, and is killed again at its next checkpoint.
        let mut child = start(train(data.path(), run.path(), &["--resume"]));
        wait_for(&mut child, || !has_unfinished_checkpoint(run.path()));
        kill(child);
    }
    assert!(
        unfinished > 0,
        "no kill happened while a checkpoint was written"
    );
    succeeded(
        &train(data.path(), run.path(), &["--resume"])
            .output()
            .unwrap(),
    );
    assert_eq!(final_hash(run.path()), expected);
}

/// Sends SIGINT, as Ctrl-C does.
fn interrupt(child: &Child) {
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// Runs the command with files limited to `blocks` of 512 bytes: longer writes fail as on a full disk.
fn limited(command: &Command, blocks: usize) -> Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script])
        .arg(command.get_program())
        .args(command.get_args());
    shell.output().unwrap()
}

#[test]
fn a_full_disk_leaves_the_checkpoint_that_an_interrupt_saved() {
    let data = scenes(3);
    let long = ["--set", "training.epochs=40"];
    let run = tempfile::tempdir().unwrap();
    let mut child = start(train(data.path(), run.path(), &long));
    let latest = run.path().join("checkpoints/latest");
    assert!(wait_for(&mut child, || latest.exists()));
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let saved = fs::read_to_string(&latest).unwrap();
    let before = final_hash(run.path());

    let mut more = long.to_vec();
    more.push("--resume");
    let output = limited(&train(data.path(), run.path(), &more), 40);
    refused(
        &output,
        &[
            "cannot save the checkpoint",
            "earlier checkpoints are untouched",
        ],
    );
    assert_eq!(fs::read_to_string(&latest).unwrap(), saved);
    assert_eq!(final_hash(run.path()), before);
    assert_eq!(
        hash_of(&run.path().join("checkpoints").join(saved.trim())),
        before
    );

    let mut child = start(train(data.path(), run.path(), &more));
    assert!(wait_for(&mut child, || fs::read_to_string(&latest)
        .is_ok_and(|now| now != saved)));
    kill(child);
}
