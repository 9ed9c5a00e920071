//! Where do the first numbers of a model's parameters come from? From a trained model, or drawn.

use candle_core::Tensor;
use uard_core::random::{Draws, normal};

use crate::Result;
use uard_hub::weights::Weights;

/// Gives the tensor of a name and shape.
pub(crate) type Make<'a> = dyn FnMut(&str, &[usize]) -> Result<Tensor> + 'a;

/// Where the first numbers of the parameters come from.
#[derive(Debug, Clone, Copy)]
pub enum Initial<'a> {
    /// Weights from a normal distribution, each tensor from the stream of its own name; biases
    /// zero, layer norms one and zero, as in the published code.
    Drawn(&'a Draws),
    /// A trained model.
    Stored(&'a Weights),
}

impl Initial<'_> {
    /// The numbers of a parameter: stored under the first of the `known` names that the weights
    /// have, or drawn with a standard deviation.
    pub(crate) fn numbers(
        self,
        (parameter, shape): (&str, &[usize]),
        known: &[String],
        deviation: f32,
    ) -> Result<Vec<f32>> {
        match self {
            Self::Stored(weights) => {
                let stored = known.iter().find(|name| weights.has(name));
                let name = stored.or(known.first()).map_or(parameter, String::as_str);
                Ok(weights.numbers(name, shape)?)
            }
            Self::Drawn(draws) => Ok(drawn(draws, (parameter, shape), deviation)),
        }
    }
}

fn drawn(draws: &Draws, (name, shape): (&str, &[usize]), deviation: f32) -> Vec<f32> {
    let count = shape.iter().product();
    match shape {
        [_] if name.ends_with(".bias") => vec![0.0; count],
        [_] => vec![1.0; count],
        _ => normal(&mut draws.stream(name, &[]), deviation, count),
    }
}
