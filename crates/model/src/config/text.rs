//! The settings of the text encoder, and which of them may be combined.

use serde::{Deserialize, Serialize};
use uard_features::text::TextKind;
use uard_hub::source::Source;

use super::allowed::{Allowed, WIDTH};
use crate::{Error, Result};

/// Default limit of words or word pieces of a caption. The longest of Flickr8k's 35,000 training and
/// development captions has 42; all captions of a batch are padded to the longest of the batch.
const LONGEST: usize = 256;

/// Range of the limit.
const LENGTH: Allowed = Allowed::new("3 or more: the marks of start and end, and a word", |x| {
    x >= 3.0
});

/// `[text]`: the text encoder and its tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// `gru`, trained from scratch; or a published model that is fine-tuned: `bert`, or `tower` for
    /// the text half of CLIP or SigLIP.
    pub encoder: TextKind,
    /// For the GRU: width of a word's embedding (300).
    pub word_width: usize,
    /// For the GRU: word vectors that the embeddings start from. A text file such as GloVe's, or the folder
    /// of a static embedding model; either may be a name on the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word_vectors: Option<Source>,
    /// For `bert` and `tower`: the folder of the published model in Hugging Face's format, or its
    /// name on the hub: `hf:OWNER/NAME@REVISION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Source>,
    /// Largest number of words of a caption (word pieces for `bert` and `tower`), the marks of start
    /// and end included; longer captions are cut (256).
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
                "no value, because text.encoder = \"gru\" is trained from scratch",
            )),
            (None, _) if !learned => Err(Error::setting(
                "text.model",
                &"(no value)",
                "the folder of a published model or its hf: name, because text.encoder is not gru",
            )),
            (_, Some(vectors)) if !learned => Err(Error::setting(
                "text.word_vectors",
                vectors,
                "no value, because only text.encoder = \"gru\" reads word vectors",
            )),
            _ => Ok(()),
        }
    }
}
