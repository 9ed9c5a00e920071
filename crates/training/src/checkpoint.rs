//! Saves and restores the state of a training run, so that a resumed run computes the same bytes as
//! one that never stopped.
//!
//! To the model's checkpoint it adds the remaining keys of `state.json` and the optimizer's moments
//! in `optimizer.safetensors`.

use std::path::PathBuf;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use uard_model::{
    Checkpoint, CheckpointDirectory, Error as ModelError, Model, ModelState, Pointer, STATE,
};
use uard_report::record::{EpochRecord, Hills};

use crate::Result;
use crate::config::TrainConfig;
use crate::optimizer::Optimizer;

const OPTIMIZER: &str = "optimizer.safetensors";

/// The contents of `state.json`.
///
/// Nothing in it depends on clock, path, device or number of threads; `seconds` of the epochs are
/// stored as zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// Version of the format of the checkpoint's files.
    pub format_version: u32,
    /// The epoch of the next step, from 1.
    pub epoch: usize,
    /// The next batch of that epoch, from 0.
    pub batch: usize,
    /// Number of steps taken.
    pub step: usize,
    /// Seed of all random draws.
    pub seed: u64,
    /// The part that is enough to use the model, with the threshold after the last step.
    #[serde(flatten)]
    pub model: ModelState,
    /// The record of every finished epoch.
    pub epochs: Vec<EpochRecord>,
    /// Sums over the unfinished epoch.
    pub running: EpochSums,
    /// The best epoch so far.
    pub best: Option<BestEpoch>,
    /// Number of epochs since the best one.
    pub epochs_without_gain: usize,
    /// Number of steps in a row whose loss was near that of a collapsed model.
    pub collapsed_steps: usize,
    /// Checksums that an earlier version stored here instead of in `SHA256SUMS`; ignored.
    #[serde(default, skip_serializing)]
    pub files: IgnoredAny,
}

/// Sums over the steps of an unfinished epoch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochSums {
    /// Sum of the losses.
    pub loss: f64,
    /// Number of steps in the sum.
    pub steps: usize,
    /// Histograms of the relevant and the irrelevant samples.
    pub hills: Hills,
}

/// The epoch of highest rsum on dev; of equal ones the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestEpoch {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Number of steps taken at the end of the epoch.
    pub step: usize,
    /// rsum of the epoch on dev, 0 to 600.
    pub rsum: f64,
}

impl TrainState {
    /// Reads the state of a run that has `batches_per_epoch` batches an epoch.
    ///
    /// # Errors
    /// When the file is damaged, or its counts contradict each other or `batches_per_epoch`.
    pub(crate) fn read(checkpoint: &Checkpoint, batches_per_epoch: usize) -> Result<Self> {
        let path = checkpoint.path().join(STATE);
        let state: Self = serde_json::from_slice(&checkpoint.file(STATE)?)
            .map_err(|cause| ModelError::damaged(&path, &cause))?;
        let finished = state.epoch.checked_sub(1);
        let before = finished.and_then(|epochs| epochs.checked_mul(batches_per_epoch));
        let fits = state.batch <= batches_per_epoch
            && state.epochs_without_gain <= state.epochs.len()
            && state.collapsed_steps <= state.step
            && finished == Some(state.epochs.len())
            && before.is_some_and(|before| state.step <= before.saturating_add(state.batch));
        if fits {
            return Ok(state);
        }
        let cause = format!(
            "its counts contradict each other: step {}, batch {} of epoch {}, {} finished epochs of \
             {batches_per_epoch} batches, {} of them without a gain, {} collapsed steps",
            state.step,
            state.batch,
            state.epoch,
            state.epochs.len(),
            state.epochs_without_gain,
            state.collapsed_steps
        );
        Err(ModelError::damaged(&path, &cause).into())
    }
}

/// Checks that a configuration equals the checkpoint's.
///
/// # Errors
/// When they differ: names the first line that does.
pub fn expect_config(checkpoint: &Checkpoint, config: &TrainConfig) -> Result<()> {
    let origin = checkpoint.path().join(STATE).display().to_string();
    let trained = TrainConfig::from_toml(&checkpoint.state().config, &origin)?;
    let Some([given, found]) = config.difference(&trained)? else {
        return Ok(());
    };
    let mend = "resume with the configuration of the run, or start a new run";
    Ok(checkpoint.expect("the setting", &found, given, mend)?)
}

/// An optimizer with the moments of a checkpoint.
pub(crate) fn optimizer(
    checkpoint: &Checkpoint,
    config: &TrainConfig,
    model: &Model,
) -> Result<Optimizer> {
    let mut optimizer = Optimizer::new(&config.optimizer, model.parameters())?;
    let origin = checkpoint.path().join(OPTIMIZER).display().to_string();
    let moments = checkpoint.file(OPTIMIZER)?;
    optimizer.load_safetensors(model.parameters(), &moments, &origin)?;
    Ok(optimizer)
}

/// Writes a checkpoint, then updates the pointers `latest` and `best` and removes old checkpoints.
///
/// # Errors
/// When something cannot be written; then the earlier checkpoints are unchanged.
pub(crate) fn save(
    directory: &CheckpointDirectory,
    model: &Model,
    optimizer: &Optimizer,
    state: &TrainState,
    keep_last: usize,
) -> Result<PathBuf> {
    let name = CheckpointDirectory::name(state.step);
    let mut json = serde_json::to_vec_pretty(state).map_err(|error| ModelError::SaveFailed {
        path: directory.path().join(&name),
        source: error.into(),
    })?;
    json.push(b'\n');
    let mut files = model.files()?;
    files.push((OPTIMIZER, optimizer.to_safetensors()?));
    files.push((STATE, json));
    let path = directory.write(&name, &files)?;
    point_and_prune(directory, state, keep_last)?;
    Ok(path)
}

/// Points `latest` and `best` at the checkpoints that the state names, and removes all others but
/// the newest `keep_last`.
///
/// # Errors
/// When a pointer cannot be written or an old checkpoint not be removed.
pub(crate) fn point_and_prune(
    directory: &CheckpointDirectory,
    state: &TrainState,
    keep_last: usize,
) -> Result<()> {
    directory.point(Pointer::Latest, &CheckpointDirectory::name(state.step))?;
    let best = state.best.map(|best| CheckpointDirectory::name(best.step));
    if let Some(best) = &best {
        directory.point(Pointer::Best, best)?;
    }
    Ok(directory.prune(keep_last, best.as_deref())?)
}
