//! The worker process: runs inputs one after another. Its watcher restarts it when an input kills it.

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
use uard_cli::CallResult;
use uard_core::random::Draws;

use crate::ALLOCATOR;
use crate::container::damage;
use crate::corpus;
use crate::target::{TARGETS, Target, TargetFile};

/// Largest memory that an input may use, in bytes, beyond what was allocated before it.
pub const MOST_MEMORY: usize = 512 << 20;

/// Limit of a process's address space, so that a reader that trusts a damaged size does not exhaust
/// the memory of the machine.
const ADDRESS_SPACE: u64 = 6 << 30;

/// The error for finite weights whose products are not finite. It can be found only by multiplying,
/// so exit code 1 is right.
const DIVERGED: &str = "is not finite; lower optimizer.learning_rate";

/// The arguments of a worker.
#[derive(Debug, Clone, clap::Args)]
pub struct Work {
    /// The seed that inputs are drawn from.
    #[arg(long)]
    pub seed: u64,
    /// The folder of undamaged files.
    #[arg(long)]
    pub corpus: PathBuf,
    /// The worker's own folder.
    #[arg(long)]
    pub folder: PathBuf,
    /// The first input.
    #[arg(long)]
    pub from: u64,
    /// The input after the last one.
    #[arg(long)]
    pub to: u64,
    /// Instead of the targets, run calls with errors that the fuzzer must find.
    #[arg(long)]
    pub planted: bool,
}

impl Work {
    /// A command that starts this program with a subcommand and these arguments, with one thread
    /// and without network. Two processes with one thread each are faster than one with two, and so
    /// the result of an input depends on the input alone.
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

/// The counts of a process. They are written to a file before each input, so that they are known if
/// the process is killed.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Number of the current input; at the end, the number after the last input.
    pub input: u64,
    /// The largest memory that an input used, in bytes.
    pub memory: u64,
    /// Number of the input that used the largest memory.
    pub largest: u64,
    /// For each target, number of inputs by [`Ending`].
    pub ended: Vec<[u64; ENDINGS.len()]>,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Exit code 0.
    Accepted,
    /// Exit code 2: wrong input.
    Refused,
    /// Exit code 1: a system error, or a diverged model.
    Failed,
    /// A panic or another exit code; each is a finding.
    Found,
}

/// Names of the variants of [`Ending`], in order.
pub const ENDINGS: [&str; 4] = ["accepted", "refused", "failed", "found"];

/// An input that did not end as it should.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// The seed of the run.
    pub seed: u64,
    /// Number of the input.
    pub input: u64,
    /// Name of the input's target.
    pub target: String,
    /// What happened.
    pub kind: Kind,
    /// The message of the panic or error.
    pub said: String,
}

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The call panicked.
    Panic,
    /// The call ended the process by an abort, a signal or an exit.
    Death,
    /// The call took too long.
    Hang,
    /// The call used more memory than [`MOST_MEMORY`].
    Memory,
    /// The call ended with an exit code other than 0 and 2.
    Failed,
}

/// A target with one damaged file.
struct Input {
    target: &'static Target,
    /// The damaged file.
    file: TargetFile,
}

/// The message of the last panic of any thread.
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Runs the inputs from `from` to `to`.
pub fn work(work: &Work) -> anyhow::Result<()> {
    limit_memory()?;
    remember_panics();
    let mut recorder = Recorder::open(&work.folder)?;
    let files = read_corpus(&work.corpus)?;
    for input in work.from..work.to {
        recorder.begin(input)?;
        run(input, work, &files, &mut recorder)?;
    }
    recorder.begin(work.to)
}

/// Runs only the input `from`, keeps its folder, and prints how it ended.
pub fn replay(work: &Work) -> anyhow::Result<()> {
    limit_memory()?;
    remember_panics();
    let input = draw(work.seed, work.from, &read_corpus(&work.corpus)?)?;
    let folder = prepare(&input, &work.corpus, &work.folder)?;
    println!(
        "{}\ndamaged: {}",
        input.target.text().replace("{}", &folder.to_string_lossy()),
        folder
            .join(input.target.input.map_or(input.file.path, PathBuf::from))
            .display(),
    );
    std::env::set_current_dir(&folder)?;
    let call = Call::run(|| input.target.call(&folder))?;
    match call.ended {
        Ok(ended) => println!("{ended:?}"),
        Err(message) => println!("panic: {message}"),
    }
    println!("{} MiB", call.memory >> 20);
    Ok(())
}

/// The result of a call.
struct Call {
    /// How the call ended, or the message of a panic.
    ended: Result<CallResult, String>,
    /// The most memory that the call used, in bytes.
    memory: usize,
}

impl Call {
    fn run(target: impl FnOnce() -> anyhow::Result<CallResult>) -> anyhow::Result<Self> {
        ALLOCATOR.reset_peak_usage();
        let before = ALLOCATOR.current_usage();
        let outcome = panic::catch_unwind(AssertUnwindSafe(target));
        let memory = ALLOCATOR.peak_usage().saturating_sub(before);
        let ended = match (outcome, last_panic()) {
            (Ok(ended), None) => Ok(ended?),
            (Ok(_), Some(message)) => Err(format!("in another thread: {message}")),
            (Err(_), message) => Err(message.unwrap_or_default()),
        };
        Ok(Self { ended, memory })
    }
}

