//! How are the features of regions multiplied? A linear layer is a convolution of single pixels.

use crate::Result;
use crate::backbone::{After, Convolution, Kernel, Maps, Number, Window};
use uard_hub::weights::Weights;

const POINT: Window = Window::square(1, 1, 0);

/// `out = after(weight x + bias)`.
#[derive(Debug)]
pub struct Linear {
    layer: Convolution<f32>,
}

impl Linear {
    /// Of `{name}.weight` [O, F] and `{name}.bias` `[O]`, for (O, F).
    pub fn read(
        weights: &Weights,
        name: &str,
        (outputs, inputs): (usize, usize),
        after: After,
    ) -> Result<Self> {
        let kernel = Kernel {
            values: weights.numbers(&format!("{name}.weight"), &[outputs, inputs])?,
            channels: (outputs, inputs),
            bias: weights.numbers(&format!("{name}.bias"), &[outputs])?,
        };
        Ok(Self {
            layer: Convolution::new(&kernel, POINT, after),
        })
    }

    /// Of rows of F numbers; none of none.
    ///
    /// # Shapes
    /// `rows` [R, F]; returns [R, O].
    pub fn forward(&self, rows: Vec<f32>) -> Vec<f32> {
        if rows.is_empty() {
            return rows;
        }
        let width = self.layer.inputs();
        let shape = [1, 1, rows.len() / width, width];
        self.layer.forward(&Maps::new(rows, shape)).into_values()
    }
}

/// A convolution with a bias and no batch norm, of `{name}.weight` and `{name}.bias`.
pub fn convolution<T: Number>(
    weights: &Weights,
    name: &str,
    (outputs, inputs): (usize, usize),
    window: Window,
    after: After,
) -> Result<Convolution<T>> {
    let shape = [outputs, inputs, window.kernel.0, window.kernel.1];
    let kernel = Kernel {
        values: weights.numbers(&format!("{name}.weight"), &shape)?,
        channels: (outputs, inputs),
        bias: weights.numbers(&format!("{name}.bias"), &[outputs])?,
    };
    Ok(Convolution::new(&kernel, window, after))
}

#[cfg(test)]
mod tests {
    use uard_core::random::Draws;

    use super::*;

    #[test]
    fn rows_are_multiplied_and_none_give_none() {
        let weights = Weights::drawn(Draws::new(4));
        let layer = Linear::read(&weights, "fc", (3, 20), After::Nothing).unwrap();
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
