//! How does a caption become words of the joint space by a trained language model? A tokenizer, a
//! BERT that can be trained further, and a linear layer.
//!
//! [`BertEncoder`] is the entry, and [`tokenizer`] makes the ids that it reads. Attention, layer
//! norm, activation and linear layer run as own operators on the CPU and in candle's operations
//! elsewhere; `transformers.BertModel` judges both.

mod config;
mod drops;
mod layer;
mod model;
pub mod tokenizer;

use uard_core::Words;
use uard_core::parameters::Parameters;
use uard_core::random::Draws;
use uard_linalg::matmul::Matmul;

pub use config::{BertConfig, ModelType, PositionEmbedding};
pub use model::Bert;

use super::gru::CaptionBatch;
use super::states::Projection;
use crate::Result;
pub use crate::transformer::{Activation, Drops, Initial};
use uard_hub::Wanted;

/// The files of a published BERT that are read here.
pub const FILES: Wanted<'static> = Wanted {
    needed: &[
        &["config.json"],
        &["tokenizer.json", "vocab.txt"],
        &uard_hub::weights::FILES,
    ],
    optional: &["tokenizer_config.json"],
};

/// What the names of a BERT's parameters begin with, for a group of the optimizer.
pub const PREFIX: &str = "text.bert";

/// Captions to unit rows: a BERT, a linear layer, unit length.
///
/// The parameters are those of [`Bert`] behind [`PREFIX`], `text.projection.weight` [D, H] and
/// `text.projection.bias` `[D]`. It ends as [`TextEncoder`](super::gru::TextEncoder) does, in a
/// unit row for each word, the special ones included; there are no directions to average.
///
/// # Source
/// The projection is drawn like SCAN's of images: uniform in ±√6/√(H + D), biases zero.
#[derive(Debug, Clone)]
pub struct BertEncoder {
    bert: Bert,
    projection: Projection,
    matmul: Matmul,
}

impl BertEncoder {
    /// Creates the parameters: those of the BERT from `initial`, the projection from `draws`.
    ///
    /// # Errors
    /// As for [`Bert::new`].
    pub fn new(
        parameters: &mut Parameters,
        (config, joint_width): (&BertConfig, usize),
        initial: Initial,
        draws: &Draws,
    ) -> Result<Self> {
        let bert = Bert::new(parameters, PREFIX, config, initial)?;
        let widths = (config.hidden_size, joint_width);
        let projection = Projection::new(parameters, widths, draws)?;
        Ok(Self {
            bert,
            projection,
            matmul: Matmul::F32,
        })
    }

    /// The same encoder with other products.
    #[must_use]
    pub fn with_matmul(self, matmul: Matmul) -> Self {
        Self {
            bert: self.bert.with_matmul(matmul),
            matmul,
            ..self
        }
    }

    /// The words of each caption as unit rows.
    ///
    /// # Shapes
    /// The rows are [C, W, D]; rows beyond a caption's count are zero. `drops` is given in
    /// training only: without it nothing is dropped.
    ///
    /// # Errors
    /// As for [`Bert::states`].
    pub fn forward(&self, batch: &CaptionBatch, drops: Option<Drops>) -> Result<Words> {
        let states = self.bert.valid_states(batch, drops)?;
        self.projection.words(&states, batch, self.matmul)
    }

    /// The model below the projection.
    pub fn bert(&self) -> &Bert {
        &self.bert
    }
}

#[cfg(test)]
mod tests;
