//! `PublishedConfig` reads `config.json` of a published model; `ConfigChecks` checks its values.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result};
use uard_files::{FileError, read_json};
use uard_hub::weights::Weights;

const FAMILY: &str = "model_type";
const EXPECTED: &str = "the config.json of a BERT, CLIP, SigLIP or DINOv2 in Hugging Face's form";

/// The keys of a `config.json`, or of one half of the model that it describes.
#[derive(Debug)]
pub(crate) struct PublishedConfig {
    path: PathBuf,
    keys: Map<String, Value>,
}

/// One of the two halves of a model of images and captions.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Half {
    Text,
    Vision,
}

impl PublishedConfig {
    /// Reads `config.json`, or the copy of its keys in a checkpoint.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let keys = read_json(&path, EXPECTED)?;
        Ok(Self { path, keys })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The value of a key; `None` if the key is missing or null.
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// The family of the model (`model_type`).
    pub(crate) fn family<T: DeserializeOwned>(&self) -> Result<T> {
        match self.value(FAMILY) {
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
    /// Files of 2022 hold each half twice; as in transformers, `{half}_config_dict` is used where
    /// there is one, else `{half}_config`. If the file has neither, the half has no keys, and all
    /// its values are defaults.
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

    /// The defaults, replaced by the values of the file where it has them.
    pub(crate) fn merged_over<T: Serialize + DeserializeOwned>(&self, defaults: &T) -> Result<T> {
        let mut all = serde_json::to_value(defaults).map_err(|source| self.json_error(source))?;
        if let Some(all) = all.as_object_mut() {
            let values = self.keys.iter().filter(|(_, value)| !value.is_null());
            all.extend(values.map(|(key, value)| (key.clone(), value.clone())));
        }
        self.parsed(all)
    }

    /// Parses a value as a type; the error names the file.
    pub(crate) fn parsed<T: DeserializeOwned>(&self, value: Value) -> Result<T> {
        serde_json::from_value(value).map_err(|source| self.json_error(source))
    }

    /// The error of JSON that does not fit, with the name of the file.
    pub(crate) fn json_error(&self, source: serde_json::Error) -> Error {
        let file = FileError::Json {
            path: self.path.clone(),
            expected: EXPECTED,
            source,
        };
        file.into()
    }
}

/// The prefix of the tensors' names in a file: `prefix` in files of a larger model, else nothing.
/// `name` is the name, without a prefix, of a tensor that every file has.
pub(crate) fn stored_prefix<'a>(weights: &Weights, prefix: &'a str, name: &str) -> &'a str {
    match weights.has(&format!("{prefix}{name}")) {
        true => prefix,
        false => "",
    }
}

/// Checks of the values of a configuration file, whose path is given. An error names the file, the
/// key, what was expected and what was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConfigChecks<'a>(pub(crate) &'a Path);

impl ConfigChecks<'_> {
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

    /// Checks that the number of heads divides the width; neither is zero.
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
        let invalid = |(_, number): &&(&str, f64)| !(number.is_finite() && *number > 0.0);
        match numbers.iter().find(invalid) {
            Some((key, number)) => self.refuse(key, "a number above zero", number),
            None => Ok(()),
        }
    }

    /// Checks rates of dropout.
    pub(crate) fn rates(self, rates: &[(&'static str, f32)]) -> Result<()> {
        match rates.iter().find(|(_, rate)| !(0.0..1.0).contains(rate)) {
            Some((key, rate)) => self.refuse(key, "a share of at least 0 and below 1", rate),
            None => Ok(()),
        }
    }
}
