//! One run, from its first step to its place in the report.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use candle_core::Device;
use uard_data::dataset::Split;
use uard_data::store::features_path;
use uard_model::{Checkpoint, Model, expect_width};
use uard_relevance::EvaluationThreshold;
use uard_report::record::RunRecord;
use uard_training::evaluation::{How, SplitEvaluation, Stage, evaluate};
use uard_training::text::cut_captions;
use uard_training::trainer::{self, Run, Start, Summary};

use super::plan::Job;
use super::progress::{Progress, stage_name};
use crate::hub::hub;
use crate::terminal::{advance, bar, note};

/// What all runs of a command share.
#[derive(Debug)]
pub struct Ground {
    /// Moves the parameters.
    pub train: Split,
    /// Chooses the best epoch.
    pub dev: Split,
    /// Held out, where the data have it.
    pub test: Option<Split>,
    /// Where tensors live.
    pub device: Device,
    /// Its name.
    pub device_name: &'static str,
}

impl Ground {
    /// Opens the splits of a data directory; without files of a test split there is none.
    pub fn open(data: &Path, dev: &str, device: Device) -> anyhow::Result<Self> {
        let has_test = features_path(data, "test").is_some() && data.join("test_caps.txt").exists();
        let device_name = match device {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
            Device::Metal(_) => "metal",
        };
        let open = |split| -> anyhow::Result<Split> {
            let split = Split::open(data, split)?;
            split.warning.iter().for_each(|warning| note(warning));
            Ok(split)
        };
        let opened = Self {
            train: open("train")?,
            dev: open(dev)?,
            test: has_test.then(|| open("test")).transpose()?,
            device,
            device_name,
        };
        for judged in [Some(&opened.dev), opened.test.as_ref()]
            .into_iter()
            .flatten()
        {
            let train = &opened.train.regions;
            expect_width(judged, train.width(), train.path())?;
        }
        Ok(opened)
    }

    /// The same with pictures from another directory.
    pub fn with_images(mut self, images: Option<&Path>) -> Self {
        let Some(images) = images else { return self };
        self.dev = self.dev.with_images_dir(images.to_path_buf());
        self.test = self
            .test
            .map(|test| test.with_images_dir(images.to_path_buf()));
        self
    }

    /// What is reported on: the test split, else the one that chose the best epoch.
    pub fn judged(&self) -> &Split {
        self.test.as_ref().unwrap_or(&self.dev)
    }
}

/// A trained model with its evaluation.
#[derive(Debug)]
pub struct Judged {
    /// Its place in `metrics.json`.
    pub record: RunRecord,
    /// Its best epoch.
    pub best: Best,
}

/// The best epoch's model on the split that is reported.
#[derive(Debug)]
pub struct Best {
    /// The model.
    pub model: Model,
    /// What it reached.
    pub evaluation: SplitEvaluation,
    /// Seconds in which all images and captions were matched, once they were encoded.
    pub matching_seconds: f64,
}

/// When an evaluation was last seen encoding; what follows is matching.
struct Stopwatch(Mutex<Instant>);

impl Stopwatch {
    fn start() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn see(&self, stage: Stage) {
        if stage == Stage::Encoding {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    fn seconds(&self) -> f64 {
        let encoded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        encoded.elapsed().as_secs_f64()
    }
}

/// Trains a job to the end, shows it, and evaluates its best epoch; `None` when `stop` ended it
/// before, and it was saved.
pub fn run(
    job: &Job,
    ground: &Ground,
    start: Start,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Judged>> {
    let run = Run {
        config: &job.config,
        train: &ground.train,
        dev: &ground.dev,
        directory: &job.directory,
        device: &ground.device,
        hub: &hub(),
    };
    let outcome = trainer::train(&run, start, progress, stop);
    progress.finish();
    match outcome? {
        trainer::Outcome::Stopped(summary) => {
            note(&format!(
                "stopped at step {} of `{}` and saved in {}; the same command with --resume \
                 continues",
                summary.step,
                job.name,
                job.directory.display()
            ));
            Ok(None)
        }
        outcome => judge(job, ground, outcome.summary()).map(Some),
    }
}

fn judge(job: &Job, ground: &Ground, summary: &Summary) -> anyhow::Result<Judged> {
    let checkpoint = Checkpoint::open(summary.best.as_deref().unwrap_or(&job.directory))?;
    let best = evaluate_best(&checkpoint, ground.judged(), &ground.device, None)?;
    let test = ground.test.as_ref().map(|_| best.evaluation.record.clone());
    let record = RunRecord {
        name: job.name.clone(),
        device: ground.device_name.to_owned(),
        test,
        ..summary.record.clone()
    };
    Ok(Judged { record, best })
}

/// Evaluates a checkpoint in the precision that its configuration says, and with the threshold that
/// it says where no other is asked for.
pub fn evaluate_best(
    checkpoint: &Checkpoint,
    split: &Split,
    device: &Device,
    asked: Option<EvaluationThreshold>,
) -> anyhow::Result<Best> {
    let precision = checkpoint.config().evaluation.precision;
    let how = How::fastest(checkpoint.threshold(asked), precision, device)?;
    evaluate_as(checkpoint, split, device, &how)
}

/// Evaluates a checkpoint in a chosen way.
pub fn evaluate_as(
    checkpoint: &Checkpoint,
    split: &Split,
    device: &Device,
    how: &How,
) -> anyhow::Result<Best> {
    checkpoint.expect_width(split)?;
    let model = checkpoint.model(device)?;
    if let Some(warning) = cut_captions(split, model.text())? {
        note(&warning);
    }
    let bar = bar(split.images() + split.captions.len(), "encoding");
    let watch = Stopwatch::start();
    let on_progress = |stage, done, total| {
        watch.see(stage);
        bar.set_prefix(stage_name(stage));
        advance(&bar, done, total);
    };
    let evaluation = evaluate(&model, split, how, &on_progress).with_context(|| {
        format!(
            "evaluating {} on {}",
            checkpoint.path().display(),
            split.name
        )
    })?;
    bar.finish_and_clear();
    Ok(Best {
        model,
        evaluation,
        matching_seconds: watch.seconds(),
    })
}
