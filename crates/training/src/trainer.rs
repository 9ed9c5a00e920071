//! The training loop: trains a model, evaluates it after each epoch and writes checkpoints.

mod observer;
mod omission;
mod prefetch;
mod ready;
mod session;
pub mod step;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use uard_data::dataset::Split;
use uard_files::DirectoryLock;
use uard_hub::Hub;
use uard_model::expect_width;

use crate::config::TrainConfig;
use crate::{Error, Result};
use session::Session;
use uard_report::record::RunRecord;

pub use observer::{Event, Observer};

/// The inputs of a training run and its output directory.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The whole configuration.
    pub config: &'a TrainConfig,
    /// The split that is trained on.
    pub train: &'a Split,
    /// The split that is evaluated after each epoch to choose the best one.
    pub dev: &'a Split,
    /// The run directory: receives `checkpoints/`, `log.jsonl`, `config.toml`, `vocab.json`.
    pub directory: &'a Path,
    /// The device that holds parameters and computes.
    pub device: &'a Device,
    /// Downloads published networks, if the configuration names any.
    pub hub: &'a Hub,
}

/// Where a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first step. It is an error if the directory holds checkpoints.
    Fresh,
    /// At the newest checkpoint; without one, at the first step.
    Resume,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All epochs are done, or `training.patience` epochs in a row brought no better one.
    Finished(Summary),
    /// The run had been finished before; nothing was done.
    AlreadyFinished(Summary),
    /// The stop flag was set; the step was finished and a checkpoint saved.
    Stopped(Summary),
}

impl Outcome {
    /// The summary of the run, however it ended.
    pub fn summary(&self) -> &Summary {
        match self {
            Self::Finished(summary) | Self::AlreadyFinished(summary) | Self::Stopped(summary) => {
                summary
            }
        }
    }
}

/// The results of a run so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The run as an entry of `metrics.json`, without its name, its device and a test split. The
    /// seconds of its epochs come from the log; they are zero where the log lacks them.
    pub record: RunRecord,
    /// Number of steps taken.
    pub step: usize,
    /// The checkpoint of the best epoch.
    pub best: Option<PathBuf>,
    /// The newest checkpoint.
    pub latest: PathBuf,
}

/// Trains until the run is finished or `stop` becomes true.
///
/// When `stop` is set, the current step is finished, a checkpoint is saved and the run returns
/// [`Outcome::Stopped`]. A run that was stopped or killed at any moment and is then resumed ends
/// with the same bytes as one that never stopped, for any number of threads.
///
/// # Errors
/// When the directory holds a run already ([`Start::Fresh`]), its checkpoint belongs to another
/// configuration, vocabulary, data set or format, there are too few captions for a batch, a file
/// cannot be read or written, another process trains into the directory, or a tensor is not finite.
pub fn train(
    run: &Run<'_>,
    start: Start,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome> {
    run.config.validate()?;
    let train = &run.train.regions;
    expect_width(run.dev, train.width(), train.path())?;
    let _lock = DirectoryLock::acquire(run.directory).map_err(Error::io(run.directory, "write"))?;
    let mut session = Session::open(run, start)?;
    if session.is_finished() {
        return Ok(Outcome::AlreadyFinished(session.summary()));
    }
    session.announce(observer)?;
    while !session.is_finished() {
        session.run_epoch(observer, stop)?;
        if session.was_stopped() {
            return Ok(Outcome::Stopped(session.summary()));
        }
    }
    Ok(Outcome::Finished(session.summary()))
}
