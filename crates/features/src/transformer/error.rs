//! What can go wrong with a published transformer beyond a damaged file.

use std::path::PathBuf;

/// A cause, with what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransformerError {
    /// Tokens were asked for in a joint space that their model does not have.
    #[error(
        "tokens of {family} cannot be projected: {reason}; ask for the hidden tokens, which every vision transformer has"
    )]
    NoProjection {
        /// The family of the model.
        family: String,
        /// What it has instead.
        reason: &'static str,
    },
    /// A tokenizer in a form that only the sentencepiece library reads.
    #[error(
        "{}: only spiece.model is there, expected tokenizer.json, which holds the same pieces; download it too, or write it in Python with transformers.AutoTokenizer.from_pretrained(folder, use_fast=True).save_pretrained(folder)", folder.display()
    )]
    SentencePieceOnly {
        /// The folder.
        folder: PathBuf,
    },
}
