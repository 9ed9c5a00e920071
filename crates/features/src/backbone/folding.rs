//! How do weights in the names of PyTorch become a convolution? With the batch norm after it folded
//! in.

use super::convolution::Kernel;
use crate::Result;
use uard_hub::weights::Weights;

/// What a convolution is called, and the batch norm after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub convolution: &'a str,
    pub norm: &'a str,
}

impl Kernel {
    /// A convolution of output and input channels and a window of (height, width), with the batch
    /// norm after it folded in, in f64.
    ///
    /// ```text
    /// scale = weight / sqrt(running_var + epsilon)
    /// kernel' = kernel scale,  bias' = (bias - running_mean) scale + norm bias
    /// ```
    ///
    /// A file that holds no batch norm holds a bias: it was folded by whoever wrote it.
    pub(crate) fn folded(
        weights: &Weights,
        names: Names<'_>,
        (outputs, inputs): (usize, usize),
        (height, width): (usize, usize),
        epsilon: f64,
    ) -> Result<Kernel> {
        let shape = [outputs, inputs, height, width];
        let values = weights.numbers(&format!("{}.weight", names.convolution), &shape)?;
        let kernel = |values, bias| Self {
            values,
            channels: (outputs, inputs),
            bias,
        };
        let bias = format!("{}.bias", names.convolution);
        let own = match weights.has(&bias) {
            true => Some(weights.numbers(&bias, &[outputs])?),
            false => None,
        };
        let norm = |part: &str| format!("{}.{part}", names.norm);
        if let Some(own) = &own
            && !weights.has(&norm("running_var"))
        {
            return Ok(kernel(values, own.clone()));
        }
        let part = |part| weights.numbers(&norm(part), &[outputs]);
        let (weight, variance) = (part("weight")?, part("running_var")?);
        let (shift, mean) = (part("bias")?, part("running_mean")?);
        let scales = weight.iter().zip(&variance);
        let scales = scales.map(|(w, v)| f64::from(*w) / (f64::from(*v) + epsilon).sqrt());
        let scales: Vec<f64> = scales.collect();
        let own = own.unwrap_or_else(|| vec![0.0; outputs]);
        let biases = (0..outputs).map(|at| {
            let centred = f64::from(own[at]) - f64::from(mean[at]);
            (centred * scales[at] + f64::from(shift[at])) as f32
        });
        let count = inputs * height * width;
        let folded = values.iter().enumerate();
        let folded = folded.map(|(at, value)| (f64::from(*value) * scales[at / count]) as f32);
        Ok(kernel(folded.collect(), biases.collect()))
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    const NAMES: Names<'_> = Names {
        convolution: "conv",
        norm: "bn",
    };

    fn file(tensors: &[(&str, &[usize], &[f32])]) -> Weights {
        let stored: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .iter()
            .map(|(name, shape, values)| {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes());
                ((*name).to_owned(), shape.to_vec(), bytes.collect())
            })
            .collect();
        let views = stored.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
            (name.as_str(), view)
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        Weights::from_bytes("file", bytes).unwrap()
    }

    const KERNEL: (&str, &[usize], &[f32]) = ("conv.weight", &[2, 1, 1, 1], &[3.0, 5.0]);
    const NORM: [(&str, &[usize], &[f32]); 4] = [
        ("bn.weight", &[2], &[2.0, 1.0]),
        ("bn.bias", &[2], &[0.5, 0.0]),
        ("bn.running_mean", &[2], &[1.0, -2.0]),
        ("bn.running_var", &[2], &[3.0, 0.0]),
    ];

    #[test]
    fn batch_norm_is_folded_with_its_epsilon() {
        let [weight, bias, mean, variance] = NORM;
        let weights = file(&[KERNEL, weight, bias, mean, variance]);
        let kernel = Kernel::folded(&weights, NAMES, (2, 1), (1, 1), 1.0).unwrap();
        assert_eq!(kernel.values, [3.0, 5.0]);
        assert_eq!(kernel.bias, [-0.5, 2.0]);
    }

    #[test]
    fn a_bias_alone_was_folded_already() {
        let weights = file(&[KERNEL, ("conv.bias", &[2], &[7.0, 8.0])]);
        let kernel = Kernel::folded(&weights, NAMES, (2, 1), (1, 1), 1.0).unwrap();
        assert_eq!(
            (kernel.values, kernel.bias),
            (vec![3.0, 5.0], vec![7.0, 8.0])
        );
    }

    #[test]
    fn what_is_missing_or_of_another_shape_is_named() {
        let [weight, bias, mean, _] = NORM;
        let weights = file(&[KERNEL, weight, bias, mean]);
        let message = |outputs| {
            let found = Kernel::folded(&weights, NAMES, (outputs, 1), (1, 1), 1.0);
            found.unwrap_err().to_string()
        };
        assert!(message(2).contains("bn.running_var"), "{}", message(2));
        assert!(message(3).contains("(3, 1, 1, 1)"), "{}", message(3));
        assert!(message(3).contains("(2, 1, 1, 1)"), "{}", message(3));
        let cut = Weights::from_bytes("cut", vec![1, 2, 3]);
        assert!(cut.unwrap_err().to_string().contains("cut"));
    }
}
