//! Starts workers, watches them, and starts them again behind an input that killed them.

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

/// Inputs of a process: not so many that what it leaks adds up.
const INPUTS_OF_A_PROCESS: u64 = 4096;

const POLL: Duration = Duration::from_millis(20);

/// How long, with what, and where.
#[derive(Debug)]
pub struct Plan {
    /// Every input is drawn from it.
    pub seed: u64,
    /// The first input.
    pub first: u64,
    /// No more inputs than this.
    pub inputs: u64,
    /// No input begins after this.
    pub time: Duration,
    /// An input that takes longer is a finding.
    pub longest: Duration,
    /// Whether calls that must be found stand in place of the targets.
    pub planted: bool,
    /// Processes at once.
    pub workers: usize,
    /// The folder of undamaged files.
    pub corpus: PathBuf,
    /// Files that are written and removed all the time: best in memory.
    pub scratch: PathBuf,
    /// Where findings are kept.
    pub findings: PathBuf,
}

/// What a run of the fuzzer has come to.
#[derive(Debug)]
pub struct Summary {
    /// Inputs that ran.
    pub inputs: u64,
    /// What all processes have done.
    pub done: Progress,
    /// What went wrong, in no order.
    pub findings: Vec<Finding>,
}

/// Runs the plan.
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
                    let slot = Slot {
                        plan,
                        folder,
                        until,
                        summary,
                    };
                    let ran = slot.batches(next, end);
                    // What was found before an error is worth having.
                    slot.collect_findings()?;
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

/// One worker at a time.
struct Slot<'a> {
    plan: &'a Plan,
    folder: PathBuf,
    until: Instant,
    summary: &'a Mutex<Summary>,
}

/// How a process was seen to end.
enum End {
    Ended(ExitStatus),
    Hung,
    TimeIsUp,
}

impl Slot<'_> {
    /// Runs batches until inputs or time end.
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

    /// Runs inputs, in as many processes as it takes.
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
                    self.last_said()?
                );
                return Ok(());
            };
            let died = match &end {
                End::TimeIsUp => false,
                End::Hung => true,
                End::Ended(status) => done.input < to || !status.success(),
            };
            self.count(&done, (done.input - from + u64::from(died)).min(to - from))?;
            if !died {
                return Ok(());
            }
            self.died(done.input, &end)?;
            from = done.input + 1;
        }
        Ok(())
    }

    fn start(&self, from: u64, to: u64) -> anyhow::Result<Child> {
        let said = fs::File::create(self.folder.join("stderr"))?;
        let work = Work {
            seed: self.plan.seed,
            corpus: self.plan.corpus.clone(),
            folder: self.folder.clone(),
            from,
            to,
            planted: self.plan.planted,
        };
        let mut command = work.command("worker")?;
        command.stdout(Stdio::null()).stderr(said);
        command.spawn().context("starting a worker")
    }

    /// Waits for the end of a process, and ends it where it hangs or time is up.
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

    fn died(&self, input: u64, end: &End) -> anyhow::Result<()> {
        let (kind, how) = match end {
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
            target: TARGETS[Target::place_of(input)].name.to_owned(),
            kind,
            said: format!("{how}: {}", self.last_said()?),
        };
        let path = self.folder.join(Finding::FILE);
        finding.append(&mut OpenOptions::new().create(true).append(true).open(path)?)
    }

    /// The last of what a process said: it is of the input that died.
    fn last_said(&self) -> anyhow::Result<String> {
        let said = fs::read(self.folder.join("stderr"))?;
        let last = &said[said.len().saturating_sub(300)..];
        Ok(String::from_utf8_lossy(last).into_owned())
    }

    /// Adds what the processes of this slot found to the summary and to the kept findings.
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
