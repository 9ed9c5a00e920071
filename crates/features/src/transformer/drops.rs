//! Dropout of a transformer: every place in the network with dropout has a random stream of its
//! own.

use candle_core::Tensor;
use uard_core::dropout::Dropout;
use uard_core::random::{Draws, Stream};

use crate::Result;

/// The label of the streams of draws, for every model: another label would change the draws of
/// every seed.
const LABEL: &str = "bert.dropout";

/// The draws of one training step.
///
/// They depend on the seed, the step and the place in the network, so that a resumed run drops the
/// same numbers.
#[derive(Debug, Clone, Copy)]
pub struct Drops<'a> {
    /// The draws of the run.
    pub draws: &'a Draws,
    /// Numbers that identify this step, such as epoch and step.
    pub step: &'a [u64],
}

/// The dropout of a training step, for the places of the network from `first_place` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepDropout<'a> {
    pub(crate) drops: Drops<'a>,
    /// Dropout of the first layer's input, and of what each part of a layer adds.
    pub(crate) states: Dropout,
    /// Dropout of attention's weights.
    pub(crate) weights: Dropout,
    pub(crate) first_place: u64,
}

impl StepDropout<'_> {
    /// The dropout of a layer. Place 0 is that of the embeddings, and each layer has three places.
    pub(crate) fn for_layer(self, layer: u64) -> Self {
        Self {
            first_place: 1 + 3 * layer,
            ..self
        }
    }

    /// States [N, H] after dropout.
    pub(crate) fn states(self, rows: &Tensor, place: u64) -> Result<Tensor> {
        Ok(self.states.forward(rows, &self.stream(place))?)
    }

    /// The factors of attention's weights, one for each cell.
    pub(super) fn weights(self, cells: usize) -> Vec<f32> {
        self.weights.factors(&self.stream(0), cells)
    }

    fn stream(self, place: u64) -> Stream {
        let place = self.first_place + place;
        let indices: Vec<u64> = self.drops.step.iter().copied().chain([place]).collect();
        self.drops.draws.stream(LABEL, &indices)
    }
}
