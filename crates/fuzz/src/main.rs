//! A fuzzer of `uard`: calls it with damaged files, drawn by a seed, and reports every input that
//! panics, ends its process, takes more than 10 s or more than 512 MiB, or ends with an exit code
//! other than 0 and 2.
//!
//! `cargo xtask fuzz --minutes 30` starts it; docs/reliability.md lists what it found.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command that a person reads"
)]

mod container;
mod corpus;
mod mutate;
mod target;
mod watch;
mod worker;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use peak_alloc::PeakAlloc;
use uard_files::DirectoryLock;

use target::TARGETS;
use watch::{Plan, Summary};
use worker::{ENDINGS, Kind, Work};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

#[derive(Parser)]
#[command(
    name = "uard-fuzz",
    about = "Calls uard with damaged files and reports crashes, hangs and excessive memory",
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Task>,
    #[command(flatten)]
    fuzz: Fuzz,
}

#[derive(Subcommand)]
enum Task {
    /// Run inputs in this process; the fuzzer starts processes with this command.
    #[command(hide = true)]
    Worker(Work),
    /// Run one input in this process, and print how it ended.
    #[command(hide = true)]
    Single(Work),
    /// Write the undamaged files into a folder.
    Corpus {
        /// The folder, which is emptied first.
        folder: PathBuf,
    },
}

#[derive(Args)]
struct Fuzz {
    /// Minutes to run.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Largest number of inputs.
    #[arg(long, default_value_t = u64::MAX)]
    inputs: u64,
    /// The seed; every input is drawn from it and from the input's number.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of the first input.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Number of processes that run at once; one for each processor without it.
    #[arg(long)]
    workers: Option<usize>,
    /// Run only this input, print how it ended, and keep its files.
    #[arg(long, value_name = "INPUT")]
    replay: Option<u64>,
    /// An input that takes more seconds than this is a finding.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Test the fuzzer: instead of the targets, run calls with errors that it must find.
    #[arg(long, hide = true)]
    planted: bool,
    /// Folder for corpus and findings.
    #[arg(long, default_value = "target/fuzz")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match (arguments.command, arguments.fuzz.replay) {
        (Some(Task::Worker(work)), _) => worker::work(&work).map(|()| true),
        (Some(Task::Single(work)), _) => worker::replay(&work).map(|()| true),
        (Some(Task::Corpus { folder }), _) => write_corpus(&folder).map(|()| true),
        (None, Some(input)) => replay(&arguments.fuzz, input).map(|()| true),
        (None, None) => fuzz(&arguments.fuzz),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs the fuzzer; returns whether it found nothing.
fn fuzz(fuzz: &Fuzz) -> anyhow::Result<bool> {
    let _lock = locked(&fuzz.out)?;
    let corpus = written_corpus(&fuzz.out)?;
    let scratch = scratch()?;
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan {
        seed: fuzz.seed,
        first: fuzz.first,
        inputs: fuzz.inputs,
        time: Duration::from_secs_f64(fuzz.minutes * 60.0),
        longest: Duration::from_secs(fuzz.seconds),
        planted: fuzz.planted,
        workers: fuzz.workers.unwrap_or(at_once),
        corpus,
        scratch: scratch.path().to_owned(),
        findings: fuzz.out.join(worker::Finding::FILE),
    };
    let summary = watch::run(&plan)?;
    print(&summary);
    Ok(summary.findings.is_empty())
}

/// Locks a folder, so that only one fuzzer writes into it.
fn locked(out: &Path) -> anyhow::Result<DirectoryLock> {
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    DirectoryLock::acquire(out).with_context(|| format!("cannot write to {}", out.display()))
}

/// Runs one input as the fuzzer does, and keeps its files.
fn replay(fuzz: &Fuzz, input: u64) -> anyhow::Result<()> {
    let out = fuzz.out.join("replay");
    let _lock = locked(&out)?;
    let work = Work {
        seed: fuzz.seed,
        corpus: written_corpus(&out)?,
        folder: out.canonicalize()?,
        from: input,
        to: input + 1,
        planted: fuzz.planted,
    };
    let ended = work.command("single")?.status()?;
    if !ended.success() {
        println!("the process ended with {ended}");
    }
    Ok(())
}

/// Writes the corpus of this build. It runs in a process of its own, so that the output of the
/// commands that write some of the files is hidden.
fn written_corpus(out: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let corpus = out.canonicalize()?.join("corpus");
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("corpus")
        .arg(&corpus)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let written = command
        .output()
        .context("starting the writer of the corpus")?;
    let message = String::from_utf8_lossy(&written.stderr);
    let message = message.lines().last().unwrap_or_default();
    anyhow::ensure!(written.status.success(), "writing the corpus: {message}");
    Ok(corpus)
}

fn write_corpus(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    corpus::write(folder)?;
    worker::check_corpus(folder)
}

/// A temporary folder for inputs, in memory if the system has the file system /dev/shm.
fn scratch() -> std::io::Result<tempfile::TempDir> {
    match Path::new("/dev/shm") {
        memory if memory.is_dir() => tempfile::tempdir_in(memory),
        _ => tempfile::tempdir(),
    }
}

fn print(summary: &Summary) {
    let row = |name: &str, cells: [String; ENDINGS.len()]| {
        let cells = cells.map(|cell| format!(" {cell:>9}")).concat();
        println!("{name:<18}{cells}");
    };
    row("target", ENDINGS.map(str::to_owned));
    for (target, ended) in TARGETS.iter().zip(&summary.done.ended) {
        row(target.name, ended.map(|count| count.to_string()));
    }
    println!(
        "{} inputs, at most {} MiB of memory for one, input {}",
        summary.inputs,
        summary.done.memory >> 20,
        summary.done.largest
    );
    let mut kinds: BTreeMap<(Kind, &str), Vec<&worker::Finding>> = BTreeMap::new();
    for finding in &summary.findings {
        kinds
            .entry((finding.kind, &finding.target))
            .or_default()
            .push(finding);
    }
    for ((kind, target), findings) in kinds {
        println!("{kind:?} {target}: {} times, for example", findings.len());
        for finding in findings.iter().take(3) {
            println!(
                "  seed {}, input {}: {}",
                finding.seed, finding.input, finding.said
            );
        }
    }
    if summary.findings.is_empty() {
        println!("nothing found");
    }
}
