//! The model of an index, of which the index has a copy, and the encoder of photos that the model was
//! trained with.

use std::path::{Path, PathBuf};

use anyhow::Context;
use candle_core::Device;
use serde::{Deserialize, Serialize};
use uard_attention::Precision;
use uard_features::extract::{EncoderOptions, OpenEncoder};
use uard_files::DirectoryLock;
use uard_hub::source::Source;
use uard_hub::weights::{file_of, sha256};
use uard_linalg::matmul::Matmul;
use uard_model::config::ImagesConfig;
use uard_model::{Checkpoint, Model, WORDS};
use uard_search::{Error, Index, MODEL, ModelIdentity, Writer};

use super::paths::resolved;
use crate::exit::wrong;
use crate::weights::weights_of_encoder;

/// The file in the model's folder of an index that says how its photos were encoded.
const ENCODER: &str = "encoder.json";

/// How many digits of the hash of weights name an encoder.
pub const HASH_DIGITS: usize = 16;

/// The index that a command asks for: its folder, and what a new index is made with.
#[derive(Debug, Clone)]
pub struct IndexOptions {
    /// The folder.
    pub folder: PathBuf,
    /// A run or checkpoint; the index's own copy is used if none is given.
    pub model: Option<PathBuf>,
    /// The precision that regions are stored in.
    pub precision: Option<Precision>,
}

/// The model of an index.
#[derive(Debug)]
pub struct IndexModel {
    options: IndexOptions,
    checkpoint: Checkpoint,
    identity: String,
}

impl IndexModel {
    /// Opens the model that is given, or else the copy in the index.
    pub fn open(options: IndexOptions) -> anyhow::Result<Self> {
        let copy = options.folder.join(MODEL);
        let checkpoint = match &options.model {
            Some(given) => Checkpoint::open(given)?,
            None if copy.exists() => Checkpoint::open(&copy)?,
            None => {
                return Err(wrong(format!(
                    "{}: no index of photos is here yet; to create one, name the trained model that \
                     encodes the photos: --model RUN",
                    options.folder.display()
                )));
            }
        };
        Ok(Self {
            identity: checkpoint.identity()?,
            options,
            checkpoint,
        })
    }

    /// Opens the copy in an index.
    pub fn of_index(folder: &Path) -> anyhow::Result<Self> {
        Self::open(IndexOptions {
            folder: folder.to_owned(),
            model: None,
            precision: None,
        })
    }

    /// Its files.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// A hash of it.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The folder of the index.
    pub fn folder(&self) -> &Path {
        &self.options.folder
    }

    /// Opens the index for writing, or creates it, for photos whose features come from `encoder`.
    pub fn writer(
        &self,
        encoder: impl FnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<Writer> {
        let writer = match Writer::open(self.folder()) {
            Err(Error::NoIndex { .. }) => self.create(encoder()?)?,
            opened => opened?,
        };
        writer.index().expect_model(&self.identity)?;
        self.expect_precision(writer.index().model().precision)?;
        self.copy_words()?;
        Ok(writer)
    }

    /// The model is copied first, so that no index is without its model.
    fn create(&self, encoder: String) -> anyhow::Result<Writer> {
        self.copy_model()?;
        let config = self.checkpoint.config();
        let model = ModelIdentity {
            hash: self.identity.clone(),
            threshold: self.checkpoint.threshold(None),
            encoder,
            width: config.model.joint_width,
            precision: self.options.precision.unwrap_or_default(),
        };
        Ok(Index::create(self.folder(), &model)?)
    }

    /// Copies the model, unless an earlier call was interrupted between this and the creation of the
    /// index.
    fn copy_model(&self) -> anyhow::Result<()> {
        let copy = self.folder().join(MODEL);
        let lock = DirectoryLock::acquire_beside(&copy);
        let _lock = lock.with_context(|| format!("cannot write {}", copy.display()))?;
        if !copy.exists() {
            return Ok(self.checkpoint.copy_to(&copy)?);
        }
        match Checkpoint::open(&copy)?.identity()? == self.identity {
            true => Ok(()),
            false => Err(wrong(format!(
                "{}: another model is here, and no index beside it; remove this folder, or name another \
                 for the index: --index DIR",
                copy.display()
            ))),
        }
    }

    /// Copies what the run has learned about words. A run may have learned it after the index was made.
    fn copy_words(&self) -> anyhow::Result<()> {
        let words = self.checkpoint.words_path();
        if self.options.model.is_none() || !words.is_file() {
            return Ok(());
        }
        let copy = self.folder().join(MODEL).join(WORDS);
        let read = uard_files::read(&words);
        let bytes = read.with_context(|| format!("cannot read {}", words.display()))?;
        if uard_files::read(&copy).is_ok_and(|copied| copied == bytes) {
            return Ok(());
        }
        uard_files::write(&copy, bytes).with_context(|| format!("cannot write {}", copy.display()))
    }

    fn expect_precision(&self, found: Precision) -> anyhow::Result<()> {
        match self.options.precision {
            Some(asked) if asked != found => Err(wrong(format!(
                "--precision {asked}: the index {} has {found}; leave --precision out, or index into \
                 another folder: --index DIR",
                self.folder().display()
            ))),
            _ => Ok(()),
        }
    }
}

/// Checks that an index was made with the same encoder of photos: the features of another are other
/// vectors.
pub fn expect_encoder(index: &Index, folder: &Path, found: &str) -> anyhow::Result<()> {
    let expected = &index.model().encoder;
    if expected == found {
        return Ok(());
    }
    Err(wrong(format!(
        "{}: its photos were encoded by {expected}, and now it would be {found}; give --weights and \
         --matmul as for the first photos, or index into another folder: --index DIR",
        folder.display()
    )))
}

/// Settings of the encoder that differ from the configuration of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderChoice {
    /// Its weights.
    pub weights: Option<Source>,
    /// The number type of its products.
    pub matmul: Option<Matmul>,
}

