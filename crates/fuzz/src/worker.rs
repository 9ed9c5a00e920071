//! Runs inputs one after another in a process of its own, which its watcher restarts when it dies.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use rand::Rng;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};
use uard_cli::Ended;
use uard_core::random::Draws;

use crate::ALLOCATOR;
use crate::container::damage;
use crate::corpus;
use crate::target::{TARGETS, Target};

/// An input needs less memory than this, in bytes, beyond what was there before it.
pub const MOST_MEMORY: usize = 512 << 20;

/// A process asks the system for less address space than this: what believes a damaged size does
/// not take the machine with it.
const ADDRESS_SPACE: u64 = 6 << 30;

/// What is said of weights that are finite, and whose products are not: nobody sees that before they
/// are multiplied, so that exit code 1 is right.
const DIVERGED: &str = "is not finite; lower optimizer.learning_rate";

/// What a worker is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Work {
    /// Every input is drawn from it.
    #[arg(long)]
    pub seed: u64,
    /// The folder of undamaged files.
    #[arg(long)]
    pub corpus: PathBuf,
    /// A folder of its own.
    #[arg(long)]
    pub folder: PathBuf,
    /// The first input.
    #[arg(long)]
    pub from: u64,
    /// Behind the last input.
    #[arg(long)]
    pub to: u64,
    /// In place of targets: calls that do what the fuzzer must find.
    #[arg(long)]
    pub planted: bool,
}

impl Work {
    /// This program with a task and this work: one thread, and no network. Two processes of one
    /// thread do more than one of two, and an input depends on nothing else.
    pub fn command(&self, task: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(task)
            .args(["--seed", &self.seed.to_string()])
            .args(["--from", &self.from.to_string()])
            .args(["--to", &self.to.to_string()])
            .args(self.planted.then_some("--planted"))
            .arg("--corpus")
            .arg(&self.corpus)
            .arg("--folder")
            .arg(&self.folder)
            .env("RAYON_NUM_THREADS", "1")
            .env("HF_HUB_OFFLINE", "1")
            .stdin(Stdio::null());
        Ok(command)
    }
}

/// What a process has done, written before each input: so it is known when the process dies.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The input that runs, or behind the last.
    pub input: u64,
    /// The highest memory of an input, in bytes.
    pub memory: u64,
    /// The input that took it.
    pub largest: u64,
    /// How inputs of each target have ended.
    pub ended: Vec<Endings>,
}

/// Inputs by how their call ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Endings {
    /// With exit code 0.
    pub accepted: u64,
    /// As wrong input, with exit code 2.
    pub refused: u64,
    /// With exit code 1: the system failed, or the model diverged.
    pub failed: u64,
    /// Otherwise: each of them is a finding.
    pub found: u64,
}

/// An input that did not end as it should.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// The seed of the run.
    pub seed: u64,
    /// Which one.
    pub input: u64,
    /// Of which target.
    pub target: String,
    /// What happened.
    pub kind: Kind,
    /// What was said.
    pub said: String,
}

/// What can happen to an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It panicked.
    Panic,
    /// It ended the process: an abort, a signal, an exit.
    Death,
    /// It took longer than it may.
    Hang,
    /// It took more memory than [`MOST_MEMORY`].
    Memory,
    /// It ended with another exit code than 0 and 2 (wrong input).
    Failed,
}

/// An input, drawn.
struct Input {
    target: &'static Target,
    /// The damaged file, below the folder of the target.
    file: PathBuf,
    bytes: Vec<u8>,
}

/// The last panic that nobody caught, of any thread.
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Runs the inputs from `from` to `to`.
pub fn work(work: &Work) -> anyhow::Result<()> {
    limit_memory()?;
    remember_panics();
    let mut recorder = Recorder::open(&work.folder)?;
    for input in work.from..work.to {
        recorder.begin(input)?;
        run(input, work, &mut recorder)?;
    }
    recorder.begin(work.to)
}

