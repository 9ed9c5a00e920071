//! What are the parameters of embedding and recurrence, and which form of them runs?

use candle_core::{Device, Tensor};
use uard_linalg::matmul::Matmul;

use super::batch::CaptionBatch;
use super::{composed, operator};
use crate::Result;

/// An embedding and a bidirectional GRU layer.
///
/// # Shapes
/// `embedding` [V, E].
#[derive(Debug, Clone)]
pub struct Recurrence {
    /// A row for each word of the vocabulary.
    pub embedding: Tensor,
    /// Reads from the first word to the last.
    pub forward: Direction,
    /// Reads from the last word to the first.
    pub reverse: Direction,
    /// Numbers of the operator's products.
    pub matmul: Matmul,
}

/// The parameters of one direction; gates in the order r, z, n.
#[derive(Debug, Clone)]
pub struct Direction {
    /// Of words, [3H, E].
    pub weight_ih: Tensor,
    /// Of states, [3H, H].
    pub weight_hh: Tensor,
    /// Beside the words, `[3H]`.
    pub bias_ih: Tensor,
    /// Beside the states, `[3H]`.
    pub bias_hh: Tensor,
}

impl Recurrence {
    /// The average of both directions' states: our operator on the CPU, candle's operations
    /// elsewhere, with fused steps on CUDA.
    ///
    /// # Shapes
    /// The result is [C, W, H]; padding rows are zero.
    ///
    /// # Errors
    /// When an id is not in the vocabulary, the shapes do not fit each other, or a tensor operation
    /// fails.
    pub fn average(&self, batch: &CaptionBatch) -> Result<Tensor> {
        match self.embedding.device() {
            Device::Cpu => operator::average(self, batch),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) if self.embedding.dtype() == candle_core::DType::F32 => {
                composed::fused_average(self, batch)
            }
            _ => composed::average(self, batch),
        }
    }

    /// Rows V of the embedding.
    pub(super) fn vocabulary(&self) -> Result<usize> {
        Ok(self.embedding.dim(0)?)
    }

    /// The joint width H.
    pub(super) fn width(&self) -> Result<usize> {
        Ok(self.forward.weight_hh.dim(1)?)
    }

    /// Every parameter: the embedding, then those of both directions, kind by kind.
    pub(super) fn tensors(&self) -> [&Tensor; 9] {
        let (left, right) = (&self.forward, &self.reverse);
        [
            &self.embedding,
            &left.weight_ih,
            &right.weight_ih,
            &left.weight_hh,
            &right.weight_hh,
            &left.bias_ih,
            &left.bias_hh,
            &right.bias_ih,
            &right.bias_hh,
        ]
    }

    /// A recurrence of the given parameters.
    #[cfg(test)]
    pub(super) fn from_tensors(tensors: [Tensor; 9], matmul: Matmul) -> Self {
        let [
            embedding,
            left_ih,
            right_ih,
            left_hh,
            right_hh,
            left_bias_ih,
            left_bias_hh,
            right_bias_ih,
            right_bias_hh,
        ] = tensors;
        Self {
            embedding,
            forward: Direction {
                weight_ih: left_ih,
                weight_hh: left_hh,
                bias_ih: left_bias_ih,
                bias_hh: left_bias_hh,
            },
            reverse: Direction {
                weight_ih: right_ih,
                weight_hh: right_hh,
                bias_ih: right_bias_ih,
                bias_hh: right_bias_hh,
            },
            matmul,
        }
    }
}
