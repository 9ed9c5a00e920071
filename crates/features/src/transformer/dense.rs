//! Linear layers, layer norms, and the feed-forward part of a transformer: the layers that compute
//! each row on its own.

use candle_core::Tensor;
use uard_core::layer_norm::layer_norm;
use uard_core::linear::linear;
use uard_linalg::matmul::Matmul;

use super::MakeTensor;
use super::activation::Activation;
use crate::Result;

/// A linear layer, by PyTorch's names.
#[derive(Debug, Clone)]
pub(crate) struct Dense {
    weight: Tensor,
    bias: Tensor,
}

impl Dense {
    /// Takes the tensors `{name}.weight` of this shape, [D, F], and `{name}.bias`, `[D]`.
    pub(crate) fn make(make: &mut MakeTensor, name: &str, shape: [usize; 2]) -> Result<Self> {
        Ok(Self {
            weight: make(&format!("{name}.weight"), &shape)?,
            bias: make(&format!("{name}.bias"), &shape[..1])?,
        })
    }

    /// A layer with a weight [D, F] and no bias.
    pub(crate) fn unbiased(weight: Tensor) -> Result<Self> {
        let bias = Tensor::zeros(weight.dim(0)?, weight.dtype(), weight.device())?;
        Ok(Self { weight, bias })
    }

    /// A layer with a weight [D, F] and a bias `[D]`.
    pub(crate) fn new(weight: Tensor, bias: Tensor) -> Self {
        Self { weight, bias }
    }

    pub(crate) fn forward(&self, rows: &Tensor, matmul: Matmul) -> Result<Tensor> {
        Ok(linear(rows, &self.weight, &self.bias, matmul)?)
    }
}

/// A layer norm with its learned scale and shift, by PyTorch's names.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Norm {
    /// Takes the tensors `{name}.weight` and `{name}.bias`, `[width]` each; `epsilon` is added to the
    /// variance.
    pub(crate) fn make(
        make: &mut MakeTensor,
        name: &str,
        width: usize,
        epsilon: f64,
    ) -> Result<Self> {
        Ok(Self {
            weight: make(&format!("{name}.weight"), &[width])?,
            bias: make(&format!("{name}.bias"), &[width])?,
            epsilon,
        })
    }

    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(layer_norm(rows, &self.weight, &self.bias, self.epsilon)?)
    }
}

/// Two linear layers with an activation between them.
///
/// ```text
/// y = output(act(inside(x)))          gated: y = output(act(a) b), where [a, b] = inside(x)
/// ```
#[derive(Debug, Clone)]
pub(super) struct FeedForward {
    pub(super) inside: Dense,
    pub(super) activation: Activation,
    /// The inner width of the gated form, whose first layer computes twice as many numbers: the
    /// gates, and the numbers that they multiply.
    pub(super) gated: Option<usize>,
    pub(super) output: Dense,
}

impl FeedForward {
    pub(super) fn forward(&self, rows: &Tensor, matmul: Matmul) -> Result<Tensor> {
        let inside = self.inside.forward(rows, matmul)?;
        let inside = match self.gated {
            None => self.activation.forward(&inside)?,
            Some(width) => {
                let gates = self.activation.forward(&inside.narrow(1, 0, width)?)?;
                (gates * inside.narrow(1, width, width)?)?
            }
        };
        self.output.forward(&inside, matmul)
    }
}
