//! `uard train`: from features on disk to a report.

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
use crate::train::jobs::{self, Ground, Judged};
use crate::train::outcome::outcome;
use crate::train::photographs::extracted;
use crate::train::plan::{
    Job, NamedConfig, data_directory, has_begun, jobs as planned, read_config,
};
use crate::train::progress::{Lines, Progress};

/// Arguments of `uard train`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The run directory gets checkpoints/, log.jsonl, config.toml, vocab.json, \
    metrics.json and report.html; the runs of --compare lie in its subdirectories.\n\
    The first Ctrl-C finishes the step and saves, the second exits at once. A run that is resumed \
    ends with the same bytes as one that never stopped.\n\n\
    Examples:\n  \
    uard train --config scenes --compare zero\n  \
    uard train --config configs/flickr8k.toml --data DIR --compare zero --compare scan\n  \
    uard train --config configs/flickr8k.toml --images flickr8k\n  \
    uard train --config scenes --run runs/wide --set model.joint_width=512 --set training.seed=1\n  \
    uard train --config scenes --compare zero --resume"
)]
pub struct Arguments {
    /// A TOML file, or an embedded configuration: scenes, flickr8k, flickr8k-minilm, flickr30k, coco.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Data directory with {train,dev}_ims.npy or _store/, _caps.txt, …; scenes are drawn into
    /// data/scenes.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// With --data: pictures named by id, for the report; without it images/ of the data directory.
    /// Without --data: photographs with {train,dev}_ids.txt and _caps.txt, of which regions are
    /// extracted into data/ first, as the section `images` of the configuration says.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Run directory; without it runs/ and the name of the configuration.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Where tensors live: auto, cpu, cuda, or metal (candle's backend, unverified by this project).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Sets one value of the configuration, as in `--set training.epochs=6`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Continues the run, and those of --compare, where they stopped.
    #[arg(long)]
    resume: bool,
    /// Trains the same with another rule beside it: zero, scan, masked or maxsim.
    #[arg(long, value_name = "RULE")]
    compare: Vec<WeightRule>,
}

/// Trains, evaluates, compares, reports.
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
    let ground = Ground::open(
        &data.directory,
        &named.config.evaluation.split,
        opened.device,
    )?
    .with_images(data.pictures.as_deref());
    let report = Report {
        title: format!("UARDA on {}", named.name),
        directory: &directory,
    };
    train_all(&jobs, &ground, start, &report)
}

/// What is trained on, and where its pictures are.
struct Data {
    directory: PathBuf,
    pictures: Option<PathBuf>,
}

/// The data directory, extracted where photographs alone were given; `None` when that was stopped.
fn data(arguments: &Arguments, named: &NamedConfig) -> anyhow::Result<Option<Data>> {
    match (&arguments.data, &arguments.images) {
        (None, Some(images)) => {
            let extracted = extracted(images, &named.config.images)?;
            Ok(extracted.map(|extracted| Data {
                directory: extracted.data,
                pictures: Some(extracted.photos),
            }))
        }
        (_, Some(pictures)) if !pictures.is_dir() => Err(wrong(format!(
            "--images {}: expected a directory with the pictures of the report",
            pictures.display()
        ))),
        (given, pictures) => Ok(Some(Data {
            directory: data_directory(given.as_deref(), &named.name)?,
            pictures: pictures.clone(),
        })),
    }
}

/// Before anything is read or written: a fresh start overwrites no run, those of --compare included,
/// and there is something to resume. Runs of --compare may begin later than the first one.
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
                     directory with --run DIR, or remove it"
                )));
            }
            Start::Resume if !has_begun(&job.directory) && number == 0 => {
                return Err(wrong(format!(
                    "{directory} holds no run to resume: leave out --resume to start one there, or \
                     name the directory of the run with --run DIR"
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
    ground: &Ground,
    start: Start,
    report: &Report<'_>,
) -> anyhow::Result<Outcome> {
    let stop = interrupt::watch();
    let mut runs: Vec<RunRecord> = Vec::new();
    let mut shown = Vec::new();
    for job in jobs {
        let mut progress = Progress::new(&job.name, Lines::Result);
        let judged = jobs::run(job, ground, start, &mut progress, stop)?;
        let Some(Judged { record, best }) = judged else {
            return Ok(Outcome::Stopped);
        };
        runs.push(record);
        // After each run: what is done can be looked at while the next one trains.
        report.write(&runs, &shown)?;
        if runs.len() == 1 {
            // Of no use without the numbers, which are on disk by now.
            shown = examples(&best, ground.judged(), job.config.training.seed)?;
            report.write(&runs, &shown)?;
        }
    }
    print(&format!("\n{}", outcome(&runs)))?;
    note(&format!(
        "report: {}",
        report.directory.join("report.html").display()
    ));
    Ok(Outcome::Done)
}

/// What is written for a person beside the checkpoints.
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
