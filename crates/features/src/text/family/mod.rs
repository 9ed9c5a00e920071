//! The families of published text models: the keys of their files, the names of their tensors, and
//! their tokenizers. A new family needs one file and one entry of [`FAMILIES`].

mod bert;
mod clip;
mod siglip;

use std::path::Path;

use serde::{Deserialize, Deserializer};
use tokenizers::Tokenizer;

use crate::Result;
use crate::transformer::{LayerNames, Visibility};

/// All families.
pub(super) static FAMILIES: [&Family; 3] = [&bert::FAMILY, &clip::FAMILY, &siglip::FAMILY];

/// A family of published text models.
#[derive(Debug)]
pub(super) struct Family {
    /// The value of `text.encoder` for this family; its parameters are `text.{encoder}.*`.
    pub(super) encoder: &'static str,
    /// The name of a checkpoint's file with the keys of the model's `config.json`.
    pub(super) file: &'static str,
    /// `model_type` of the text model.
    pub(super) model_type: &'static str,
    /// `model_type` of a model of images and captions, if the text model is the text half of one.
    pub(super) whole: Option<&'static str>,
    /// The keys of `config.json` that are read, each with its default as JSON. A required key has an
    /// empty default.
    pub(super) keys: &'static [(&'static str, &'static str)],
    pub(super) tensors: TensorNames,
    pub(super) visibility: Visibility,
    pub(super) length: SequenceLength,
    /// The file that the tokenizer is read from if there is no `tokenizer.json`.
    pub(super) vocabulary: VocabularyFile,
}

/// The names of the tensors of a family.
#[derive(Debug)]
pub(super) struct TensorNames {
    /// The prefix of all names if the file is of a larger model, such as a whole CLIP.
    pub(super) prefix: &'static str,
    /// The embedding of words [V, H].
    pub(super) words: &'static str,
    /// The embedding of positions.
    pub(super) positions: &'static str,
    /// The embedding of segments, whose first row is added to every word.
    pub(super) segments: Option<&'static str>,
    /// The layer norm outside of the layers: it follows the embeddings if the layers have
    /// post-norm, and the last layer if they have pre-norm.
    pub(super) norm: &'static str,
    /// The name of a layer, without its number.
    pub(super) layers: &'static str,
    pub(super) layer: LayerNames,
}

/// How many positions the layers compute for a caption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SequenceLength {
    /// The positions of its pieces.
    Caption,
    /// All positions of the model: the caption is filled with padding, to which its words attend.
    Maximum,
}

/// A file of a tokenizer's vocabulary in another form than `tokenizer.json`.
#[derive(Debug)]
pub(super) struct VocabularyFile {
    pub(super) file: &'static str,
    /// Further files of the vocabulary in the same folder.
    pub(super) beside: &'static [&'static str],
    pub(super) read: fn(&Path) -> Result<Tokenizer>,
    /// The error of a folder that has neither this file nor `tokenizer.json`.
    pub(super) missing: &'static str,
}

impl<'de> Deserialize<'de> for &'static Family {
    /// Finds the family by its `model_type`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = FAMILIES
            .into_iter()
            .find(|family| family.model_type == name);
        found.ok_or_else(|| unknown(&name, FAMILIES.map(|family| family.model_type)))
    }
}

/// The error of an unknown name, in the wording of serde.
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
