//! Reads a convolution's kernel and bias and folds the batch norm after it into them.

use super::convolution::{Channels, Kernel};
use super::maps::Size;
use crate::Result;
use uard_hub::weights::Weights;

/// The names of a convolution and of the batch norm after it, without `.weight` and the like.
#[derive(Debug)]
pub(crate) struct ConvolutionNames {
    pub convolution: String,
    pub norm: String,
}

impl Kernel {
    /// Reads a convolution and folds the batch norm after it into it, in f64. `size` is the height
    /// and width of the kernel.
    ///
    /// ```text
    /// scale = weight / sqrt(running_var + epsilon)
    /// kernel' = kernel scale,  bias' = (bias - running_mean) scale + norm bias
    /// ```
    ///
    /// In a file with a bias and without a batch norm, the batch norm is already folded in.
    pub(crate) fn folded(
        weights: &Weights,
        names: &ConvolutionNames,
        channels: Channels,
        size: Size,
        epsilon: f64,
    ) -> Result<Kernel> {
        let Channels { outputs, inputs } = channels;
        let shape = [outputs, inputs, size.height, size.width];
        let values = weights.numbers(&format!("{}.weight", names.convolution), &shape)?;
        let kernel = |values, bias| Self {
            values,
            channels,
            bias,
        };
        let bias = format!("{}.bias", names.convolution);
        let stored_bias = match weights.has(&bias) {
            true => Some(weights.numbers(&bias, &[outputs])?),
            false => None,
        };
        let norm = |part: &str| format!("{}.{part}", names.norm);
        if let Some(bias) = &stored_bias
            && !weights.has(&norm("running_var"))
        {
            return Ok(kernel(values, bias.clone()));
        }
        let read = |part| weights.numbers(&norm(part), &[outputs]);
        let (weight, variance) = (read("weight")?, read("running_var")?);
        let (norm_bias, mean) = (read("bias")?, read("running_mean")?);
        let scales = weight.iter().zip(&variance);
        let scales = scales.map(|(w, v)| f64::from(*w) / (f64::from(*v) + epsilon).sqrt());
        let scales: Vec<f64> = scales.collect();
        let bias = stored_bias.unwrap_or_else(|| vec![0.0; outputs]);
        let biases = (0..outputs).map(|at| {
            let centred = f64::from(bias[at]) - f64::from(mean[at]);
            (centred * scales[at] + f64::from(norm_bias[at])) as f32
        });
        let count = inputs * size.area();
        let folded = values.iter().enumerate();
        let folded = folded.map(|(at, value)| (f64::from(*value) * scales[at / count]) as f32);
        Ok(kernel(folded.collect(), biases.collect()))
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    /// The folded kernel of `conv` and `bn`, [outputs, 1, 1, 1], with an epsilon of 1.
    fn folded(weights: &Weights, outputs: usize) -> Result<Kernel> {
        let names = ConvolutionNames {
            convolution: "conv".to_owned(),
            norm: "bn".to_owned(),
        };
        let channels = Channels { outputs, inputs: 1 };
        Kernel::folded(weights, &names, channels, Size::square(1), 1.0)
    }

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
        opened("file", bytes).unwrap()
    }

    fn opened(name: &str, bytes: Vec<u8>) -> uard_hub::Result<Weights> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Weights::open(&path)
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
        let kernel = folded(&weights, 2).unwrap();
        assert_eq!(kernel.values, [3.0, 5.0]);
        assert_eq!(kernel.bias, [-0.5, 2.0]);
    }

    #[test]
    fn a_bias_without_a_batch_norm_is_read_as_it_is() {
        let weights = file(&[KERNEL, ("conv.bias", &[2], &[7.0, 8.0])]);
        let kernel = folded(&weights, 2).unwrap();
        assert_eq!(
            (kernel.values, kernel.bias),
            (vec![3.0, 5.0], vec![7.0, 8.0])
        );
    }

    #[test]
    fn a_missing_tensor_and_one_of_another_shape_are_named() {
        let [weight, bias, mean, _] = NORM;
        let weights = file(&[KERNEL, weight, bias, mean]);
        let message = |outputs| folded(&weights, outputs).unwrap_err().to_string();
        assert!(message(2).contains("bn.running_var"), "{}", message(2));
        assert!(message(3).contains("(3, 1, 1, 1)"), "{}", message(3));
        assert!(message(3).contains("(2, 1, 1, 1)"), "{}", message(3));
        let cut = opened("cut", vec![1, 2, 3]);
        assert!(cut.unwrap_err().to_string().contains("cut"));
    }
}
