//! Gives candle-transformers the tensors it asks for from a file that [`Weights`] has read and
//! checked, by the names that published files have.

use std::sync::OnceLock;

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::SimpleBackend;

use super::families::Family;
use crate::Error;
use uard_hub::weights::Weights;

/// Where the numbers of a tensor are that candle-transformers asks for.
pub(super) enum Origin {
    /// In the file.
    File,
    /// Nowhere: the network of this size has no such part.
    Absent,
    /// Nowhere: zeros, for a part that nobody runs, such as a classifier.
    NotRun,
    /// In a formula, by the shape that is asked for.
    Made(fn(&[usize]) -> Vec<f32>),
}

/// What candle-transformers reads a network from.
pub(super) struct Tensors<'a> {
    pub weights: &'a Weights,
    /// Before every name of the file.
    pub prefix: &'static str,
    pub family: Family,
    /// The first tensor that was refused. Kept here because candle-transformers passes over some
    /// errors, taking a tensor that cannot be read for a part that the network does not have.
    pub refused: &'a OnceLock<Error>,
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
            Origin::File => {
                let stored = format!("{}{name}", self.prefix);
                self.weights.numbers(&stored, shape)
            }
            Origin::NotRun => Ok(vec![0.0; shape.iter().product()]),
            Origin::Made(make) => Ok(make(shape)),
            Origin::Absent => candle_core::bail!("the network has no tensor `{name}`"),
        };
        let numbers = numbers.map_err(|error| {
            let cause = candle_core::Error::msg(&error);
            // An earlier error stays.
            let _ = self.refused.set(error.into());
            cause
        });
        Tensor::from_vec(numbers?, shape, device)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("tensor `{name}` was asked for without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        !matches!(self.family.origin(name), Origin::Absent)
    }
}
