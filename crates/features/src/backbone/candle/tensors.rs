//! The tensors from which candle-transformers builds a network, by name: read and checked by
//! [`Weights`], or made here.

use std::sync::OnceLock;

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::SimpleBackend;

use super::families::Family;
use crate::Error;
use uard_hub::weights::Weights;

/// Where the numbers of a tensor come from.
pub(super) enum TensorOrigin {
    /// The file of weights.
    File,
    /// Nowhere: a network of this size has no such tensor.
    Absent,
    /// Zeros, for a layer that is never run, such as a classifier.
    NotRun,
    /// A function of the tensor's shape.
    Computed(fn(&[usize]) -> Vec<f32>),
}

/// The tensors of a network.
pub(super) struct Tensors<'a> {
    pub weights: &'a Weights,
    /// What every name in the file begins with.
    pub prefix: &'static str,
    pub family: Family,
    /// The first error. It is kept here because candle-transformers ignores some errors: it treats
    /// a tensor that cannot be read as one that the network does not have.
    pub first_error: &'a OnceLock<Error>,
}

impl SimpleBackend for Tensors<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let shape = shape.dims();
        let numbers = match self.family.origin(name) {
            TensorOrigin::File => {
                let stored = format!("{}{name}", self.prefix);
                self.weights.numbers(&stored, shape)
            }
            TensorOrigin::NotRun => Ok(vec![0.0; shape.iter().product()]),
            TensorOrigin::Computed(numbers) => Ok(numbers(shape)),
            TensorOrigin::Absent => candle_core::bail!("the network has no tensor `{name}`"),
        };
        let numbers = numbers.map_err(|error| {
            let cause = candle_core::Error::msg(&error);
            // Fails if there is an earlier error, which is the one to keep.
            let _ = self.first_error.set(error.into());
            cause
        });
        Tensor::from_vec(numbers?, shape, device)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("tensor `{name}` is requested without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        !matches!(self.family.origin(name), TensorOrigin::Absent)
    }
}
