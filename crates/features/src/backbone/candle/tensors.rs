//! The tensors that candle-transformers asks for, from our weights: with their checks, under the
//! names that published files have.

use std::sync::OnceLock;

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::Init;
use candle_nn::var_builder::SimpleBackend;

use crate::{Error, Result};
use uard_hub::weights::Weights;

/// Where the numbers of a tensor are, by the name that candle-transformers asks for.
pub(super) enum Origin {
    /// In the file, under that name.
    File,
    /// In the file, under another name.
    Renamed(String),
    /// Nowhere: the network of this size has no such part.
    Absent,
    /// Nowhere: zeros, for a part that nobody runs, such as a classifier.
    NotRun,
    /// In several tensors of the file, or in a formula.
    Made(fn(&Source<'_>, &Request<'_>) -> Result<Vec<f32>>),
}

/// A tensor that is asked for.
pub(super) struct Request<'a> {
    /// Without the file's prefix.
    pub name: &'a str,
    pub shape: &'a [usize],
}

/// A file of weights in which every name may begin with a prefix.
pub(super) struct Source<'a> {
    weights: &'a Weights,
    prefix: &'static str,
}

impl<'a> Source<'a> {
    /// With the first of `prefixes` with which the file has a tensor called `name`, or with none.
    pub(super) fn new(weights: &'a Weights, prefixes: &[&'static str], name: &str) -> Self {
        let mut prefixes = prefixes.iter().copied();
        let prefix = prefixes.find(|prefix| weights.is_stored(&format!("{prefix}{name}")));
        Self {
            weights,
            prefix: prefix.unwrap_or_default(),
        }
    }

    /// The numbers of a tensor of a shape.
    pub(super) fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let name = format!("{}{name}", self.prefix);
        Ok(self.weights.numbers(&name, shape)?)
    }
}

/// What candle-transformers reads a network from.
pub(super) struct Tensors<'a> {
    pub source: Source<'a>,
    pub origin: Box<dyn Fn(&str) -> Origin + Send + Sync + 'a>,
    /// The first tensor that was refused. Kept here because candle-transformers passes over some
    /// errors, taking a tensor that cannot be read for a part that the network does not have.
    pub refused: &'a OnceLock<Error>,
}

impl Tensors<'_> {
    /// `None` where the network has no such part.
    fn numbers(&self, request: &Request<'_>) -> Option<Result<Vec<f32>>> {
        let Request { name, shape } = *request;
        match (self.origin)(name) {
            Origin::File => Some(self.source.numbers(name, shape)),
            Origin::Renamed(name) => Some(self.source.numbers(&name, shape)),
            Origin::NotRun => Some(Ok(vec![0.0; shape.iter().product()])),
            Origin::Made(make) => Some(make(&self.source, request)),
            Origin::Absent => None,
        }
    }
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
        match self.numbers(&Request { name, shape }) {
            Some(Ok(numbers)) => Tensor::from_vec(numbers, shape, device)?.to_dtype(dtype),
            Some(Err(error)) => {
                let cause = error.to_string();
                // Only the first one is told.
                let _ = self.refused.set(error);
                candle_core::bail!("{cause}")
            }
            None => candle_core::bail!("the network has no tensor `{name}`"),
        }
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("tensor `{name}` was asked for without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        !matches!((self.origin)(name), Origin::Absent)
    }
}
