//! The settings of the encoder of captions, and which of them belong together.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uard_features::text::TextKind;
use uard_hub::source::Source;

use super::allowed::{Allowed, WIDTH};
use crate::{Error, Result};

/// Words or word pieces of a caption that are read at most. The longest of Flickr8k's 35,000 training
/// and development captions has 42; all captions of a batch are padded to the longest.
const LONGEST: usize = 256;

/// How long captions may be at least.
const LENGTH: Allowed = Allowed::new("3 or more: the marks of start and end, and a word", |x| {
    x >= 3.0
});

/// `[text]`: how captions are read and encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// `gru`, learned from scratch; `bert`, or `tower` for the text half of CLIP or SigLIP, trained
    /// further.
    pub encoder: TextKind,
    /// For the GRU: width of a word's embedding (300).
    pub word_width: usize,
    /// For the GRU: a text file of word vectors, such as GloVe's, to begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word_vectors: Option<PathBuf>,
    /// For the others: the folder of the trained model, in Hugging Face's form, or its name there:
    /// `hf:OWNER/NAME@REVISION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Source>,
    /// Words of a caption (word pieces for `bert` and `tower`), the marks of start and end included,
    /// behind which it is cut (256).
    pub longest: usize,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            encoder: TextKind::GRU,
            word_width: 300,
            word_vectors: None,
            model: None,
            longest: LONGEST,
        }
    }
}

impl TextConfig {
    pub(super) fn validate(&self) -> Result<()> {
        WIDTH.check("text.word_width", self.word_width as f64)?;
        LENGTH.check("text.longest", self.longest as f64)?;
        let learned = self.encoder == TextKind::GRU;
        match (&self.model, &self.word_vectors) {
            (Some(model), _) if learned => Err(Error::setting(
                "text.model",
                model,
                "nothing, for text.encoder = \"gru\" learns from scratch",
            )),
            (None, _) if !learned => Err(Error::setting(
                "text.model",
                &"nothing",
                "the folder of a trained model or its hf: name, for text.encoder is no gru",
            )),
            (_, Some(path)) if !learned => Err(Error::setting(
                "text.word_vectors",
                &path.display(),
                "nothing, for only text.encoder = \"gru\" reads them",
            )),
            _ => Ok(()),
        }
    }
}
