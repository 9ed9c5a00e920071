//! Linear layers and convolutions with a bias and without a batch norm. A linear layer is a 1 x 1
//! convolution.

use crate::Result;
use crate::backbone::{Channels, Convolution, Kernel, Maps, Nonlinearity, Number, Window};
use uard_hub::weights::Weights;

const POINT: Window = Window::square(1, 1, 0);

/// `out = nonlinearity(weight x + bias)`.
#[derive(Debug)]
pub struct Linear {
    layer: Convolution<f32>,
}

impl Linear {
    /// Reads `{name}.weight` [O, F] and `{name}.bias` `[O]`.
    pub fn read(
        weights: &Weights,
        name: &str,
        channels: Channels,
        nonlinearity: Nonlinearity,
    ) -> Result<Self> {
        let Channels { outputs, inputs } = channels;
        let kernel = Kernel {
            values: weights.numbers(&format!("{name}.weight"), &[outputs, inputs])?,
            channels,
            bias: weights.numbers(&format!("{name}.bias"), &[outputs])?,
        };
        Ok(Self {
            layer: Convolution::new(&kernel, POINT, nonlinearity),
        })
    }

    /// Applies the layer to each row.
    ///
    /// # Shapes
    /// `rows` [R, F]; returns [R, O]. R may be zero.
    pub fn forward(&self, rows: Vec<f32>) -> Vec<f32> {
        if rows.is_empty() {
            return rows;
        }
        let width = self.layer.inputs();
        let shape = [1, 1, rows.len() / width, width];
        self.layer.forward(&Maps::new(rows, shape)).into_values()
    }
}

/// Reads a convolution of `{name}.weight` [O, F, KH, KW] and `{name}.bias` `[O]`.
pub fn convolution<T: Number>(
    weights: &Weights,
    name: &str,
    channels: Channels,
    window: Window,
    nonlinearity: Nonlinearity,
) -> Result<Convolution<T>> {
    let Channels { outputs, inputs } = channels;
    let shape = [outputs, inputs, window.kernel.height, window.kernel.width];
    let kernel = Kernel {
        values: weights.numbers(&format!("{name}.weight"), &shape)?,
        channels,
        bias: weights.numbers(&format!("{name}.bias"), &[outputs])?,
    };
    Ok(Convolution::new(&kernel, window, nonlinearity))
}

#[cfg(test)]
mod tests {
    use uard_core::random::Draws;

    use super::*;

    #[test]
    fn rows_are_multiplied_and_no_rows_give_no_rows() {
        let weights = Weights::drawn(Draws::new(4));
        let channels = Channels {
            outputs: 3,
            inputs: 20,
        };
        let layer = Linear::read(&weights, "fc", channels, Nonlinearity::Identity).unwrap();
        let row: Vec<f32> = (0..20).map(|x| x as f32 / 7.0 - 1.0).collect();
        let found = layer.forward(row.clone());
        let stored = weights.numbers("fc.weight", &[3, 20]).unwrap();
        for (found, weights) in found.iter().zip(stored.chunks(20)) {
            let products = weights.iter().zip(&row).map(|(a, b)| a * b);
            assert!((found - products.sum::<f32>()).abs() < 1e-5);
        }
        assert!(layer.forward(Vec::new()).is_empty());
    }
}
