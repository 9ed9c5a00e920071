//! Which settings has the encoder of captions, and which of them belong together?

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uard_features::source::Source;
use uard_features::text::encoder::TextEncoderKind;

use super::{at_least, setting};
use crate::Result;

/// Pieces of a caption that a BERT reads at most: the longest of Flickr8k's 35,000 training and
/// development captions has 42.
const LONGEST: usize = 64;

/// `[text]`: how captions are read and encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// `gru`, learned from scratch, or `bert`, trained further.
    pub encoder: TextEncoderKind,
    /// For the GRU: width of a word's embedding (300).
    pub word_width: usize,
    /// For the GRU: a text file of word vectors, such as GloVe's, to begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word_vectors: Option<PathBuf>,
    /// For the BERT: the folder of the trained model, in Hugging Face's form, or its name there:
    /// `hf:OWNER/NAME@REVISION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Source>,
    /// For the BERT: word pieces of a caption, special ones included, behind which it is cut.
    pub longest: usize,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            encoder: TextEncoderKind::Gru,
            word_width: 300,
            word_vectors: None,
            model: None,
            longest: LONGEST,
        }
    }
}

impl TextConfig {
    pub(super) fn validate(&self) -> Result<()> {
        at_least("text.word_width", self.word_width, 1)?;
        at_least("text.longest", self.longest, 1)?;
        let nothing = || "nothing".to_owned();
        let model = self.model.as_ref().map_or_else(nothing, Source::to_string);
        match self.encoder {
            TextEncoderKind::Gru if self.model.is_some() => Err(setting(
                "text.model",
                &model,
                "nothing, for only text.encoder = \"bert\" reads it",
            )),
            TextEncoderKind::Bert if self.model.is_none() => Err(setting(
                "text.model",
                &model,
                "the folder of a trained BERT or its hf: name, for text.encoder is \"bert\"",
            )),
            TextEncoderKind::Bert => match &self.word_vectors {
                Some(path) => Err(setting(
                    "text.word_vectors",
                    &path.display().to_string(),
                    "nothing, for only text.encoder = \"gru\" reads them",
                )),
                None => Ok(()),
            },
            TextEncoderKind::Gru => Ok(()),
        }
    }
}
