//! Which numbers of a transformer does a training step leave out? Each place has its own stream of
//! draws.

use candle_core::Tensor;
use uard_core::dropout::Dropout;
use uard_core::random::{Draws, Stream};

use crate::Result;

/// Of the streams of draws. Part of what a seed gives, so it stays as the first model called it.
const LABEL: &str = "bert.dropout";

/// The draws of one training step.
///
/// They depend on the seed, the step and the place in the batch: a resumed run drops the same.
#[derive(Debug, Clone, Copy)]
pub struct Drops<'a> {
    /// The draws of the run.
    pub draws: &'a Draws,
    /// What tells this step from all others, as epoch and step.
    pub step: &'a [u64],
}

/// What a training step leaves out of a model, from some of its places on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dropping<'a> {
    pub(crate) drops: Drops<'a>,
    /// Of what enters the layers, and of what each part of a layer adds.
    pub(crate) states: Dropout,
    /// Of attention's weights.
    pub(crate) weights: Dropout,
    pub(crate) first_place: u64,
}

impl Dropping<'_> {
    /// The three places of a layer stand behind that of the embeddings.
    pub(crate) fn of_layer(self, layer: u64) -> Self {
        Self {
            first_place: 1 + 3 * layer,
            ..self
        }
    }

    pub(crate) fn states(self, rows: &Tensor, place: u64) -> Result<Tensor> {
        Ok(self.states.forward(rows, &self.stream(place))?)
    }

    /// Factors of attention's weights, one for each cell.
    pub(super) fn weights(self, cells: usize) -> Vec<f32> {
        self.weights.factors(&self.stream(0), cells)
    }

    fn stream(self, place: u64) -> Stream {
        let place = self.first_place + place;
        let indices: Vec<u64> = self.drops.step.iter().copied().chain([place]).collect();
        self.drops.draws.stream(LABEL, &indices)
    }
}
