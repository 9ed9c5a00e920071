//! Runs one job: trains it, evaluates its best epoch, and makes its record for the report.

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
use uard_training::evaluation::{EvaluationOptions, SplitEvaluation, Stage, evaluate};
use uard_training::text::cut_captions;
use uard_training::trainer::{self, Run, Start, Summary};

use super::plan::Job;
use super::progress::{Progress, stage_name};
use crate::commands::{learn_words, open_split};
use crate::hub::hub;
use crate::terminal::{advance, bar, note};

/// The splits of a data directory and the device, which all runs of a command share.
#[derive(Debug)]
pub struct SplitsOnDevice {
    /// The split to train on.
    pub train: Split,
    /// The split that chooses the best epoch.
    pub dev: Split,
    /// The held-out split, if the data directory has one.
    pub test: Option<Split>,
    /// The device of candle's tensors.
    pub device: Device,
    /// The device's name: `cpu`, `cuda` or `metal`.
    pub device_name: &'static str,
}

impl SplitsOnDevice {
    /// Opens the splits of a data directory. `test` is `None` if there are no files of a test split.
    pub fn open(data: &Path, dev: &str, device: Device) -> anyhow::Result<Self> {
        let has_test = features_path(data, "test").is_some() && data.join("test_caps.txt").exists();
        let device_name = match device {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
            Device::Metal(_) => "metal",
        };
        let open = |split| open_split(data, split);
        let opened = Self {
            train: open("train")?,
            dev: open(dev)?,
            test: has_test.then(|| open("test")).transpose()?,
            device,
            device_name,
        };
        for split in [Some(&opened.dev), opened.test.as_ref()]
            .into_iter()
            .flatten()
        {
            let train = &opened.train.regions;
            expect_width(split, train.width(), train.path())?;
        }
        Ok(opened)
    }

    /// The same splits with the pictures of another directory.
    pub fn with_images(mut self, images: Option<&Path>) -> Self {
        let Some(images) = images else { return self };
        self.dev = self.dev.with_images_dir(images.to_path_buf());
        self.test = self
            .test
            .map(|test| test.with_images_dir(images.to_path_buf()));
        self
    }

    /// The split that results are reported on: test, or without it the one that chose the best epoch.
    pub fn reported(&self) -> &Split {
        self.test.as_ref().unwrap_or(&self.dev)
    }
}

/// A run that was trained to its end, and its evaluation.
#[derive(Debug)]
pub struct FinishedRun {
    /// The run's entry in `metrics.json`.
    pub record: RunRecord,
    /// The model of the best epoch, evaluated on the reported split.
    pub best: ModelEvaluation,
}

/// A model and its evaluation on a split.
#[derive(Debug)]
pub struct ModelEvaluation {
    /// The model.
    pub model: Model,
    /// Recall, kept cells and similarities.
    pub evaluation: SplitEvaluation,
    /// Seconds that the matching of all images with all captions took, without encoding.
    pub matching_seconds: f64,
}

/// Measures the seconds of matching: the timer restarts with every progress report of the encoding,
/// and so runs from its end.
struct MatchingTimer(Mutex<Instant>);

impl MatchingTimer {
    fn start() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn on_stage(&self, stage: Stage) {
        if stage == Stage::Encoding {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    fn seconds(&self) -> f64 {
        let encoded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        encoded.elapsed().as_secs_f64()
    }
}

/// Trains a job and evaluates its best epoch. `None` if `stop` was set before the end; the run is saved
/// then.
pub fn run(
    job: &Job,
    splits: &SplitsOnDevice,
    start: Start,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> anyhow::Result<Option<FinishedRun>> {
    let run = Run {
        config: &job.config,
        train: &splits.train,
        dev: &splits.dev,
        directory: &job.directory,
        device: &splits.device,
        hub: &hub(),
    };
    let outcome = trainer::train(&run, start, progress, stop);
    progress.finish();
    match outcome? {
        trainer::Outcome::Stopped(summary) => {
            note(&format!(
                "stopped at step {} of `{}` and saved in {}; give the same command with --resume to \
                 continue",
                summary.step,
                job.name,
                job.directory.display()
            ));
            Ok(None)
        }
        outcome => finish(job, splits, outcome.summary()).map(Some),
    }
}

/// Evaluates the best epoch of a trained job, and learns its words for searching.
fn finish(job: &Job, splits: &SplitsOnDevice, summary: &Summary) -> anyhow::Result<FinishedRun> {
    let checkpoint = Checkpoint::open(summary.best.as_deref().unwrap_or(&job.directory))?;
    let best = evaluate_as_configured(&checkpoint, splits.reported(), &splits.device, None)?;
    learn_words(&checkpoint, &best.model, &splits.train)?;
    let test = splits.test.as_ref().map(|_| best.evaluation.record.clone());
    let record = RunRecord {
        name: job.name.clone(),
        device: splits.device_name.to_owned(),
        test,
        ..summary.record.clone()
    };
    Ok(FinishedRun { record, best })
}

/// Evaluates a checkpoint in the precision of its configuration, with `threshold`, or if that is
/// `None`, with the threshold that its configuration names.
pub fn evaluate_as_configured(
    checkpoint: &Checkpoint,
    split: &Split,
    device: &Device,
    threshold: Option<EvaluationThreshold>,
) -> anyhow::Result<ModelEvaluation> {
    let precision = checkpoint.config().evaluation.precision;
    let options = EvaluationOptions::fastest(checkpoint.threshold(threshold), precision, device)?;
    evaluate_with(checkpoint, split, device, &options)
}

/// Evaluates a checkpoint with a given threshold, engine and precision.
pub fn evaluate_with(
    checkpoint: &Checkpoint,
    split: &Split,
    device: &Device,
    options: &EvaluationOptions<'_>,
) -> anyhow::Result<ModelEvaluation> {
    checkpoint.expect_width(split)?;
    let model = checkpoint.model(device)?;
    if let Some(warning) = cut_captions(split, model.text())? {
        note(&warning);
    }
    let bar = bar(split.images() + split.captions.len(), "encoding");
    let timer = MatchingTimer::start();
    let on_progress = |stage, done, total| {
        timer.on_stage(stage);
        bar.set_prefix(stage_name(stage));
        advance(&bar, done, total);
    };
    let evaluation = evaluate(&model, split, options, &on_progress).with_context(|| {
        format!(
            "evaluating {} on split {}",
            checkpoint.path().display(),
            split.name
        )
    })?;
    bar.finish_and_clear();
    Ok(ModelEvaluation {
        model,
        evaluation,
        matching_seconds: timer.seconds(),
    })
}