/// Calls every target with each of its undamaged files. They must be accepted, or refused with the
/// message that the target names, so that damage reaches the reader that is to be tested.
pub fn check_corpus(corpus: &Path) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    for target in &TARGETS {
        for file in target.files(&corpus.join(target.name))? {
            let input = Input { target, file };
            let folder = prepare(&input, corpus, scratch.path())?;
            std::env::set_current_dir(&folder)?;
            let ended = target.call(&folder)?;
            let as_expected = match target.refusal {
                None => ended.code == 0,
                Some(message) => ended
                    .error
                    .as_ref()
                    .is_some_and(|error| error.contains(message)),
            };
            std::env::set_current_dir(corpus)?;
            let file = input.file.path.display();
            anyhow::ensure!(as_expected, "{}, {file} undamaged: {ended:?}", target.name);
            if target.input.is_none() {
                // Without an input file, the call is the same for all files.
                break;
            }
        }
    }
    Ok(())
}

/// The files of every target that may be damaged.
fn read_corpus(corpus: &Path) -> anyhow::Result<Vec<Vec<TargetFile>>> {
    let files = TARGETS.iter();
    let files = files.map(|target| target.files(&corpus.join(target.name)));
    files.collect()
}

/// Draws an input: the targets take turns; one file of the target and its damage are random.
fn draw(seed: u64, number: u64, files: &[Vec<TargetFile>]) -> anyhow::Result<Input> {
    let mut stream = Draws::new(seed).stream("input", &[number]);
    let target = Target::index_of(number);
    let mut one = || files[target].choose(&mut stream).context("a file");
    let (file, other) = (one()?, one()?);
    let other = if stream.random() { other } else { file };
    Ok(Input {
        target: &TARGETS[target],
        file: TargetFile {
            path: file.path.clone(),
            bytes: damage(&mut stream, &file.bytes, &other.bytes),
        },
    })
}

/// Makes a new copy of the target's folder with the damaged file in it. Readers get the file alone.
fn prepare(input: &Input, corpus: &Path, scratch: &Path) -> anyhow::Result<PathBuf> {
    if input.target.is_reader() {
        let folder = scratch.join("read");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("input"), &input.file.bytes)?;
        return Ok(folder);
    }
    let folder = scratch.join("input");
    if folder.exists() {
        std::env::set_current_dir(scratch)?;
        fs::remove_dir_all(&folder)?;
    }
    corpus::copy(&corpus.join(input.target.name), &folder)?;
    let path = input.target.input.map_or(&*input.file.path, Path::new);
    fs::write(folder.join(path), &input.file.bytes)?;
    Ok(folder)
}

fn run(
    number: u64,
    work: &Work,
    files: &[Vec<TargetFile>],
    recorder: &mut Recorder,
) -> anyhow::Result<()> {
    let input = draw(work.seed, number, files)?;
    let folder = prepare(&input, &work.corpus, &work.folder)?;
    std::env::set_current_dir(&folder)?;
    let call = Call::run(|| match work.planted {
        true => Ok(run_planted(number)),
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
        Err(message) => {
            found(Kind::Panic, message)?;
            Ending::Found
        }
        Ok(ended) => {
            let message = ended.error.unwrap_or_default();
            if !matches!(ended.code, 0 | 2) && !message.contains(DIVERGED) {
                found(Kind::Failed, message)?;
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

/// Inputs 10, 20, ... 80 do one of the things that the fuzzer must find; all others succeed.
fn run_planted(number: u64) -> CallResult {
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
    CallResult { code, error }
}

fn limit_memory() -> anyhow::Result<()> {
    rlimit::setrlimit(rlimit::Resource::AS, ADDRESS_SPACE, ADDRESS_SPACE).context("limiting memory")
}

/// Stores the message of a panic instead of printing it.
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

/// Writes the progress and the findings of a process to files.
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

    /// Counts the current input.
    fn ended(&mut self, ending: Ending, memory: u64) {
        let progress = &mut self.progress;
        progress.ended[Target::index_of(progress.input)][ending as usize] += 1;
        if progress.memory < memory {
            (progress.memory, progress.largest) = (memory, progress.input);
        }
    }

    fn found(&mut self, finding: &Finding) -> anyhow::Result<()> {
        finding.append(&mut self.findings)
    }
}

impl Finding {
    /// Name of the file of findings, one JSON object a line.
    pub const FILE: &str = "findings.jsonl";

    /// Appends the finding as a line.
    pub fn append(&self, file: &mut File) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(file.write_all(&line)?)
    }
}

impl Progress {
    /// Name of the file to which a process writes its progress.
    pub const FILE: &str = "progress";

    /// A progress in which all counts are zero.
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

    /// Reads the file that [`Recorder`] writes; `None` before it is written.
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

    /// Adds the counts of another process.
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