/// Runs the input `from` alone, keeps its folder, and prints how it ended.
pub fn replay(work: &Work) -> anyhow::Result<()> {
    limit_memory()?;
    remember_panics();
    let input = draw(work, work.from)?;
    let folder = prepare(&input, &work.corpus, &work.folder)?;
    println!(
        "{}\ndamaged: {}",
        input.target.text().replace("{}", &folder.to_string_lossy()),
        folder
            .join(input.target.input.map_or(input.file, PathBuf::from))
            .display(),
    );
    std::env::set_current_dir(&folder)?;
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let ended = panic::catch_unwind(AssertUnwindSafe(|| input.target.call(&folder)));
    let memory = (ALLOCATOR.peak_usage().saturating_sub(before)) >> 20;
    let said = match (ended, last_panic()) {
        (Ok(ended), None) => format!("{:?}", ended?),
        (Ok(_), Some(said)) => format!("panic in another thread: {said}"),
        (Err(_), said) => format!("panic: {}", said.unwrap_or_default()),
    };
    println!("{said}\n{memory} MiB");
    Ok(())
}

/// Calls every target with each of its files as they are: they must be accepted, or refused as the
/// target says. Otherwise damage is never seen by the reader that is meant.
pub fn check_corpus(corpus: &Path) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    for target in &TARGETS {
        for file in target.files(&corpus.join(target.name))? {
            let bytes = fs::read(corpus.join(target.name).join(&file))?;
            let input = Input {
                target,
                file,
                bytes,
            };
            let folder = prepare(&input, corpus, scratch.path())?;
            std::env::set_current_dir(&folder)?;
            let ended = target.call(&folder)?;
            let as_expected = match target.refusal {
                None => ended.code == 0,
                Some(said) => ended
                    .error
                    .as_ref()
                    .is_some_and(|error| error.contains(said)),
            };
            std::env::set_current_dir(corpus)?;
            let file = input.file.display();
            anyhow::ensure!(as_expected, "{}, {file} undamaged: {ended:?}", target.name);
            if target.input.is_none() {
                // The call is the same whichever file would be damaged.
                break;
            }
        }
    }
    Ok(())
}

/// Draws an input: a target in turn, one of its files, and the damage.
fn draw(work: &Work, number: u64) -> anyhow::Result<Input> {
    let mut stream = Draws::new(work.seed).stream("input", &[number]);
    let target = Target::of_input(number);
    let folder = work.corpus.join(target.name);
    let files = target.files(&folder)?;
    let mut one = || files.choose(&mut stream).map(|file| folder.join(file));
    let (path, other) = (one().context("a file")?, one().context("a file")?);
    let bytes = fs::read(&path)?;
    let other = if stream.random() {
        fs::read(&other)?
    } else {
        bytes.clone()
    };
    let bytes = damage(&mut stream, &bytes, &other);
    let file = path.strip_prefix(&folder)?.to_owned();
    Ok(Input {
        target,
        file,
        bytes,
    })
}

/// A fresh copy of the target's folder with the damaged file in it.
fn prepare(input: &Input, corpus: &Path, scratch: &Path) -> anyhow::Result<PathBuf> {
    let folder = scratch.join("input");
    if folder.exists() {
        std::env::set_current_dir(scratch)?;
        fs::remove_dir_all(&folder)?;
    }
    corpus::copy(&corpus.join(input.target.name), &folder)?;
    let file = input.target.input.map_or(input.file.as_path(), Path::new);
    fs::write(folder.join(file), &input.bytes)?;
    Ok(folder)
}

fn run(number: u64, work: &Work, recorder: &mut Recorder) -> anyhow::Result<()> {
    let input = draw(work, number)?;
    let target = input.target;
    let folder = prepare(&input, &work.corpus, &work.folder)?;
    std::env::set_current_dir(&folder)?;
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let ended = panic::catch_unwind(AssertUnwindSafe(|| match work.planted {
        true => Ok(plant(number)),
        false => target.call(&folder),
    }));
    let memory = ALLOCATOR.peak_usage().saturating_sub(before);
    let mut found = |kind, said| {
        recorder.found(&Finding {
            seed: work.seed,
            input: number,
            target: target.name.to_owned(),
            kind,
            said,
        })
    };
    if memory > MOST_MEMORY {
        found(Kind::Memory, format!("{} MiB", memory >> 20))?;
    }
    match (ended, last_panic()) {
        (Err(_), said) => {
            found(Kind::Panic, said.unwrap_or_default())?;
            recorder.ended(target, None, memory);
        }
        (Ok(_), Some(said)) => {
            found(Kind::Panic, format!("in another thread: {said}"))?;
            recorder.ended(target, None, memory);
        }
        (Ok(ended), None) => {
            let ended = ended?;
            let said = ended.error.unwrap_or_default();
            if !matches!(ended.code, 0 | 2) && !said.contains(DIVERGED) {
                found(Kind::Failed, said)?;
            }
            recorder.ended(target, Some(ended.code), memory);
        }
    }
    Ok(())
}

