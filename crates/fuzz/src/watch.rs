//! Starts worker processes, ends those that hang, and restarts them after an input that killed them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::target::{TARGETS, Target};
use crate::worker::{Finding, Kind, Progress, Work};

/// Largest number of inputs of a process, so that memory leaks do not add up.
const INPUTS_OF_A_PROCESS: u64 = 1 << 14;

/// Time between two looks at a process.
const POLL: Duration = Duration::from_millis(20);

/// The options of a run of the fuzzer.
#[derive(Debug)]
pub struct Plan {
    /// The seed that inputs are drawn from.
    pub seed: u64,
    /// Number of the first input.
    pub first: u64,
    /// Largest number of inputs.
    pub inputs: u64,
    /// Time after which no input is started.
    pub time: Duration,
    /// An input that takes longer is a finding.
    pub longest: Duration,
    /// Whether to run, instead of the targets, calls with errors that the fuzzer must find.
    pub planted: bool,
    /// Number of processes that run at once.
    pub workers: usize,
    /// The folder of undamaged files.
    pub corpus: PathBuf,
    /// A folder for inputs, which are written and removed all the time; best in memory.
    pub scratch: PathBuf,
    /// The file that findings are appended to.
    pub findings: PathBuf,
}

/// The result of a run of the fuzzer.
#[derive(Debug)]
pub struct Summary {
    /// Number of inputs that ran.
    pub inputs: u64,
    /// The counts of all processes together.
    pub done: Progress,
    /// The findings, in no order.
    pub findings: Vec<Finding>,
}

/// Runs the fuzzer with these options.
pub fn run(plan: &Plan) -> anyhow::Result<Summary> {
    let end = plan.first.saturating_add(plan.inputs);
    let until = Instant::now() + plan.time;
    let next = AtomicU64::new(plan.first);
    let summary = Mutex::new(Summary {
        inputs: 0,
        done: Progress::new(),
        findings: Vec::new(),
    });
    thread::scope(|scope| -> anyhow::Result<()> {
        let workers: Vec<_> = (0..plan.workers)
            .map(|worker| {
                let (next, summary) = (&next, &summary);
                scope.spawn(move || {
                    let folder = plan.scratch.join(worker.to_string());
                    fs::create_dir_all(&folder)?;
                    let watcher = Watcher {
                        plan,
                        folder,
                        until,
                        summary,
                    };
                    let ran = watcher.batches(next, end);
                    // Findings are collected even after an error.
                    watcher.collect_findings()?;
                    ran
                })
            })
            .collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a watcher panicked"))??;
        }
        Ok(())
    })?;
    summary.into_inner().context("a watcher panicked")
}

/// Runs one worker process at a time.
struct Watcher<'a> {
    plan: &'a Plan,
    /// The folder of the watcher's processes.
    folder: PathBuf,
    until: Instant,
    summary: &'a Mutex<Summary>,
}

/// Why a process ended.
enum End {
    Ended(ExitStatus),
    /// It was killed because an input took too long.
    Hung,
    /// It was killed because the run's time is up.
    TimeIsUp,
}

