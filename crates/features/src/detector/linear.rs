//! How are the features of regions multiplied? A linear layer is a convolution of single pixels.

use crate::Result;
use crate::backbone::{After, Convolution, Kernel, Maps, Number, Window};
use uard_hub::weights::Weights;

const POINT: Window = Window::square(1, 1, 0);

/// `out = after(weight x + bias)`.
#[derive(Debug)]
pub struct Linear<T> {
    layer: Convolution<T>,
}

impl<T: Number> Linear<T> {
    /// Of `{name}.weight` [O, F] and `{name}.bias` `[O]`, for (O, F).
    pub fn read(
        weights: &Weights,
        name: &str,
        (outputs, inputs): (usize, usize),
        after: After,
    ) -> Result<Self> {
        Self::over_maps(weights, name, (outputs, [1, 1, inputs]), after)
    }

    /// The same for small maps of height, width and channels as they lie here, of a weight whose
    /// inputs are in PyTorch's order: channels, rows, columns.
    pub fn over_maps(
        weights: &Weights,
        name: &str,
        (outputs, [height, width, channels]): (usize, [usize; 3]),
        after: After,
    ) -> Result<Self> {
        let (pixels, inputs) = (height * width, height * width * channels);
        let stored = weights.numbers(&format!("{name}.weight"), &[outputs, inputs])?;
        let mut values = vec![0.0; stored.len()];
        for (out, row) in values
            .chunks_exact_mut(inputs)
            .zip(stored.chunks_exact(inputs))
        {
            for (at, value) in out.iter_mut().enumerate() {
                *value = row[at % channels * pixels + at / channels];
            }
        }
        let kernel = Kernel {
            values,
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
    pub fn forward(&self, rows: Vec<T>) -> Vec<T> {
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
    fn inputs_are_taken_from_pytorch_s_order() {
        let weights = Weights::drawn(Draws::new(4));
        let (outputs, shape) = (3, [2, 2, 5]);
        let layer = Linear::<f32>::over_maps(&weights, "fc", (outputs, shape), After::Nothing);
        let map: Vec<f32> = (0..20).map(|x| x as f32 / 7.0 - 1.0).collect();
        let found = layer.unwrap().forward(map.clone());
        let stored = weights.numbers("fc.weight", &[3, 20]).unwrap();
        for (found, row) in found.iter().zip(stored.chunks(20)) {
            let products = (0..20).map(|at| row[at] * map[at % 4 * 5 + at / 4]);
            assert!((found - products.sum::<f32>()).abs() < 1e-5);
        }
        let none = Linear::<f32>::read(&weights, "fc", (3, 20), After::Nothing);
        assert!(none.unwrap().forward(Vec::new()).is_empty());
    }
}
