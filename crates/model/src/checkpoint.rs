//! Reads the checkpoint of a trained model.
//!
//! A checkpoint is a directory `step-XXXXXXXX` with the files `model.safetensors`, `state.json`, the
//! vocabulary or tokenizer (`vocab.json`, or `bert.json` or `tower.json` and `tokenizer.json`), the
//! optimizer's moments for resuming (`optimizer.safetensors`), and `SHA256SUMS` of all of them. The
//! text files `latest` and `best` beside the checkpoints each name one of them.

mod directory;
mod sums;

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};
use uard_core::random::Draws;
use uard_data::dataset::Split;
use uard_features::text::TextModel;
use uard_files::sha256;
use uard_relevance::{EvaluationThreshold, LearnedThreshold};

use crate::config::ModelConfig;
use crate::model::{Model, WEIGHTS};
use crate::words::WORDS;
use crate::{Error, Result};

pub use directory::{CheckpointDirectory, NamedBytes, Pointer};
use sums::Sums;

/// Version of the files of a checkpoint; checkpoints of other versions are refused.
pub const FORMAT_VERSION: u32 = 2;

/// The file of a checkpoint that holds a [`ModelState`] and the state of the training.
pub const STATE: &str = "state.json";

/// The keys of `state.json` that belong to the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelState {
    /// The configuration of the run, every default written out, as TOML.
    pub config: String,
    /// sha256 of the vocabulary or of the tokenizer's files.
    pub vocabulary_hash: String,
    /// sha256 of the training data.
    pub data_hash: String,
    /// Shape of the features.
    pub features: FeatureShape,
    /// Threshold with its distributions.
    pub threshold: LearnedThreshold,
}

/// Shape of an image's features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureShape {
    /// Largest number of regions R of an image.
    pub regions: usize,
    /// Width F of a region's features.
    pub width: usize,
}

/// The one key that every format version has.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

/// A checkpoint on disk. Its state has been read, and its format version is [`FORMAT_VERSION`].
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    state: ModelState,
    config: ModelConfig,
    sums: Sums,
}

impl Checkpoint {
    /// Opens the checkpoint at `path`: a checkpoint directory, a pointer file (`latest`, `best`), or
    /// a run directory, of which it opens the best or else the newest checkpoint.
    ///
    /// # Errors
    /// When there is no checkpoint, a pointer names a missing one, it has another format version,
    /// its state is damaged, or this version does not know one of its settings.
    pub fn open(path: &Path) -> Result<Self> {
        let run = CheckpointDirectory::of_run(path);
        let found = if path.join(STATE).is_file() {
            Some(path.to_owned())
        } else if path.is_file() {
            directory::named_by(path)?
        } else if let Some(best) = run.pointed(Pointer::Best)? {
            Some(best)
        } else {
            run.newest()?
        };
        let missing = || Error::NoCheckpoint {
            path: path.to_owned(),
        };
        Self::read(&found.ok_or_else(missing)?)
    }

    fn read(path: &Path) -> Result<Self> {
        let file = path.join(STATE);
        let bytes = uard_files::read(&file).map_err(Error::io(&file, "read"))?;
        let damaged = |cause| Error::damaged(&file, &cause);
        let version: Version = serde_json::from_slice(&bytes).map_err(damaged)?;
        if version.format_version != FORMAT_VERSION {
            return Err(Error::FormatVersion {
                path: path.to_owned(),
                expected: FORMAT_VERSION,
                found: version.format_version,
            });
        }
        let sums = Sums::read(path)?;
        sums.check(&file, &bytes)?;
        let state: ModelState = serde_json::from_slice(&bytes).map_err(damaged)?;
        let config = ModelConfig::from_toml(&state.config, &file.display().to_string());
        let config = config.map_err(|error| match error {
            Error::Setting { .. } => Error::damaged(&file, &error),
            other => other,
        })?;
        Ok(Self {
            path: path.to_owned(),
            state,
            config,
            sums,
        })
    }

    /// The directory of the checkpoint.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's part of `state.json`.
    pub fn state(&self) -> &ModelState {
        &self.state
    }

    /// The settings of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Loads the trained model onto a device. The vocabulary or tokenizer is read from the
    /// checkpoint; the folder of a published text model that the training began with is not needed.
    ///
    /// # Errors
    /// When a file is damaged or belongs to another model, or the weights do not have the shapes of
    /// the configuration.
    pub fn model(&self, device: &Device) -> Result<Model> {
        let text = self.text()?;
        self.expect_numbers(&text)?;
        // The seed does not matter, because all parameters are loaded below.
        let draws = Draws::new(0);
        let model = Model::new(
            &self.config,
            self.state.features.width,
            text,
            &draws,
            device,
        )?;
        let origin = self.path.join(WEIGHTS).display().to_string();
        let parameters = model.parameters();
        parameters.load_safetensors(&self.file(WEIGHTS)?, &origin)?;
        Ok(model)
    }

    /// The threshold for evaluation, a cosine from 0 to 1: the `requested` one, or else the one of
    /// the configuration.
    pub fn threshold(&self, requested: Option<EvaluationThreshold>) -> f64 {
        let requested = requested.unwrap_or(self.config.evaluation.threshold);
        requested.resolve(&self.state.threshold)
    }