impl Watcher<'_> {
    /// Runs batches of inputs until all inputs are done or the time is up.
    fn batches(&self, next: &AtomicU64, end: u64) -> anyhow::Result<()> {
        let share = self.plan.inputs.div_ceil(self.plan.workers as u64);
        let batch = share.clamp(1, INPUTS_OF_A_PROCESS);
        while Instant::now() < self.until {
            let from = next.fetch_add(batch, Ordering::Relaxed);
            if from >= end {
                break;
            }
            self.batch(from, (from + batch).min(end))?;
        }
        Ok(())
    }

    /// Runs the inputs from `from` to `to`, with a new process after each input that killed one.
    fn batch(&self, mut from: u64, to: u64) -> anyhow::Result<()> {
        let progress = self.folder.join(Progress::FILE);
        while from < to {
            let _ = fs::remove_file(&progress);
            let mut child = self.start(from, to)?;
            let end = self.watch(&mut child, &progress)?;
            let Some(done) = Progress::read(&progress) else {
                ensure!(
                    matches!(end, End::TimeIsUp),
                    "a worker ended before its first input: {}",
                    self.last_output()?
                );
                return Ok(());
            };
            let killed = match &end {
                End::TimeIsUp => false,
                End::Hung => true,
                End::Ended(status) => done.input < to || !status.success(),
            };
            let inputs = done.input - from + u64::from(killed);
            self.count(&done, inputs.min(to - from))?;
            if !killed {
                return Ok(());
            }
            self.record_death(done.input, &end)?;
            from = done.input + 1;
        }
        Ok(())
    }

    fn start(&self, from: u64, to: u64) -> anyhow::Result<Child> {
        let output = fs::File::create(self.folder.join("stderr"))?;
        let work = Work {
            seed: self.plan.seed,
            corpus: self.plan.corpus.clone(),
            folder: self.folder.clone(),
            from,
            to,
            planted: self.plan.planted,
        };
        let mut command = work.command("worker")?;
        command.stdout(Stdio::null()).stderr(output);
        command.spawn().context("starting a worker")
    }

    /// Waits for the end of a process; kills it if it hangs or the time is up.
    fn watch(&self, child: &mut Child, progress: &Path) -> io::Result<End> {
        let mut last = (None, Instant::now());
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(End::Ended(status));
            }
            let input = Progress::read(progress).map(|progress| progress.input);
            if input != last.0 {
                last = (input, Instant::now());
            }
            let end = if last.1.elapsed() > self.plan.longest {
                End::Hung
            } else if Instant::now() > self.until {
                End::TimeIsUp
            } else {
                thread::sleep(POLL);
                continue;
            };
            child.kill()?;
            child.wait()?;
            return Ok(end);
        }
    }

    fn count(&self, progress: &Progress, inputs: u64) -> anyhow::Result<()> {
        let Ok(mut summary) = self.summary.lock() else {
            anyhow::bail!("a watcher panicked");
        };
        summary.inputs += inputs;
        summary.done.add(progress);
        Ok(())
    }

    /// Appends a finding for the input that killed a process.
    fn record_death(&self, input: u64, end: &End) -> anyhow::Result<()> {
        let (kind, cause) = match end {
            End::Hung => (
                Kind::Hang,
                format!("more than {} s", self.plan.longest.as_secs()),
            ),
            End::Ended(status) => (Kind::Death, status.to_string()),
            End::TimeIsUp => return Ok(()),
        };
        let finding = Finding {
            seed: self.plan.seed,
            input,
            target: TARGETS[Target::index_of(input)].name.to_owned(),
            kind,
            said: format!("{cause}: {}", self.last_output()?),
        };
        let path = self.folder.join(Finding::FILE);
        finding.append(&mut OpenOptions::new().create(true).append(true).open(path)?)
    }

    /// The last 300 bytes of a process's standard error, which belong to the input that killed it.
    fn last_output(&self) -> anyhow::Result<String> {
        let output = fs::read(self.folder.join("stderr"))?;
        let last = &output[output.len().saturating_sub(300)..];
        Ok(String::from_utf8_lossy(last).into_owned())
    }

    /// Adds the findings of this watcher's processes to the summary and to the file of findings.
    fn collect_findings(&self) -> anyhow::Result<()> {
        let path = self.folder.join(Finding::FILE);
        let text = if path.exists() {
            fs::read_to_string(path)?
        } else {
            String::new()
        };
        let Ok(mut summary) = self.summary.lock() else {
            anyhow::bail!("a watcher panicked");
        };
        for line in text.lines() {
            summary.findings.push(serde_json::from_str(line)?);
        }
        let mut kept = OpenOptions::new();
        kept.create(true)
            .append(true)
            .open(&self.plan.findings)?
            .write_all(text.as_bytes())?;
        Ok(())
    }
}
