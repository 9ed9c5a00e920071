//! A run as it is saved, so that it continues with the same bytes as if it had never stopped.
//!
//! A checkpoint is a directory `step-XXXXXXXX` of `model.safetensors`, `optimizer.safetensors`,
//! `state.json`, what captions are read with (`vocab.json`, or `bert.json` or `tower.json` and
//! `tokenizer.json`), and
//! `SHA256SUMS` of all of them.
//! The text files `latest` and `best` beside it name one of them.

mod directory;
mod state;
mod sums;

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use uard_data::dataset::Split;
use uard_features::text::TextModel;
use uard_relevance::EvaluationThreshold;

use crate::config::TrainConfig;
use crate::error::io;
use crate::model::Model;
use crate::optimizer::Optimizer;
use crate::text::sizes;
use crate::{Error, Result};

pub use directory::{CheckpointDirectory, Pointer};
pub use state::{Best, FORMAT_VERSION, FeatureShape, Running, TrainState};
use sums::{SUMS, Sums};

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// A checkpoint on disk whose state has been read and whose format is the one of this version.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    state: TrainState,
    sums: Sums,
}

impl Checkpoint {
    /// Opens a checkpoint directory, the checkpoint that a pointer file (`latest`, `best`) names, or
    /// the best (else the newest) checkpoint of a run directory.
    ///
    /// # Errors
    /// When there is none, a pointer names one that is not there, it was written in another format,
    /// or its state is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        if path.join(STATE).is_file() {
            return Self::read(path);
        }
        let found = if path.is_file() {
            directory::named_by(path)?
        } else {
            let run = CheckpointDirectory::of_run(path);
            match run.pointed(Pointer::Best)? {
                Some(best) => Some(best),
                None => run.newest()?,
            }
        };
        match found {
            Some(path) => Self::read(&path),
            None => Err(Error::NoCheckpoint {
                path: path.to_path_buf(),
            }),
        }
    }

    /// The newest checkpoint of a run: where it continues.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn newest(run: &Path) -> Result<Self> {
        match CheckpointDirectory::of_run(run).newest()? {
            Some(path) => Self::read(&path),
            None => Err(Error::NoCheckpoint {
                path: run.to_path_buf(),
            }),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was remembered beside weights and moments.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// The configuration it was trained with.
    ///
    /// # Errors
    /// When a setting is unknown to this version.
    pub fn config(&self) -> Result<TrainConfig> {
        let path = self.path.join(STATE);
        let config = TrainConfig::from_toml(&self.state.config, &path.display().to_string());
        config.map_err(|error| match error {
            Error::Setting { .. } => Error::DamagedCheckpoint {
                cause: error.to_string(),
                path,
            },
            other => other,
        })
    }

    /// What it reads captions with: of a published model all but the weights, so that the folder it
    /// came from is needed no more.
    ///
    /// # Errors
    /// When a file is damaged or not the one that the state belongs to.
    pub fn text(&self) -> Result<TextModel> {
        let names = TextModel::file_names();
        self.sums.check_files(&self.path, &names)?;
        let text = TextModel::read(&self.path, self.config()?.text.longest)?;
        let mend = "use the data set it was trained with, or train a model on this one";
        let hash = &self.state.vocabulary_hash;
        self.expect("the vocabulary", hash, text.hash()?, mend)?;
        Ok(text)
    }

    /// The trained model, on a device.
    ///
    /// # Errors
    /// When a file is damaged or the weights do not fit the configuration.
    pub fn model(&self, device: &Device) -> Result<Model> {
        let config = self.config()?;
        let text = self.text()?;
        self.expect_numbers(&config, &text)?;
        let model = Model::new(&config, self.state.features.width, &text, device)?;
        self.load_weights(&model)?;
        Ok(model)
    }

    /// The threshold that is asked for, else the one that its configuration evaluates with.
    ///
    /// # Errors
    /// When a setting is unknown to this version.
    pub fn evaluation_threshold(&self, asked: Option<EvaluationThreshold>) -> Result<f64> {
        match asked {
            Some(asked) => Ok(asked.resolve(&self.state.threshold)),
            None => Ok(evaluation_threshold(&self.config()?, &self.state)),
        }
    }

    /// Refuses training data that are not the checkpoint's.
    ///
    /// # Errors
    /// Names both.
    pub fn expect_data(&self, data_hash: &str) -> Result<()> {
        let mend = "give the data directory that the run started with, or start a new run";
        self.expect(
            "the training data",
            &self.state.data_hash,
            data_hash.to_owned(),
            mend,
        )
    }

    /// Refuses a split whose features have another width than those it was trained on.
    ///
    /// # Errors
    /// Names the features and both widths.
    pub fn expect_width(&self, split: &Split) -> Result<()> {
        let found = split.regions.width();
        if found == self.state.features.width {
            return Ok(());
        }
        Err(Error::FeatureWidth {
            path: split.regions.path().to_path_buf(),
            found,
            expected: self.state.features.width,
            origin: self.path.clone(),
        })
    }

    /// Refuses a configuration that is not the checkpoint's.
    ///
    /// # Errors
    /// Names the first line that differs.
    pub fn expect_config(&self, config: &TrainConfig) -> Result<()> {
        let Some([expected, found]) = config.difference(&self.config()?)? else {
            return Ok(());
        };
        Err(Error::Mismatch {
            path: self.path.clone(),
            what: "the setting",
            expected,
            found,
            mend: "resume with the configuration of the run, or start a new run",
        })
    }

    /// Refuses a state that no run with so many batches an epoch reaches.
    ///
    /// # Errors
    /// Names the step and its place.
    pub(crate) fn expect_position(&self, batches_per_epoch: usize) -> Result<()> {
        let state = &self.state;
        let finished = state.epoch.checked_sub(1);
        let before = finished.and_then(|epochs| epochs.checked_mul(batches_per_epoch));
        let fits = state.batch <= batches_per_epoch
            && state.epochs_without_gain <= state.epochs.len()
            && state.collapsed_steps <= state.step
            && finished == Some(state.epochs.len())
            && before.is_some_and(|before| state.step <= before.saturating_add(state.batch));
        if fits {
            return Ok(());
        }
        Err(Error::DamagedCheckpoint {
            path: self.path.join(STATE),
            cause: format!(
                "step {} cannot be batch {} of epoch {} after {} epochs of {batches_per_epoch} \
                 batches, {} of them without a gain, {} steps collapsed",
                state.step,
                state.batch,
                state.epoch,
                state.epochs.len(),
                state.epochs_without_gain,
                state.collapsed_steps
            ),
        })
    }

    /// Refuses a state that asks for a larger model than its weights are, before one is made.
    fn expect_numbers(&self, config: &TrainConfig, text: &TextModel) -> Result<()> {
        let path = self.path.join(MODEL);
        let bytes = fs::metadata(&path).map_err(io("read", &path))?.len();
        let image =
            (self.state.features.width as u64).saturating_mul(config.model.joint_width as u64);
        let needed = text
            .least_numbers(sizes(config))
            .saturating_add(image)
            .saturating_mul(size_of::<f32>() as u64);
        if needed <= bytes {
            return Ok(());
        }
        Err(Error::DamagedCheckpoint {
            path: self.path.join(STATE),
            cause: format!(
                "its sizes ask for at least {needed} bytes of weights, {MODEL} has {bytes}"
            ),
        })
    }

    pub(crate) fn load_weights(&self, model: &Model) -> Result<()> {
        let (bytes, origin) = self.bytes(MODEL)?;
        Ok(model.parameters().load_safetensors(&bytes, &origin)?)
    }

    pub(crate) fn load_moments(&self, model: &Model, optimizer: &mut Optimizer) -> Result<()> {
        let (bytes, origin) = self.bytes(OPTIMIZER)?;
        optimizer.load_safetensors(model.parameters(), &bytes, &origin)
    }

    fn bytes(&self, file: &str) -> Result<(Vec<u8>, String)> {
        let path = self.path.join(file);
        let bytes = uard_files::read(&path).map_err(io("read", &path))?;
        self.sums.check(&path, &bytes)?;
        Ok((bytes, path.display().to_string()))
    }

    fn read(path: &Path) -> Result<Self> {
        let file = path.join(STATE);
        let text = uard_files::read_text(&file).map_err(io("read", &file))?;
        let damaged = |cause: serde_json::Error| Error::DamagedCheckpoint {
            path: file.clone(),
            cause: cause.to_string(),
        };
        let Version {
            format_version: found,
        } = serde_json::from_str(&text).map_err(damaged)?;
        if found != FORMAT_VERSION {
            let path = path.to_path_buf();
            return Err(Error::FormatVersion {
                path,
                expected: FORMAT_VERSION,
                found,
            });
        }
        let sums = Sums::read(path)?;
        sums.check(&file, text.as_bytes())?;
        let state = serde_json::from_str(&text).map_err(damaged)?;
        Ok(Self {
            path: path.to_path_buf(),
            state,
            sums,
        })
    }

    fn expect(
        &self,
        what: &'static str,
        found: &str,
        expected: String,
        mend: &'static str,
    ) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(Error::Mismatch {
            path: self.path.clone(),
            what,
            expected,
            found: found.to_owned(),
            mend,
        })
    }
}

