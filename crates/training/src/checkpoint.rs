//! A run as it is saved, so that it continues with the same bytes as if it had never stopped: a
//! checkpoint of its model with the state of its training beside it, which is the rest of
//! `state.json`, and `optimizer.safetensors`.

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
/// Nothing in it depends on clock, path, device or thread count: records of epochs are stored with
/// zero seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// Version of the files.
    pub format_version: u32,
    /// The epoch that the next step belongs to, from 1.
    pub epoch: usize,
    /// The batch of that epoch that comes next, from 0.
    pub batch: usize,
    /// Steps taken.
    pub step: usize,
    /// Seed of every draw.
    pub seed: u64,
    /// What readers of the model read, the threshold of the last step in it.
    #[serde(flatten)]
    pub model: ModelState,
    /// Every finished epoch.
    pub epochs: Vec<EpochRecord>,
    /// What the running epoch has gathered.
    pub running: Running,
    /// The best epoch so far.
    pub best: Option<Best>,
    /// Epochs since the best one.
    pub epochs_without_gain: usize,
    /// Steps in a row that look collapsed.
    pub collapsed_steps: usize,
    /// Checksums that one earlier version kept here instead of in `SHA256SUMS`; ignored.
    #[serde(default, skip_serializing)]
    pub files: IgnoredAny,
}

/// Sums over the steps of the running epoch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// Sum of the losses.
    pub loss: f64,
    /// Steps in the sum.
    pub steps: usize,
    /// Samples of relevance.
    pub hills: Hills,
}

/// The epoch of highest rsum on dev; of equals the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Steps taken at its end.
    pub step: usize,
    /// Its rsum, in percent points.
    pub rsum: f64,
}

impl TrainState {
    /// The state of a run with so many batches an epoch, at one of its checkpoints.
    ///
    /// # Errors
    /// When the state is damaged, or no such run reaches it: names the step and its place.
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
            "step {} cannot be batch {} of epoch {} after {} epochs of {batches_per_epoch} \
             batches, {} of them without a gain, {} steps collapsed",
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

/// Refuses a configuration that is not the checkpoint's.
///
/// # Errors
/// Names the first line that differs.
pub fn expect_config(checkpoint: &Checkpoint, config: &TrainConfig) -> Result<()> {
    let origin = checkpoint.path().join(STATE).display().to_string();
    let trained = TrainConfig::from_toml(&checkpoint.state().config, &origin)?;
    let Some([given, found]) = config.difference(&trained)? else {
        return Ok(());
    };
    let mend = "resume with the configuration of the run, or start a new run";
    Ok(checkpoint.expect("the setting", &found, given, mend)?)
}

/// The optimizer of a run, with the moments of one of its checkpoints.
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

/// Writes a checkpoint, points `latest` and `best`, and removes old ones.
///
/// # Errors
/// When something cannot be written; then the checkpoints before it are untouched.
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
    settle(directory, state, keep_last)?;
    Ok(path)
}

/// Brings pointers and old checkpoints into the order that the newest state demands.
///
/// # Errors
/// When a pointer cannot be written or an old checkpoint not be removed.
pub(crate) fn settle(
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