impl EncoderChoice {
    /// Whether an index knows how its photos were encoded; one of features does not.
    pub fn is_remembered(index: &Path) -> bool {
        index.join(MODEL).join(ENCODER).exists()
    }

    /// What is given, and else what the photos of an index were encoded with.
    pub fn or_remembered(&self, index: &Path) -> anyhow::Result<Self> {
        let path = index.join(MODEL).join(ENCODER);
        let remembered: Self = match path.exists() {
            true => uard_files::read_json(&path, "weights and matmul of an encoder")?,
            false => Self::default(),
        };
        let is_there = |source: &Source| !matches!(source, Source::Path(path) if !path.exists());
        Ok(Self {
            weights: self.weights.clone().or(remembered.weights.filter(is_there)),
            matmul: self.matmul.or(remembered.matmul),
        })
    }

    /// Writes it into an index.
    pub fn remember(&self, index: &Path) -> anyhow::Result<()> {
        if self.or_remembered(index)? == Self::default().or_remembered(index)? {
            return Ok(());
        }
        let path = index.join(MODEL).join(ENCODER);
        let written = uard_files::write(&path, serde_json::to_vec_pretty(self)?);
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

/// An encoder of photos and the model that its features are for, in memory.
pub struct LoadedEncoder {
    /// The encoder.
    pub network: OpenEncoder,
    /// The model.
    pub model: Model,
    /// What the features of a photo depend on, in one line: name, regions, number type and weights.
    pub name: String,
    /// The settings that were used.
    pub choice: EncoderChoice,
}

impl LoadedEncoder {
    /// Loads the encoder that the model was trained with. Paths of its weights are relative to the working
    /// directory or to a folder of photos.
    pub fn load(
        checkpoint: &Checkpoint,
        choice: &EncoderChoice,
        photos: &Path,
    ) -> anyhow::Result<Self> {
        let images = &checkpoint.config().images;
        let images = ImagesConfig {
            weights: match &choice.weights {
                Some(source) => vec![source.clone()],
                None => images.weights.clone(),
            },
            matmul: choice.matmul.unwrap_or(images.matmul),
            ..*images
        };
        let weights = weights_of_encoder(&images, photos)?;
        let options = images.options();
        let network = options.open(&weights)?;
        let (found, expected) = (network.width(), checkpoint.state().features.width);
        if found != expected {
            return Err(wrong(format!(
                "{}: trained on features of width {expected}, but {} gives features of width {found}; use \
                 the weights that the features of the training came from (--weights), or --data",
                checkpoint.path().display(),
                weights.display()
            )));
        }
        Ok(Self {
            network,
            model: checkpoint.model(&Device::Cpu)?,
            name: name(options, &weights)?,
            choice: EncoderChoice {
                weights: Some(Source::Path(resolved(&weights))),
                matmul: Some(images.matmul),
            },
        })
    }
}

fn name(options: EncoderOptions, weights: &Path) -> anyhow::Result<String> {
    let EncoderOptions {
        kind,
        regions,
        matmul,
    } = options;
    let hash = sha256(&file_of(weights)?)?;
    let hash = &hash[..HASH_DIGITS];
    Ok(format!(
        "{kind}, {regions} regions, {matmul}, weights {hash}"
    ))
}
