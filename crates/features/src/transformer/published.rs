//! The keys of a published model's `config.json`, laid over those of its family where it says
//! nothing.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result};
use uard_files::{FileError, read_json};

const CONFIG: &str = "config.json";
const FAMILY: &str = "model_type";
const EXPECTED: &str = "the config.json of a CLIP, SigLIP or DINOv2 in Hugging Face's form";

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
    /// Reads `config.json` of a folder.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let keys = read_json(&path, EXPECTED)?;
        Ok(Self { path, keys })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The family of the model; another than those of `T` is refused by name.
    pub(crate) fn family<T: DeserializeOwned>(&self) -> Result<T> {
        let family = self.keys.get(FAMILY).ok_or_else(|| Error::ModelConfig {
            path: self.path.clone(),
            key: FAMILY,
            expected: "the family of the model".to_owned(),
            found: "no such key".to_owned(),
        })?;
        serde_json::from_value(family.clone()).map_err(|source| other_json(&self.path, source))
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

    /// The defaults with what the file says. A key that is null says nothing.
    pub(crate) fn over<T: Serialize + DeserializeOwned>(&self, defaults: &T) -> Result<T> {
        let other = |source| other_json(&self.path, source);
        let mut all = serde_json::to_value(defaults).map_err(other)?;
        if let Some(all) = all.as_object_mut() {
            let said = self.keys.iter().filter(|(_, value)| !value.is_null());
            all.extend(said.map(|(key, value)| (key.clone(), value.clone())));
        }
        serde_json::from_value(all).map_err(other)
    }
}

fn other_json(path: &Path, source: serde_json::Error) -> Error {
    let file = FileError::Json {
        path: path.to_owned(),
        expected: EXPECTED,
        source,
    };
    file.into()
}
