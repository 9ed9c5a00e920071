//! The families of published text models: what their files say, what their tensors are called, and
//! how they read captions. A further family is one file and one line of [`FAMILIES`].

mod bert;
mod clip;
mod siglip;

use std::path::Path;

use serde::{Deserialize, Deserializer};
use tokenizers::Tokenizer;

use crate::Result;
use crate::transformer::{LayerNames, Visibility};

/// Every family.
pub(super) static FAMILIES: [&Family; 3] = [&bert::FAMILY, &clip::FAMILY, &siglip::FAMILY];

/// What tells a family from the others.
#[derive(Debug)]
pub(super) struct Family {
    /// The value of `text.encoder` that stands for it; its parameters are `text.{encoder}.*`.
    pub(super) encoder: &'static str,
    /// What of its `config.json` a checkpoint holds, by file name.
    pub(super) file: &'static str,
    /// `model_type` of the text model.
    pub(super) model_type: &'static str,
    /// `model_type` of a model that it is the text half of.
    pub(super) whole: Option<&'static str>,
    /// The keys of `config.json` that are read, and what holds where it is silent, as JSON; what has
    /// to be said has nothing.
    pub(super) keys: &'static [(&'static str, &'static str)],
    pub(super) tensors: TensorNames,
    pub(super) visibility: Visibility,
    pub(super) length: Length,
    /// The file that pieces are read from where there is no `tokenizer.json`.
    pub(super) vocabulary: PlainVocabulary,
}

/// What the tensors below and around the layers are called.
#[derive(Debug)]
pub(super) struct TensorNames {
    /// What all names begin with in files of a larger model.
    pub(super) prefix: &'static str,
    pub(super) words: &'static str,
    pub(super) positions: &'static str,
    /// Added to every word: the first of its rows.
    pub(super) segments: Option<&'static str>,
    /// Behind the embeddings where layers norm behind their parts, else behind the layers.
    pub(super) norm: &'static str,
    /// Before the number of a layer.
    pub(super) layers: &'static str,
    pub(super) layer: LayerNames,
}

/// How long a caption is for the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// As long as it is.
    Own,
    /// Filled with padding, which its words see, up to the last position.
    Filled,
}

/// Pieces in another form than `tokenizer.json`.
#[derive(Debug)]
pub(super) struct PlainVocabulary {
    pub(super) file: &'static str,
    /// Files beside it that are read too.
    pub(super) beside: &'static [&'static str],
    pub(super) read: fn(&Path) -> Result<Tokenizer>,
    /// What is wrong with a folder that has neither form.
    pub(super) missing: &'static str,
}

impl<'de> Deserialize<'de> for &'static Family {
    /// By its `model_type`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = FAMILIES
            .into_iter()
            .find(|family| family.model_type == name);
        found.ok_or_else(|| unknown(&name, FAMILIES.map(|family| family.model_type)))
    }
}

/// The error of a name that is none of the known ones, in serde's words.
pub(super) fn unknown<E: serde::de::Error>(
    found: &str,
    known: impl IntoIterator<Item = &'static str>,
) -> E {
    let known: Vec<String> = known.into_iter().map(|name| format!("`{name}`")).collect();
    E::custom(format!(
        "unknown variant `{found}`, expected one of {}",
        known.join(", ")
    ))
}