/// Does, with every tenth input, one of the things that must be found; the others are accepted.
fn plant(number: u64) -> Ended {
    match number {
        10 => panic!("planted"),
        20 => std::process::abort(),
        30 => std::process::exit(0),
        40 => std::thread::sleep(Duration::from_secs(600)),
        50 => drop(vec![1_u8; MOST_MEMORY + 1]),
        60 => drop(std::thread::spawn(|| panic!("planted")).join()),
        70 => drop(vec![1_u8; ADDRESS_SPACE as usize]),
        _ => {}
    }
    let (code, error) = match number {
        80 => (1, Some("planted".to_owned())),
        _ => (0, None),
    };
    Ended { code, error }
}

fn limit_memory() -> anyhow::Result<()> {
    rlimit::setrlimit(rlimit::Resource::AS, ADDRESS_SPACE, ADDRESS_SPACE).context("limiting memory")
}

/// Keeps what a panic says instead of printing it.
fn remember_panics() {
    panic::set_hook(Box::new(|panic| {
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = Some(panic.to_string());
        }
    }));
}

fn last_panic() -> Option<String> {
    LAST_PANIC.lock().ok().and_then(|mut last| last.take())
}

/// Writes down how far a process is, and what it found.
struct Recorder {
    progress: Progress,
    file: File,
    findings: File,
}

impl Recorder {
    fn open(folder: &Path) -> anyhow::Result<Self> {
        let mut findings = OpenOptions::new();
        Ok(Self {
            progress: Progress::new(),
            file: File::create(folder.join(Progress::FILE))?,
            findings: findings
                .create(true)
                .append(true)
                .open(folder.join(Finding::FILE))?,
        })
    }

    fn begin(&mut self, input: u64) -> anyhow::Result<()> {
        self.progress.input = input;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&self.progress.to_bytes())?;
        Ok(())
    }

    /// Counts the input that runs; `None`: it panicked.
    fn ended(&mut self, target: &Target, code: Option<u8>, memory: usize) {
        let endings = &mut self.progress.ended[target.place()];
        match code {
            Some(0) => endings.accepted += 1,
            Some(1) => endings.failed += 1,
            Some(2) => endings.refused += 1,
            _ => endings.found += 1,
        }
        if self.progress.memory < memory as u64 {
            self.progress.memory = memory as u64;
            self.progress.largest = self.progress.input;
        }
    }

    fn found(&mut self, finding: &Finding) -> anyhow::Result<()> {
        finding.append(&mut self.findings)
    }
}

impl Finding {
    /// Where they are written, one a line.
    pub const FILE: &str = "findings.jsonl";

    /// Writes it as a line.
    pub fn append(&self, file: &mut File) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(file.write_all(&line)?)
    }
}

impl Progress {
    /// Where a process writes it.
    pub const FILE: &str = "progress";

    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            input: 0,
            memory: 0,
            largest: 0,
            ended: vec![Endings::default(); TARGETS.len()],
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let ended = self.ended.iter();
        let counts =
            ended.flat_map(|ended| [ended.accepted, ended.refused, ended.failed, ended.found]);
        let first = [self.input, self.memory, self.largest];
        let numbers = first.into_iter().chain(counts);
        numbers.flat_map(u64::to_le_bytes).collect()
    }

    /// Reads what [`Recorder`] wrote; `None` before it wrote anything.
    pub fn read(path: &Path) -> Option<Self> {
        let bytes = fs::read(path).ok()?;
        let (numbers, _) = bytes.as_chunks();
        let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
        let mut progress = Self::new();
        progress.input = numbers.next()?;
        progress.memory = numbers.next()?;
        progress.largest = numbers.next()?;
        for ended in &mut progress.ended {
            ended.accepted = numbers.next()?;
            ended.refused = numbers.next()?;
            ended.failed = numbers.next()?;
            ended.found = numbers.next()?;
        }
        Some(progress)
    }
}
