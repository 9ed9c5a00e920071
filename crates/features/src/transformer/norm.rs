//! What brings the numbers of each row to a learned mean and spread? A layer norm of a published
//! model.

use candle_core::Tensor;
use uard_core::layer_norm::layer_norm;

use super::initial::Make;
use crate::Result;

/// A layer norm with its learned spread and mean, by PyTorch's names.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Norm {
    /// Of rows of a width, with the number that is added to the variance.
    pub(crate) fn make(
        make: &mut Make,
        name: &str,
        (width, epsilon): (usize, f64),
    ) -> Result<Self> {
        Ok(Self {
            weight: make(&format!("{name}.weight"), &[width])?,
            bias: make(&format!("{name}.bias"), &[width])?,
            epsilon,
        })
    }

    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(layer_norm(rows, (&self.weight, &self.bias), self.epsilon)?)
    }
}
