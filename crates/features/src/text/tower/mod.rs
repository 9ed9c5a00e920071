//! How does a caption become words of the joint space by the text half of CLIP or SigLIP? A
//! tokenizer, that half, frozen or trained further, and a linear layer.
//!
//! [`TowerEncoder`] is the entry, and [`tokenizer`] makes the ids that it reads.

mod config;
mod model;
pub mod tokenizer;

use uard_core::Words;
use uard_core::parameters::Parameters;
use uard_core::random::Draws;
use uard_linalg::matmul::Matmul;

pub use config::{TowerConfig, TowerFamily};
pub use model::Tower;

use super::gru::CaptionBatch;
use super::states::Projection;
use crate::Result;
pub use crate::transformer::{Activation, Drops, Initial};
use uard_hub::Wanted;

/// The files of a published text tower that are read here.
pub const FILES: Wanted<'static> = Wanted {
    needed: &[
        &["config.json"],
        &["tokenizer.json", "vocab.json"],
        &uard_hub::weights::FILES,
    ],
    optional: &["merges.txt"],
};

/// What the names of a tower's parameters begin with, for a group of the optimizer.
pub const PREFIX: &str = "text.tower";

/// Captions to unit rows: a tower, a linear layer, unit length.
///
/// The parameters are those of [`Tower`] behind [`PREFIX`], and `text.projection.*`, as for
/// [`BertEncoder`](super::bert::BertEncoder). Special pieces are words. The tower's own projection
/// of whole captions is not read.
#[derive(Debug, Clone)]
pub struct TowerEncoder {
    tower: Tower,
    projection: Projection,
    matmul: Matmul,
}

impl TowerEncoder {
    /// Creates the parameters: those of the tower from `initial`, the projection from `draws`.
    ///
    /// # Errors
    /// As for [`Tower::new`].
    pub fn new(
        parameters: &mut Parameters,
        (config, joint_width): (&TowerConfig, usize),
        initial: Initial,
        draws: &Draws,
    ) -> Result<Self> {
        let tower = Tower::new(parameters, PREFIX, config, initial)?;
        let widths = (config.hidden_size, joint_width);
        let projection = Projection::new(parameters, widths, draws)?;
        Ok(Self {
            tower,
            projection,
            matmul: Matmul::F32,
        })
    }

    /// The same encoder with a tower that no gradient reaches and no graph is built of; the
    /// projection goes on learning. The tower's parameters stay where they are.
    ///
    /// # Errors
    /// When these are not the parameters that the encoder was created with.
    pub fn frozen(self, parameters: &Parameters) -> Result<Self> {
        Ok(Self {
            tower: self.tower.frozen(parameters, PREFIX)?,
            ..self
        })
    }

    /// The same encoder with other products.
    #[must_use]
    pub fn with_matmul(self, matmul: Matmul) -> Self {
        Self {
            tower: self.tower.with_matmul(matmul),
            matmul,
            ..self
        }
    }

    /// The words of each caption as unit rows.
    ///
    /// # Shapes
    /// The rows are [C, W, D]; rows beyond a caption's count are zero. `drops` is given in
    /// training only; the published models drop nothing there either.
    ///
    /// # Errors
    /// As for [`Tower::states`].
    pub fn forward(&self, batch: &CaptionBatch, drops: Option<Drops>) -> Result<Words> {
        let states = self.tower.valid_states(batch, drops)?;
        self.projection.words(&states, batch, self.matmul)
    }

    /// The model below the projection.
    pub fn tower(&self) -> &Tower {
        &self.tower
    }
}

#[cfg(test)]
mod tests;
