//! `CaptionEncoder`: the GRU or the transformer, from a caption's ids to words of the joint space.

use super::gru::{CaptionBatch, TextEncoder};
use super::transformer::TextTransformer;
use crate::Result;
use crate::transformer::Drops;
use uard_core::Words;
use uard_linalg::matmul::Matmul;

/// A GRU or a transformer, with the layer that ends in the joint space.
#[derive(Debug, Clone)]
pub enum CaptionEncoder {
    /// For a vocabulary of words.
    Gru(TextEncoder),
    /// For the pieces of a published model.
    Transformer(TextTransformer),
}

impl CaptionEncoder {
    /// The same encoder with another kind of matrix product.
    #[must_use]
    pub fn with_matmul(self, matmul: Matmul) -> Self {
        match self {
            Self::Gru(encoder) => Self::Gru(encoder.with_matmul(matmul)),
            Self::Transformer(encoder) => Self::Transformer(encoder.with_matmul(matmul)),
        }
    }

    /// The words of each caption as unit rows.
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
