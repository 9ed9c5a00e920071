//! `CaptionEncoder`: the GRU or the transformer, from a caption's ids to words of the joint space.

use super::gru::{CaptionBatch, TextEncoder};
use super::transformer::TextTransformer;
use crate::Result;
use crate::transformer::Drops;
use uard_core::Words;
use uard_linalg::matmul::Matmul;

/// A text encoder for captions: a GRU, or a transformer with a projection to the joint space.
#[derive(Debug, Clone)]
pub enum CaptionEncoder {
    /// For captions of whole words from a vocabulary.
    Gru(TextEncoder),
    /// For captions of pieces from a published model's tokenizer.
    Transformer(TextTransformer),
}

impl CaptionEncoder {
    /// The same encoder with this precision of its matrix products.
    #[must_use]
    pub fn with_matmul(self, matmul: Matmul) -> Self {
        match self {
            Self::Gru(encoder) => Self::Gru(encoder.with_matmul(matmul)),
            Self::Transformer(encoder) => Self::Transformer(encoder.with_matmul(matmul)),
        }
    }

    /// The same encoder for parameters that do not change any more, which a GRU prepares once.
    ///
    /// # Errors
    /// When candle reports an error.
    pub fn frozen(self) -> Result<Self> {
        match self {
            Self::Gru(encoder) => Ok(Self::Gru(encoder.frozen()?)),
            Self::Transformer(encoder) => Ok(Self::Transformer(encoder)),
        }
    }

    /// Computes the words of each caption as unit vectors, the rows of the result.
    ///
    /// # Shapes
    /// The rows are [C, W, D]; rows beyond a caption's count are zero. `drops` is given in training
    /// only; a GRU drops nothing.
    ///
    /// # Errors
    /// When an id is not in the vocabulary or a caption is too long (the error names the caption), or
    /// the batch is on another device.
    pub fn forward(&self, batch: &CaptionBatch, drops: Option<Drops>) -> Result<Words> {
        match self {
            Self::Gru(encoder) => encoder.forward(batch),
            Self::Transformer(encoder) => encoder.forward(batch, drops),
        }
    }
}
