//! A trained model on disk.
//!
//! A checkpoint is a directory `step-XXXXXXXX` of `model.safetensors`, `state.json`, what captions
//! are read with (`vocab.json`, or `bert.json` or `tower.json` and `tokenizer.json`), whatever the
//! training that wrote it continues with (`optimizer.safetensors`), and `SHA256SUMS` of all of them.
//! The text files `latest` and `best` beside it name one of them.

mod directory;
mod sums;

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};
use uard_core::random::Draws;
use uard_data::dataset::Split;
use uard_features::text::TextModel;
use uard_relevance::{EvaluationThreshold, LearnedThreshold};

use crate::config::ModelConfig;
use crate::model::{Model, WEIGHTS};
use crate::{Error, Result};

pub use directory::{CheckpointDirectory, NamedBytes, Pointer};
use sums::Sums;

/// Version of the files of a checkpoint; another one is refused.
pub const FORMAT_VERSION: u32 = 2;

/// The file of a checkpoint that holds a [`ModelState`], beside what a training continues with.
pub const STATE: &str = "state.json";

/// What `state.json` says of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelState {
    /// The configuration of the run, every default written out, as TOML.
    pub config: String,
    /// sha256 of the vocabulary, or of what else captions are read with.
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
    /// Regions R of an image, the most.
    pub regions: usize,
    /// Width F.
    pub width: usize,
}

/// The one field that every format has.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

/// A checkpoint on disk whose state has been read and whose format is the one of this version.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    state: ModelState,
    config: ModelConfig,
    sums: Sums,
}

impl Checkpoint {
    /// Opens a checkpoint directory, the checkpoint that a pointer file (`latest`, `best`) names, or
    /// the best (else the newest) checkpoint of a run directory.
    ///
    /// # Errors
    /// When there is none, a pointer names one that is not there, it was written in another format,
    /// its state is damaged, or a setting is unknown to this version.
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

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is remembered of the model beside its weights.
    pub fn state(&self) -> &ModelState {
        &self.state
    }

    /// The settings of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The trained model, on a device. Captions are read with the files of the checkpoint; the folder
    /// of the published text model that the training began with is no longer needed.
    ///
    /// # Errors
    /// When a file is damaged, not the one that the state belongs to, or the weights do not fit the
    /// configuration.
    pub fn model(&self, device: &Device) -> Result<Model> {
        let text = self.text()?;
        self.expect_numbers(&text)?;
        // Every number that is drawn is replaced.
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

    /// The threshold that is asked for, else the one that its configuration evaluates with: a cosine
    /// from 0 to 1, above which a region and a word attend.
    pub fn threshold(&self, asked: Option<EvaluationThreshold>) -> f64 {
        let asked = asked.unwrap_or(self.config.evaluation.threshold);
        asked.resolve(&self.state.threshold)
    }

    /// The bytes of one of its files, compared with `SHA256SUMS`.
    ///
    /// # Errors
    /// When it cannot be read, or is not as it was written.
    pub fn file(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path.join(name);
        let bytes = uard_files::read(&path).map_err(Error::io(&path, "read"))?;
        self.sums.check(&path, &bytes)?;
        Ok(bytes)
    }

    /// Refuses a split whose features have another width than those it was trained on.
    ///
    /// # Errors
    /// Names the features and both widths.
    pub fn expect_width(&self, split: &Split) -> Result<()> {
        expect_width(split, self.state.features.width, &self.path)
    }

    /// Refuses what is given, where it is not what the model was trained with; `mend` says what to do
    /// then.
    ///
    /// # Errors
    /// Names both.
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

    /// Refuses a state that asks for a larger model than its weights are, before one is made.
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
            format!("its sizes ask for at least {needed} bytes of weights, {WEIGHTS} has {found}");
        Err(Error::damaged(&self.path.join(STATE), &cause))
    }
}

/// Refuses a split whose features have another width than `origin`'s: those of a checkpoint, or of a
/// training split.
///
/// # Errors
/// Names the features and both widths.
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
