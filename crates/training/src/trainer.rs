//! Training a model, from its first batch to its best checkpoint.

mod observer;
mod omission;
mod prefetch;
mod ready;
mod samples;
mod session;
pub mod step;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use uard_data::dataset::Split;
use uard_files::DirectoryLock;
use uard_hub::Hub;

use crate::config::TrainConfig;
use crate::error::io;
use crate::{Error, Result};
use session::Session;
use uard_report::record::{EpochRecord, RunRecord, SplitRecord};

pub use observer::{Event, Observer, Silent};
pub use samples::Samples;

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
    /// The resolved configuration, as TOML.
    pub config: String,
    /// Seed of every draw.
    pub seed: u64,
    /// sha256 of the training data.
    pub data_hash: String,
    /// Images of the training split.
    pub train_images: usize,
    /// Captions of the training split.
    pub train_captions: usize,
    /// Trained numbers.
    pub parameters: usize,
    /// Steps taken.
    pub step: usize,
    /// Every finished epoch, with its seconds where the log knows them.
    pub epochs: Vec<EpochRecord>,
    /// Epoch of highest rsum on dev; 0 before the first has ended.
    pub best_epoch: usize,
    /// Its checkpoint.
    pub best: Option<PathBuf>,
    /// The newest checkpoint.
    pub latest: PathBuf,
    /// Seconds of all finished epochs.
    pub seconds: f64,
}

impl Summary {
    /// The run as an entry of `metrics.json`; `name` tells the runs of one report apart.
    pub fn record(&self, name: &str, device: &str, test: Option<SplitRecord>) -> RunRecord {
        RunRecord {
            name: name.to_owned(),
            config: self.config.clone(),
            seed: self.seed,
            device: device.to_owned(),
            data_hash: self.data_hash.clone(),
            train_images: self.train_images,
            train_captions: self.train_captions,
            parameters: self.parameters,
            epochs: self.epochs.clone(),
            best_epoch: self.best_epoch,
            test,
            seconds: self.seconds,
        }
    }
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
    expect_width(run.train, run.dev)?;
    let _lock = DirectoryLock::acquire(run.directory).map_err(io("write", run.directory))?;
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

/// Refuses a split whose features have another width than those of the training split: it could be
/// evaluated on only after the work of an epoch.
///
/// # Errors
/// Names both features and their widths.
pub fn expect_width(train: &Split, other: &Split) -> Result<()> {
    let (train, other) = (&train.regions, &other.regions);
    if train.width() == other.width() {
        return Ok(());
    }
    Err(Error::FeatureWidth {
        path: other.path().to_path_buf(),
        found: other.width(),
        expected: train.width(),
        origin: train.path().to_path_buf(),
    })
}
