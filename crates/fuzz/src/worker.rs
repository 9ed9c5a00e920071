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
    /// Inputs of each target, by their [`Ending`].
    pub ended: Vec<[u64; ENDINGS.len()]>,
}

/// How a call can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With exit code 0.
    Accepted,
    /// As wrong input, with exit code 2.
    Refused,
    /// With exit code 1: the system failed, or the model diverged.
    Failed,
    /// Otherwise: each of them is a finding.
    Found,
}

/// Names of [`Ending`], in order.
pub const ENDINGS: [&str; 4] = ["accepted", "refused", "failed", "found"];

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
    let call = Call::of(|| input.target.call(&folder))?;
    match call.ended {
        Ok(ended) => println!("{ended:?}"),
        Err(said) => println!("panic: {said}"),
    }
    println!("{} MiB", call.memory >> 20);
    Ok(())
}

/// A call that has ended.
struct Call {
    /// How, or what the panic said that ended it.
    ended: Result<Ended, String>,
    /// The most memory that it took, in bytes.
    memory: usize,
}

impl Call {
    fn of(target: impl FnOnce() -> anyhow::Result<Ended>) -> anyhow::Result<Self> {
        ALLOCATOR.reset_peak_usage();
        let before = ALLOCATOR.current_usage();
        let outcome = panic::catch_unwind(AssertUnwindSafe(target));
        let memory = ALLOCATOR.peak_usage().saturating_sub(before);
        let ended = match (outcome, last_panic()) {
            (Ok(ended), None) => Ok(ended?),
            (Ok(_), Some(said)) => Err(format!("in another thread: {said}")),
            (Err(_), said) => Err(said.unwrap_or_default()),
        };
        Ok(Self { ended, memory })
    }
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
    let target = &TARGETS[Target::place_of(number)];
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
    let folder = prepare(&input, &work.corpus, &work.folder)?;
    std::env::set_current_dir(&folder)?;
    let call = Call::of(|| match work.planted {
        true => Ok(plant(number)),
        false => input.target.call(&folder),
    })?;
    let mut found = |kind, said| {
        recorder.found(&Finding {
            seed: work.seed,
            input: number,
            target: input.target.name.to_owned(),
            kind,
            said,
        })
    };
    if call.memory > MOST_MEMORY {
        found(Kind::Memory, format!("{} MiB", call.memory >> 20))?;
    }
    let ending = match call.ended {
        Err(said) => {
            found(Kind::Panic, said)?;
            Ending::Found
        }
        Ok(ended) => {
            let said = ended.error.unwrap_or_default();
            if !matches!(ended.code, 0 | 2) && !said.contains(DIVERGED) {
                found(Kind::Failed, said)?;
            }
            match ended.code {
                0 => Ending::Accepted,
                1 => Ending::Failed,
                2 => Ending::Refused,
                _ => Ending::Found,
            }
        }
    };
    recorder.ended(ending, call.memory as u64);
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

    /// Counts the input that runs.
    fn ended(&mut self, ending: Ending, memory: u64) {
        let progress = &mut self.progress;
        progress.ended[Target::place_of(progress.input)][ending as usize] += 1;
        if progress.memory < memory {
            (progress.memory, progress.largest) = (memory, progress.input);
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
            ended: vec![Default::default(); TARGETS.len()],
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let first = [self.input, self.memory, self.largest];
        let numbers = first.iter().chain(self.ended.as_flattened());
        numbers.flat_map(|number| number.to_le_bytes()).collect()
    }

    /// Reads what [`Recorder`] wrote; `None` before it wrote anything.
    pub fn read(path: &Path) -> Option<Self> {
        let bytes = fs::read(path).ok()?;
        let (numbers, _) = bytes.as_chunks();
        let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
        let mut progress = Self::new();
        for number in [
            &mut progress.input,
            &mut progress.memory,
            &mut progress.largest,
        ] {
            *number = numbers.next()?;
        }
        for count in progress.ended.as_flattened_mut() {
            *count = numbers.next()?;
        }
        Some(progress)
    }

    /// Adds what another process has done.
    pub fn add(&mut self, other: &Self) {
        if self.memory < other.memory {
            (self.memory, self.largest) = (other.memory, other.largest);
        }
        let counts = self.ended.as_flattened_mut().iter_mut();
        for (sum, count) in counts.zip(other.ended.as_flattened()) {
            *sum += count;
        }
    }
}
