//! Training a model, from its first batch to its best checkpoint.

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

pub use observer::{Event, Observer, Silent};

/// What is trained, on what, and where it is kept.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Every setting.
    pub config: &'a TrainConfig,
    /// Moves the parameters.
    pub train: &'a Split,
    /// Chooses the best epoch.
    pub dev: &'a Split,
    /// Gets `checkpoints/`, `log.jsonl`, `config.toml`, `vocab.json`.
    pub directory: &'a Path,
    /// Where tensors live.
    pub device: &'a Device,
    /// Where published networks come from, if the configuration names any.
    pub hub: &'a Hub,
}

/// Where a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the beginning; a directory that holds checkpoints is refused.
    Fresh,
    /// At the newest checkpoint; without one, at the beginning.
    Resume,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All epochs are done, or no epoch was better for as long as `training.patience` says.
    Finished(Summary),
    /// The run had been finished before; nothing was done.
    AlreadyFinished(Summary),
    /// It was asked to stop, finished its step and saved.
    Stopped(Summary),
}

impl Outcome {
    /// What the run has come to, however it ended.
    pub fn summary(&self) -> &Summary {
        match self {
            Self::Finished(summary) | Self::AlreadyFinished(summary) | Self::Stopped(summary) => {
                summary
            }
        }
    }
}

/// What a run has come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The run as an entry of `metrics.json`, but for its name, its device and a test split; with
    /// the seconds of its epochs where the log knows them.
    pub record: RunRecord,
    /// Steps taken.
    pub step: usize,
    /// The checkpoint of the best epoch.
    pub best: Option<PathBuf>,
    /// The newest checkpoint.
    pub latest: PathBuf,
}

/// Trains until the run is finished or `stop` becomes true.
///
/// When `stop` is set, the step at hand is finished, saved, and the run returns
/// [`Outcome::Stopped`]. Stopped or killed at any moment, a run that is resumed ends with the same
/// bytes as one that never stopped, for any number of threads.
///
/// # Errors
/// When the run exists already ([`Start::Fresh`]), its checkpoint belongs to another
/// configuration, vocabulary, data set or format, the data hold too little, a file cannot be read
/// or written, another process trains into the directory, or a tensor is not finite.
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
