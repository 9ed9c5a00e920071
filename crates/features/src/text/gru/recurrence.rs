//! What does the recurrence of both directions need, and which form of it runs?

use candle_core::{Device, Tensor};

use super::schedule::Schedule;
use super::{composed, operator};
use crate::Result;

/// The tensors of a bidirectional GRU layer after the products with the words.
///
/// # Shapes
/// - `products` [N, 6H]: `W_ih x` of each valid word in caption order, the forward direction's
///   gates r, z, n and then the reverse direction's
/// - `weights` [2, 3H, H]: `W_hh` of the forward and the reverse direction
/// - `biases` [4, 3H]: `b_ih`, `b_hh` of the forward and then of the reverse direction
#[derive(Debug, Clone)]
pub struct Recurrence {
    /// Products of the words.
    pub products: Tensor,
    /// Weights of the states.
    pub weights: Tensor,
    /// Biases of both kinds.
    pub biases: Tensor,
}

impl Recurrence {
    /// The average of both directions' states: our operator on the CPU, candle's operations
    /// elsewhere.
    ///
    /// # Shapes
    /// The result is [C, W, H]; padding rows are zero.
    ///
    /// # Errors
    /// When the shapes do not fit the schedule, or a tensor operation fails.
    pub fn average(&self, schedule: &Schedule) -> Result<Tensor> {
        match self.products.device() {
            Device::Cpu => operator::average(self, schedule),
            _ => composed::average(self, schedule),
        }
    }

    /// The joint width H.
    pub(super) fn width(&self) -> Result<usize> {
        Ok(self.weights.dim(2)?)
    }
}