    /// Reads one of its files and checks it against `SHA256SUMS`.
    ///
    /// # Errors
    /// When it cannot be read, or its checksum differs.
    pub fn file(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path.join(name);
        let bytes = uard_files::read(&path).map_err(Error::io(&path, "read"))?;
        self.sums.check(&path, &bytes)?;
        Ok(bytes)
    }

    /// Identifies the model: SHA-256 in hex of the lines in `SHA256SUMS` about its files. Files that only a
    /// resumed training needs do not count, so that a copy made by [`copy_to`](Self::copy_to) has the same
    /// identity.
    ///
    /// # Errors
    /// When a file of an earlier version's checkpoint, which has no `SHA256SUMS`, cannot be read.
    pub fn identity(&self) -> Result<String> {
        let mut lines = String::new();
        for name in self.model_files() {
            let sum = match self.sums.sum(name) {
                Some(sum) => sum.to_owned(),
                None => sha256(&self.file(name)?),
            };
            lines += &format!("{sum}  {name}\n");
        }
        Ok(sha256(lines.as_bytes()))
    }

    /// The path of what the model has learned about words ([`LearnedWords`](crate::LearnedWords)):
    /// beside the directory of checkpoints in a run, or in the checkpoint if it is no part of a run.
    pub fn words_path(&self) -> PathBuf {
        let parent = self.path.parent();
        let checkpoints = parent.filter(|parent| parent.ends_with(directory::CHECKPOINTS));
        let run = checkpoints.and_then(Path::parent);
        run.unwrap_or(&self.path).join(WORDS)
    }

    /// Copies the files of the model to a new directory, which appears whole or not at all. Files that only
    /// a resumed training needs are left out.
    ///
    /// # Errors
    /// When a file is damaged, or the directory cannot be written or holds something.
    pub fn copy_to(&self, directory: &Path) -> Result<()> {
        let files = self.model_files().into_iter();
        let files = files.map(|name| Ok((name, self.file(name)?)));
        let files = files.collect::<Result<Vec<NamedBytes>>>()?;
        directory::write_new(directory, &files).map_err(Error::io(directory, "write"))
    }

    /// The names of its files that [`model`](Self::model) needs, sorted.
    fn model_files(&self) -> Vec<&'static str> {
        let mut names = TextModel::file_names();
        names.retain(|name| self.path.join(name).exists());
        names.extend([WEIGHTS, STATE]);
        names.sort_unstable();
        names
    }

    /// Checks that a split's features have the width of those that the model was trained on.
    ///
    /// # Errors
    /// When they differ: names the features and both widths.
    pub fn expect_width(&self, split: &Split) -> Result<()> {
        expect_width(split, self.state.features.width, &self.path)
    }

    /// Checks that `what` is the same now (`given`) as in the training (`trained`); `mend` is the
    /// advice for the error.
    ///
    /// # Errors
    /// When they differ: names both.
    pub fn expect(
        &self,
        what: &'static str,
        trained: &str,
        given: String,
        mend: &'static str,
    ) -> Result<()> {
        if trained == given {
            return Ok(());
        }
        Err(Error::Mismatch {
            path: self.path.clone(),
            what,
            expected: given,
            found: trained.to_owned(),
            mend,
        })
    }

    fn text(&self) -> Result<TextModel> {
        for name in TextModel::file_names() {
            if self.path.join(name).exists() {
                self.file(name)?;
            }
        }
        let text = TextModel::read(&self.path, self.config.text.longest)?;
        let mend = "use the data set it was trained with, or train a model on this one";
        let trained = &self.state.vocabulary_hash;
        self.expect("the vocabulary", trained, text.hash()?, mend)?;
        Ok(text)
    }

    /// Checks, before memory is allocated, that the weights file is large enough for the sizes that
    /// the state names.
    fn expect_numbers(&self, text: &TextModel) -> Result<()> {
        let path = self.path.join(WEIGHTS);
        let found = fs::metadata(&path).map_err(Error::io(&path, "read"))?.len();
        let (width, joint_width) = (self.state.features.width, self.config.model.joint_width);
        let needed = text
            .least_numbers(self.config.text_sizes())
            .saturating_add((width as u64).saturating_mul(joint_width as u64))
            .saturating_mul(size_of::<f32>() as u64);
        if needed <= found {
            return Ok(());
        }
        let cause =
            format!("its sizes need at least {needed} bytes of weights, {WEIGHTS} has {found}");
        Err(Error::damaged(&self.path.join(STATE), &cause))
    }
}

/// Checks that a split's features have the `expected` width, which is that of `origin`: a checkpoint
/// or a training split.
///
/// # Errors
/// When they differ: names the features and both widths.
pub fn expect_width(split: &Split, expected: usize, origin: &Path) -> Result<()> {
    let found = split.regions.width();
    if found == expected {
        return Ok(());
    }
    Err(Error::FeatureWidth {
        path: split.regions.path().to_owned(),
        found,
        expected,
        origin: origin.to_owned(),
    })
}
