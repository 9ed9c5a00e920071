//! What do files of a published model say? The keys of `config.json`, checked, and what the names of
//! its tensors begin with.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result};
use uard_files::{FileError, read_json};
use uard_hub::weights::Weights;

const FAMILY: &str = "model_type";
const EXPECTED: &str = "the config.json of a BERT, CLIP, SigLIP or DINOv2 in Hugging Face's form";

/// The keys of a file, or of one of the models that it describes.
#[derive(Debug)]
pub(crate) struct Published {
    path: PathBuf,
    keys: Map<String, Value>,
}

/// The halves of a model of images and captions.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Half {
    Text,
    Vision,
}

impl Published {
    /// Reads `config.json`, or what was written of it into a checkpoint.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let keys = read_json(&path, EXPECTED)?;
        Ok(Self { path, keys })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says of a key; null says nothing.
    pub(crate) fn said(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// The family of the model.
    pub(crate) fn family<T: DeserializeOwned>(&self) -> Result<T> {
        match self.said(FAMILY) {
            Some(family) => self.parsed(family.clone()),
            None => Err(Error::ModelConfig {
                path: self.path.clone(),
                key: FAMILY,
                expected: "the family of the model".to_owned(),
                found: "no such key".to_owned(),
            }),
        }
    }

    /// One half of the model.
    ///
    /// Files of 2022 say it twice; like transformers, this takes `{half}_config_dict` where there is
    /// one. A half of which nothing is said is that of its family.
    pub(crate) fn half(&self, half: Half) -> Self {
        let names = match half {
            Half::Text => ["text_config_dict", "text_config"],
            Half::Vision => ["vision_config_dict", "vision_config"],
        };
        let objects = names
            .iter()
            .filter_map(|name| self.keys.get(*name)?.as_object());
        Self {
            path: self.path.clone(),
            keys: objects.into_iter().next().cloned().unwrap_or_default(),
        }
    }

    /// The defaults with what the file says.
    pub(crate) fn over<T: Serialize + DeserializeOwned>(&self, defaults: &T) -> Result<T> {
        let mut all = serde_json::to_value(defaults).map_err(|source| self.other(source))?;
        if let Some(all) = all.as_object_mut() {
            let said = self.keys.iter().filter(|(_, value)| !value.is_null());
            all.extend(said.map(|(key, value)| (key.clone(), value.clone())));
        }
        self.parsed(all)
    }

    /// A value of the file as a type; what does not fit is refused by the file's name.
    pub(crate) fn parsed<T: DeserializeOwned>(&self, value: Value) -> Result<T> {
        serde_json::from_value(value).map_err(|source| self.other(source))
    }

    pub(crate) fn other(&self, source: serde_json::Error) -> Error {
        let file = FileError::Json {
            path: self.path.clone(),
            expected: EXPECTED,
            source,
        };
        file.into()
    }
}

/// What the names of a file's tensors begin with: the prefix of a model that is part of a larger one,
/// or nothing. The tensor of the given name is in every file.
pub(crate) fn stored_prefix<'a>(weights: &Weights, prefix: &'a str, name: &str) -> &'a str {
    match weights.has(&format!("{prefix}{name}")) {
        true => prefix,
        false => "",
    }
}

/// Whether a transformer of some sizes can be; a message names the file, the key, what was expected
/// and what was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checks<'a>(pub(crate) &'a Path);

impl Checks<'_> {
    pub(crate) fn refuse(
        self,
        key: &'static str,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Result<()> {
        Err(Error::ModelConfig {
            path: self.0.to_owned(),
            key,
            expected: expected.into(),
            found: found.to_string(),
        })
    }

    pub(crate) fn at_least_one(self, sizes: &[(&'static str, usize)]) -> Result<()> {
        match sizes.iter().find(|(_, size)| *size == 0) {
            Some((key, _)) => self.refuse(key, "at least 1", 0),
            None => Ok(()),
        }
    }

    /// Heads that divide the width; neither is zero.
    pub(crate) fn heads(self, heads: usize, width: usize) -> Result<()> {
        match width.is_multiple_of(heads) {
            true => Ok(()),
            false => self.refuse(
                "num_attention_heads",
                format!("a divisor of hidden_size {width}"),
                heads,
            ),
        }
    }

    pub(crate) fn above_zero(self, numbers: &[(&'static str, f64)]) -> Result<()> {
        let off = |(_, number): &&(&str, f64)| !(number.is_finite() && *number > 0.0);
        match numbers.iter().find(off) {
            Some((key, number)) => self.refuse(key, "a number above zero", number),
            None => Ok(()),
        }
    }

    /// Rates of dropout.
    pub(crate) fn rates(self, rates: &[(&'static str, f32)]) -> Result<()> {
        match rates.iter().find(|(_, rate)| !(0.0..1.0).contains(rate)) {
            Some((key, rate)) => self.refuse(key, "a share of at least 0 and below 1", rate),
            None => Ok(()),
        }
    }
}
