//! Worker processes, each of which runs one job whenever it gets a request.
//!
//! Requests are lines, answers are lines of JSON; `benches/peers/scan.py` describes them. Peers are
//! workers, and so are our own jobs whose peak memory is measured, each in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use uard_attention::Precision;
use uard_linalg::matmul::Matmul;

use crate::{machine, race};

/// Seconds that a round takes at least. In training a step reuses the memory of the previous one, so the
/// job is repeated.
const SHORTEST_ROUND: f64 = 1.0;

/// A running worker.
pub struct Worker {
    process: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// The name that the worker reports.
    pub name: String,
    /// The worker's memory in KiB when it was ready, if it reports this.
    pub began_kib: Option<u64>,
    /// The number of captions that the worker matches, if it reports this.
    pub captions: Option<usize>,
}

/// One line from a worker.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Answer {
    name: Option<String>,
    seconds: Option<f64>,
    kib: Option<u64>,
    captions: Option<usize>,
    saved: Option<bool>,
    error: Option<String>,
}

impl Worker {
    /// Starts a worker and waits until it is ready.
    ///
    /// # Errors
    /// If it does not start or reports an error.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let program = command.get_program().to_owned();
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let (requests, answers) = (process.stdin.take(), process.stdout.take());
        let answers = answers.ok_or_else(|| anyhow!("no pipe from the worker"))?;
        let mut worker = Self {
            process,
            requests,
            answers: BufReader::new(answers),
            name: String::new(),
            began_kib: None,
            captions: None,
        };
        let ready = worker.answer()?;
        worker.name = ready.name.unwrap_or_default();
        worker.began_kib = ready.kib;
        worker.captions = ready.captions;
        Ok(worker)
    }

    /// Runs one round; returns its seconds.
    ///
    /// # Errors
    /// If the worker fails or has ended.
    pub fn round(&mut self) -> anyhow::Result<f64> {
        let answer = self.request("round")?;
        answer
            .seconds
            .ok_or_else(|| anyhow!("{} gave no seconds", self.name))
    }

    /// Writes the result of the last round as a numpy array.
    ///
    /// # Errors
    /// If the worker cannot write it.
    pub fn save(&mut self, path: &Path) -> anyhow::Result<()> {
        self.request(&format!("save {}", path.display())).map(drop)
    }

    /// The worker's peak memory in KiB.
    ///
    /// # Errors
    /// If the worker does not report it.
    pub fn peak_kib(&mut self) -> anyhow::Result<u64> {
        let answer = self.request("peak")?;
        answer
            .kib
            .ok_or_else(|| anyhow!("{} does not report its memory", self.name))
    }

    fn request(&mut self, request: &str) -> anyhow::Result<Answer> {
        let requests = self.requests.as_mut();
        let requests = requests.ok_or_else(|| anyhow!("{} is closed", self.name))?;
        writeln!(requests, "{request}")
            .and_then(|()| requests.flush())
            .with_context(|| format!("sending `{request}` to {}", self.name))?;
        self.answer()
    }

    fn answer(&mut self) -> anyhow::Result<Answer> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .context("reading an answer")?;
        if line.is_empty() {
            let status = self.process.wait().context("waiting for a worker")?;
            bail!("the worker ended with {status}");
        }
        let answer: Answer = serde_json::from_str(&line)
            .with_context(|| format!("parsing the answer `{}`", line.trim()))?;
        match answer.error {
            Some(error) => bail!(error),
            None => Ok(answer),
        }
    }
}

impl Drop for Worker {
    /// Closes the worker's input, at whose end it exits, and waits for it.
    fn drop(&mut self) {
        self.requests = None;
        let _status = self.process.wait();
    }
}

/// A job of a worker of our own, which is passed to it as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    /// Forward and backward of the matcher's operator on a batch of this size.
    Operator(usize, Matmul),
    /// Forward and backward of the composed form on a batch of this size.
    Composed(usize),
    /// The lists of the coco suite, for these numbers of images and captions.
    Coco(Precision, usize, usize),
}

impl Job {
    /// Starts a worker for this job.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(self) -> anyhow::Result<Worker> {
        self.start_with(&[])
    }

    /// Starts a worker whose allocator returns free memory at once, so that its peak is the memory that it
    /// needs.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_thrifty(self) -> anyhow::Result<Worker> {
        self.start_with(&[("MIMALLOC_PURGE_DELAY", "0")])
    }

    fn start_with(self, variables: &[(&str, &str)]) -> anyhow::Result<Worker> {
        let program = std::env::current_exe().context("finding uard-bench")?;
        let job = serde_json::to_string(&self).context("writing a job")?;
        let mut command = Command::new(program);
        command.args(["--worker", &job]);
        command.envs(variables.iter().copied());
        Worker::start(&mut command).with_context(|| format!("the worker `{job}`"))
    }
}

/// Serves rounds over standard input and output until the input ends.
///
/// # Errors
/// If standard input or output fails. The error of a round is sent as an answer.
pub fn serve(name: &str, mut round: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    send(&Answer {
        name: Some(name.to_owned()),
        kib: machine::resident_kib(),
        ..Answer::default()
    })?;
    for request in std::io::stdin().lines() {
        let mut answer = Answer::default();
        match request.context("reading a request")?.as_str() {
            "round" => match race::mean_of_a_round(SHORTEST_ROUND, &mut round) {
                Ok(seconds) => answer.seconds = Some(seconds),
                Err(error) => answer.error = Some(format!("{error:#}")),
            },
            "peak" => answer.kib = machine::peak_kib(),
            other => answer.error = Some(format!("unknown request: {other}")),
        }
        send(&answer)?;
    }
    Ok(())
}

fn send(answer: &Answer) -> anyhow::Result<()> {
    let line = serde_json::to_string(answer).context("writing an answer")?;
    println!("{line}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::Arguments;

    #[test]
    fn a_worker_is_told_its_job_on_the_command_line() {
        let worker = |text: &str| {
            let parsed = Arguments::try_parse_from(["uard-bench", "--worker", text]);
            parsed.map(|arguments| arguments.worker)
        };
        for job in [
            Job::Operator(128, Matmul::Bf16),
            Job::Composed(64),
            Job::Coco(Precision::Exact, 50, 70),
        ] {
            let text = serde_json::to_string(&job).unwrap();
            assert_eq!(worker(&text).unwrap(), Some(job));
        }
        assert!(worker("operator").is_err());
        assert!(worker(r#"{"Composed":"many"}"#).is_err());
    }

    #[cfg(unix)]
    fn shell(script: &str) -> anyhow::Result<Worker> {
        Worker::start(Command::new("sh").args(["-c", script]))
    }

    #[cfg(unix)]
    #[test]
    fn a_worker_answers_until_its_input_ends() {
        let script = r#"echo '{"name": "shell"}'; while read request; do
            case $request in round) echo '{"seconds": 0.25}';; *) echo '{"kib": 7}';; esac; done"#;
        let mut worker = shell(script).unwrap();
        assert_eq!(worker.name, "shell");
        assert_eq!(worker.round().unwrap(), 0.25);
        assert_eq!(worker.peak_kib().unwrap(), 7);
    }

    #[cfg(unix)]
    #[test]
    fn a_worker_that_fails_or_ends_is_an_error() {
        let error = shell(r#"echo '{"error": "no torch"}'"#).err().unwrap();
        assert_eq!(error.to_string(), "no torch");
        let error = shell("exit 3").err().unwrap();
        assert!(error.to_string().contains("ended with"), "{error}");
    }
}
