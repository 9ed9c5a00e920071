//! Kills a writer: a child process performs random operations from known seeds, prints a line when
//! each has returned, and is ended by SIGKILL at a random moment.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

/// The variables that tell the child its folder and the number of its first operation.
const FOLDER: &str = "UARD_TEST_KILLED_FOLDER";
const FIRST: &str = "UARD_TEST_KILLED_FIRST";

const KILLS: usize = 50;

/// The operation of a number. It depends on the state of the index too.
fn operation(number: u64, state: &State) -> Operation {
    Operation::draw(&mut rng(number), state)
}

fn open(folder: &Path) -> Writer {
    Writer::open(folder).unwrap()
}

/// Performs one operation.
fn perform(writer: &mut Option<Writer>, folder: &Path, operation: &Operation) -> Vec<PhotoId> {
    if matches!(operation, Operation::Reopen) {
        *writer = None;
        *writer = Some(open(folder));
    }
    operation.perform(writer.as_mut().unwrap()).unwrap()
}

/// The child process. As a test of its own it does nothing.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = PathBuf::from(folder);
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let mut writer = Some(open(&folder));
    let mut out = std::io::stdout();
    writeln!(out, "\nbegins").unwrap();
    for number in first.. {
        let state = State::read(writer.as_mut().unwrap().index_mut());
        perform(&mut writer, &folder, &operation(number, &state));
        writeln!(out, "done {number}").unwrap();
        out.flush().unwrap();
    }
}

/// Runs a child for some time and kills it. Returns the number of its last operation that returned.
fn kill_a_child(folder: &Path, first: u64, wait: Duration) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "tests::killed::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    assert!(lines.any(|line| line == "begins"));
    std::thread::sleep(wait);
    child.kill().unwrap();
    child.wait().unwrap();
    // The lines that it printed before are still in the pipe.
    let returned = lines.filter_map(|line| line.strip_prefix("done ")?.parse().ok());
    returned.last()
}

#[test]
fn a_killed_writer_loses_nothing_that_had_returned() {
    let folder = folder();
    let path = folder.path();
    drop(Index::create(path, &model()).unwrap());
    // A second index gets the same operations, and its writer is not killed.
    let twin_folder = super::folder();
    let mut twin = Some(Index::create(twin_folder.path(), &model()).unwrap());
    let mut state = State::default();
    let mut expected = State::default();
    let mut next = 0;
    let mut rng = rng(0);
    for kill in 0..KILLS {
        let wait = Duration::from_micros(rng.random_range(0..20_000));
        let returned = kill_a_child(path, next, wait);
        let mut forward = |next: &mut u64| {
            let operation = operation(*next, &state);
            let ids = perform(&mut twin, twin_folder.path(), &operation);
            state.apply(&operation, &ids);
            *next += 1;
            state.clone()
        };
        while returned.is_some_and(|last| next <= last) {
            expected = forward(&mut next);
        }
        let mut index = Index::open(path).unwrap();
        assert_eq!(index.check(), [], "kill {kill}");
        let found = State::read(&mut index);
        if found != expected {
            expected = forward(&mut next);
        }
        assert!(
            found == expected,
            "kill {kill}: neither the state before the last operation nor after it"
        );
    }
    assert!(next > KILLS as u64 / 2, "only {next} operations");
}