/// The one field that every format has.
#[derive(serde::Deserialize)]
struct Version {
    format_version: u32,
}

/// The threshold that a configuration evaluates with, given what was learned.
///
/// Rules without a learned threshold have zero, unless the configuration fixes a number.
pub(crate) fn evaluation_threshold(config: &TrainConfig, state: &TrainState) -> f64 {
    config.evaluation.threshold.resolve(&state.threshold)
}

/// Everything that one checkpoint holds.
#[derive(Debug)]
pub(crate) struct Snapshot<'a> {
    pub(crate) model: &'a Model,
    pub(crate) optimizer: &'a Optimizer,
    pub(crate) state: &'a TrainState,
    /// Of [`TextModel::files`].
    pub(crate) text: &'a [(&'static str, Vec<u8>)],
}

/// Writes a checkpoint, points `latest` and `best`, and removes old ones.
///
/// # Errors
/// When something cannot be written; then the checkpoints before it are untouched.
pub(crate) fn save(
    directory: &CheckpointDirectory,
    snapshot: &Snapshot<'_>,
    keep_last: usize,
) -> Result<PathBuf> {
    let name = CheckpointDirectory::name(snapshot.state.step);
    let mut files = vec![
        (MODEL, snapshot.model.parameters().to_safetensors()?),
        (OPTIMIZER, snapshot.optimizer.to_safetensors()?),
    ];
    files.extend_from_slice(snapshot.text);
    let mut state =
        serde_json::to_vec_pretty(snapshot.state).map_err(|error| Error::SaveFailed {
            path: directory.path().join(&name),
            source: error.into(),
        })?;
    state.push(b'\n');
    files.push((STATE, state));
    files.push((SUMS, Sums::text(&files).into_bytes()));
    let path = directory.write(&name, &files)?;
    settle(directory, snapshot.state, keep_last)?;
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
    directory.prune(keep_last, best.as_deref())
}
