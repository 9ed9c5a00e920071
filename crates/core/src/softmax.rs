//! Softmax with a mask, whose weights are zero in a row that the mask hides completely.

use candle_core::{D, Tensor};

use crate::Result;

/// Softmax over the cells of the last axis whose mask is 1. A row without such a cell becomes zeros.
///
/// ```text
/// w_j = m_j exp(x_j - max) / sum_k m_k exp(x_k - max)
/// ```
///
/// # Shapes
/// `logits`, `mask` [.., N], the same shape and dtype; mask holds 0 or 1.
///
/// Unlike `candle_nn::ops::softmax_last_dim` it has a gradient. With logits of -inf in place of a mask,
/// an empty row would be NaN.
///
/// # Errors
/// When shapes differ.
pub fn masked_softmax(logits: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let shift = logits.max_keepdim(D::Minus1)?.detach();
    let exponentials = (logits.broadcast_sub(&shift)?.exp()? * mask)?;
    let sum = exponentials.sum_keepdim(D::Minus1)?;
    // The sum of an empty row is 0: adding 1 keeps its value and gradient at zero. To other sums 0 is
    // added, which changes nothing.
    let addend = sum.eq(0f64)?.to_dtype(sum.dtype())?;
    Ok(exponentials.broadcast_div(&(sum + addend)?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn empty_row_gives_zero_weights() {
        let logits = Tensor::new(&[[1f32, 2.0], [0.0, 0.0]], &Device::Cpu).unwrap();
        let mask = Tensor::new(&[[0f32, 0.0], [1.0, 1.0]], &Device::Cpu).unwrap();
        let weights = masked_softmax(&logits, &mask)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap();
        assert_eq!(weights, [[0.0, 0.0], [0.5, 0.5]]);
    }

    #[test]
    fn gradient_matches_finite_differences() {
        let logits = Var::new(&[[0.3f64, -0.4, 0.9], [1.0, 0.2, 0.1]], &Device::Cpu).unwrap();
        let mask = Tensor::new(&[[1f64, 0.0, 1.0], [0.0, 0.0, 0.0]], &Device::Cpu).unwrap();
        let target = Tensor::new(&[[0.5f64, 1.0, -0.3], [0.2, 0.2, 0.7]], &Device::Cpu).unwrap();
        uard_testkit::assert_gradients(
            |inputs| {
                let weights =
                    masked_softmax(&inputs[0], &mask).map_err(candle_core::Error::wrap)?;
                (weights * &target)?.sum_all()
            },
            &[logits],
            1e-7,
        );
    }
}
