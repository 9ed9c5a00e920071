//! `uard train`: trains a model, evaluates it, and writes a report.

use std::path::{Path, PathBuf};

use anyhow::Context;
use uard_attention::WeightRule;
use uard_core::device::{self, DeviceChoice};
use uard_model::CheckpointDirectory;
use uard_report::page::{ReportInput, render};
use uard_report::record::{CaptionExample, RunRecord};
use uard_training::trainer::Start;

use super::Outcome;
use crate::exit::wrong;
use crate::interrupt;
use crate::records::write_text;
use crate::terminal::{command_line, note, print};
use crate::train::examples::examples;
use crate::train::jobs::{self, FinishedRun, SplitsOnDevice};
use crate::train::outcome::comparison;
use crate::train::photographs::extracted;
use crate::train::plan::{
    DataDirectory, Job, NamedConfig, data_directory, has_begun, jobs as planned, read_config,
};
use crate::train::progress::{EpochLines, Progress};

/// Arguments of `uard train`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Writes checkpoints/, log.jsonl, config.toml, vocab.json, metrics.json and report.html to the \
    run directory. The runs of --compare are written to its subdirectories.\n\
    The first Ctrl-C finishes the current step and saves, the second exits at once. A run that is \
    resumed ends with the same bytes as one that never stopped.\n\n\
    Examples:\n  \
    uard train --config scenes --compare zero\n  \
    uard train --config configs/flickr8k.toml --data DIR --compare zero --compare scan\n  \
    uard train --config configs/flickr8k.toml --images flickr8k\n  \
    uard train --config scenes --run runs/wide --set model.joint_width=512 --set training.seed=1\n  \
    uard train --config scenes --compare zero --resume"
)]
pub struct Arguments {
    /// A TOML file, or the name of an embedded configuration: scenes, flickr8k, flickr8k-minilm,
    /// flickr30k, coco.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Data directory with {train,dev}_ims.npy or {train,dev}_store/, {train,dev}_caps.txt, … Without
    /// it the configuration `scenes` draws its data into data/scenes.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// With --data: the directory of the report's pictures, which are named by id. Default: images/ of
    /// the data directory. Without --data: a directory of photographs with {train,dev}_ids.txt and
    /// {train,dev}_caps.txt. Their regions are extracted into data/ first, with the encoder in the
    /// section `images` of the configuration.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Run directory. Default: runs/NAME, where NAME is the name of the configuration.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// The device of candle's tensors: auto, cpu, cuda, or metal (candle's backend, unverified by this
    /// project).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Sets one value of the configuration, as in `--set training.epochs=6`. May be given several
    /// times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Continues the run and those of --compare where they stopped.
    #[arg(long)]
    resume: bool,
    /// Trains another run with this rule, otherwise with the same configuration, and compares both:
    /// zero, scan, nearest, masked or maxsim. May be given several times.
    #[arg(long, value_name = "RULE")]
    compare: Vec<WeightRule>,
}

/// Trains and evaluates all runs, prints their comparison and writes the report.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let named = read_config(&arguments.config, &arguments.sets)?;
    let directory = match &arguments.run {
        Some(run) => run.clone(),
        None => Path::new("runs").join(&named.name),
    };
    let jobs = planned(&named.config, &directory, &arguments.compare);
    let start = if arguments.resume {
        Start::Resume
    } else {
        Start::Fresh
    };
    check_start(&jobs, start)?;
    let opened = device::open(arguments.device)?;
    note(&format!("device {}", opened.reason));
    let Some(data) = data(arguments, &named)? else {
        return Ok(Outcome::Stopped);
    };
    let splits = SplitsOnDevice::open(&data.path, &named.config.evaluation.split, opened.device)?
        .with_images(data.pictures.as_deref());
    let report = Report {
        title: format!("UARDA on {}", named.name),
        directory: &directory,
    };
    train_all(&jobs, &splits, start, &report)
}

/// Finds the data directory. If only photographs were given, extracts their features first; `None` if
/// Ctrl-C stopped the extraction.
fn data(arguments: &Arguments, named: &NamedConfig) -> anyhow::Result<Option<DataDirectory>> {
    match (&arguments.data, &arguments.images) {
        (None, Some(images)) => extracted(images, &named.config.images),
        (_, Some(pictures)) if !pictures.is_dir() => Err(wrong(format!(
            "--images {}: expected a directory that exists, with the pictures for the report",
            pictures.display()
        ))),
        (given, pictures) => Ok(Some(DataDirectory {
            path: data_directory(given.as_deref(), &named.name)?,
            pictures: pictures.clone(),
        })),
    }
}

/// Checks, before anything is read or written, that a fresh start overwrites no run, and that the first
/// run can be resumed. Runs of --compare may not have begun yet.
fn check_start(jobs: &[Job], start: Start) -> anyhow::Result<()> {
    for (number, job) in jobs.iter().enumerate() {
        let directory = job.directory.display();
        let holds_run = CheckpointDirectory::of_run(&job.directory)
            .newest()?
            .is_some();
        match start {
            Start::Fresh if holds_run => {
                return Err(wrong(format!(
                    "{directory} already holds a run: continue it with --resume, choose another \
                     directory with --run DIR, or remove this one"
                )));
            }
            Start::Resume if !has_begun(&job.directory) && number == 0 => {
                return Err(wrong(format!(
                    "{directory} holds no run to resume: leave out --resume to start a new run there, \
                     or give the directory of the run with --run DIR"
                )));
            }
            Start::Resume if !holds_run => note(&format!(
                "{directory} holds no checkpoint yet: the run starts from its first step"
            )),
            Start::Fresh | Start::Resume => {}
        }
    }
    Ok(())
}

fn train_all(
    jobs: &[Job],
    splits: &SplitsOnDevice,
    start: Start,
    report: &Report<'_>,
) -> anyhow::Result<Outcome> {
    let stop = interrupt::watch();
    let mut runs: Vec<RunRecord> = Vec::new();
    let mut shown = Vec::new();
    for job in jobs {
        let mut progress = Progress::new(&job.name, EpochLines::ToStdout);
        let finished = jobs::run(job, splits, start, &mut progress, stop)?;
        let Some(FinishedRun { record, best }) = finished else {
            return Ok(Outcome::Stopped);
        };
        runs.push(record);
        // Written after each run, so that it can be read while the next one trains.
        report.write(&runs, &shown)?;
        if runs.len() == 1 {
            // Computed after the report is written: an error here must not lose the results.
            shown = examples(&best, splits.reported(), job.config.training.seed)?;
            report.write(&runs, &shown)?;
        }
    }
    print(&format!("\n{}", comparison(&runs)))?;
    note(&format!(
        "report: {}",
        report.directory.join("report.html").display()
    ));
    Ok(Outcome::Done)
}

/// The report of all runs of the command: `metrics.json` and `report.html`.
struct Report<'a> {
    title: String,
    directory: &'a Path,
}

impl Report<'_> {
    fn write(&self, runs: &[RunRecord], examples: &[CaptionExample]) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(runs).context("writing the runs as JSON")?;
        write_text(&self.directory.join("metrics.json"), &(json + "\n"))?;
        let page = render(&ReportInput {
            title: &self.title,
            runs,
            examples,
            command: &command_line(),
        });
        write_text(&self.directory.join("report.html"), &page)
    }
}
