//! Where do the numbers of a backbone come from? From safetensors in the names of PyTorch, with
//! batch norm folded into the convolutions before it.

use std::fmt;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use uard_core::random::{Draws, uniform};

use super::convolution::Kernel;
use crate::{Error, Result};

/// Bytes before the header of a safetensors file: its length.
const LENGTH_BYTES: usize = 8;

/// The weights of a network, by name.
pub struct Weights {
    origin: String,
    source: Source,
}

enum Source {
    Stored {
        metadata: Metadata,
        bytes: Vec<u8>,
        /// Where the numbers begin.
        first: usize,
    },
    Drawn(Draws),
}

/// What a convolution is called, and the batch norm after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub convolution: &'a str,
    pub norm: &'a str,
}

impl fmt::Debug for Weights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Weights({})", self.origin)
    }
}

impl Weights {
    /// Reads a safetensors file of f32, f16, bf16 or f64.
    ///
    /// # Errors
    /// When it cannot be read, or is no safetensors file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
        Self::from_bytes(path.display().to_string(), bytes)
    }

    /// The bytes of a safetensors file; messages name `origin`.
    ///
    /// # Errors
    /// When they are not those of a safetensors file.
    pub fn from_bytes(origin: String, bytes: Vec<u8>) -> Result<Self> {
        let checked = SafeTensors::deserialize(&bytes);
        let read = checked.and_then(|_| SafeTensors::read_metadata(&bytes));
        match read {
            Ok((header, metadata)) => Ok(Self {
                origin,
                source: Source::Stored {
                    metadata,
                    first: LENGTH_BYTES + header,
                    bytes,
                },
            }),
            Err(error) => Err(Error::UnreadableWeights {
                origin,
                cause: error.to_string(),
            }),
        }
    }

    /// Drawn numbers for every name and shape that is asked for: kernels uniform in ±√(6/inputs of
    /// a sum), which keeps the size of what flows through ReLU, and biases of zero. For tests and
    /// benches of sizes; such a network knows nothing.
    pub fn drawn(draws: Draws) -> Self {
        Self {
            origin: "drawn weights".to_owned(),
            source: Source::Drawn(draws),
        }
    }

    /// A convolution of output and input channels and a window of (height, width), with the batch
    /// norm after it folded in, in f64.
    ///
    /// ```text
    /// scale = weight / sqrt(running_var + epsilon)
    /// kernel' = kernel scale,  bias' = (bias - running_mean) scale + norm bias
    /// ```
    ///
    /// A file that holds no batch norm holds a bias: it was folded by whoever wrote it.
    pub(crate) fn convolution(
        &self,
        names: Names<'_>,
        (outputs, inputs): (usize, usize),
        (height, width): (usize, usize),
        epsilon: f64,
    ) -> Result<Kernel> {
        let shape = [outputs, inputs, height, width];
        let values = self.tensor(&format!("{}.weight", names.convolution), &shape)?;
        let kernel = |values, bias| Kernel {
            values,
            channels: (outputs, inputs),
            bias,
        };
        if let Source::Drawn(_) = self.source {
            return Ok(kernel(values, vec![0.0; outputs]));
        }
        let bias = format!("{}.bias", names.convolution);
        let own = match self.has(&bias) {
            true => Some(self.tensor(&bias, &[outputs])?),
            false => None,
        };
        let norm = |part: &str| format!("{}.{part}", names.norm);
        if let Some(own) = &own
            && !self.has(&norm("running_var"))
        {
            return Ok(kernel(values, own.clone()));
        }
        let part = |part| self.tensor(&norm(part), &[outputs]);
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

    fn has(&self, name: &str) -> bool {
        match &self.source {
            Source::Stored { metadata, .. } => metadata.info(name).is_some(),
            Source::Drawn(_) => true,
        }
    }

    /// A tensor of a shape, as f32.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (metadata, bytes, first) = match &self.source {
            Source::Drawn(draws) => return Ok(drawn(draws, name, shape)),
            Source::Stored {
                metadata,
                bytes,
                first,
            } => (metadata, bytes, *first),
        };
        let info = metadata.info(name).ok_or_else(|| Error::MissingWeight {
            origin: self.origin.clone(),
            name: name.to_owned(),
        })?;
        if info.shape != shape {
            return Err(Error::WeightShape {
                origin: self.origin.clone(),
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: info.shape.clone(),
            });
        }
        let (start, end) = info.data_offsets;
        let bytes = &bytes[first + start..first + end];
        numbers(info.dtype, bytes).ok_or_else(|| Error::WeightType {
            origin: self.origin.clone(),
            name: name.to_owned(),
            found: format!("{:?}", info.dtype),
        })
    }
}

/// Numbers of a file as f32; `None` where they are no floating-point numbers that are known.
fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let halves = bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    Some(match dtype {
        Dtype::F16 => halves.map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::BF16 => halves.map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
        Dtype::F32 => {
            let words = bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            words.map(f32::from_le_bytes).collect()
        }
        Dtype::F64 => {
            let doubles = bytes
                .chunks_exact(8)
                .map(|b| std::array::from_fn(|at| b[at]));
            doubles.map(|b| f64::from_le_bytes(b) as f32).collect()
        }
        _ => return None,
    })
}

fn drawn(draws: &Draws, name: &str, shape: &[usize]) -> Vec<f32> {
    let inputs: usize = shape.iter().skip(1).product();
    let bound = (6.0 / inputs as f32).sqrt();
    let count = shape.iter().product();
    uniform(&mut draws.stream(name, &[]), -bound, bound, count)
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

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
        Weights::from_bytes("file".to_owned(), bytes).unwrap()
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
        let kernel = weights.convolution(NAMES, (2, 1), (1, 1), 1.0).unwrap();
        assert_eq!(kernel.values, [3.0, 5.0]);
        assert_eq!(kernel.bias, [-0.5, 2.0]);
    }

    #[test]
    fn a_bias_alone_was_folded_already() {
        let weights = file(&[KERNEL, ("conv.bias", &[2], &[7.0, 8.0])]);
        let kernel = weights.convolution(NAMES, (2, 1), (1, 1), 1.0).unwrap();
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
            let found = weights.convolution(NAMES, (outputs, 1), (1, 1), 1.0);
            found.unwrap_err().to_string()
        };
        assert!(message(2).contains("bn.running_var"), "{}", message(2));
        assert!(message(3).contains("(3, 1, 1, 1)"), "{}", message(3));
        assert!(message(3).contains("(2, 1, 1, 1)"), "{}", message(3));
        let cut = Weights::from_bytes("cut".to_owned(), vec![1, 2, 3]);
        assert!(cut.unwrap_err().to_string().contains("cut"));
    }

    #[test]
    fn every_type_of_number_is_read() {
        assert_eq!(numbers(Dtype::F16, &[0, 0x3c]), Some(vec![1.0]));
        assert_eq!(numbers(Dtype::BF16, &[0x80, 0x3f]), Some(vec![1.0]));
        assert_eq!(numbers(Dtype::F64, &1.5_f64.to_le_bytes()), Some(vec![1.5]));
        assert_eq!(numbers(Dtype::I32, &[0; 4]), None);
    }
}
