//! The forward and backward pass of the GRU over a batch, except the time steps, which each
//! implementation of `Recurrence` runs in its own way.
//!
//! A word that stands in several captions is multiplied by `weight_ih` once, and the gradients of its
//! products are summed before the backward products. On the CPU the two directions run in parallel;
//! sums have a fixed order, so the bytes do not depend on the number of threads.

use candle_core::{Device, Result as CandleResult, Tensor};
use uard_core::operator::operator;

use super::batch::CaptionBatch;
use super::schedule::{DirectionOrder, Schedule, inverse_rows};
use super::{Direction, TextEncoder};
use crate::Result;

/// The time steps of one direction, and the matrix products and sums around them.
pub(super) trait Recurrence: Send + Sync + 'static {
    /// `left · right`; each side is contiguous, or the transpose of a contiguous tensor.
    fn product(&self, left: &Tensor, right: &Tensor) -> CandleResult<Tensor>;

    /// The products [U, 3H] of the U distinct words and `weight_ih`.
    fn words_product(&self, inputs: &DirectionInputs<'_>, words: &Tensor) -> CandleResult<Tensor> {
        self.product(words, &inputs.weights.weight_ih.t()?)
    }

    /// The sum `[K]` of rows [N, K].
    fn sum(&self, rows: &Tensor) -> CandleResult<Tensor>;

    /// The states of one direction; `from_words` [U, 3H] are the products of the U distinct words
    /// and `weight_ih`, without a bias.
    fn forward(&self, inputs: &DirectionInputs<'_>, from_words: &Tensor) -> CandleResult<Trace>;

    /// The gradients of the gates, from the gradient of the average of both directions' states
    /// [C, W, H].
    fn backward(
        &self,
        inputs: &DirectionInputs<'_>,
        trace: &Trace,
        averaged: &Tensor,
    ) -> CandleResult<GateGradients>;
}

/// The inputs of the time steps of one direction; all tensors are detached and contiguous.
pub(super) struct DirectionInputs<'a> {
    /// 0 forward, 1 reverse.
    pub direction: usize,
    pub schedule: &'a Schedule,
    pub order: &'a DirectionOrder,
    pub weights: &'a Direction,
}

/// The results of the time steps of a direction.
pub(super) struct Trace {
    /// The states after each word, [N, H] in step order.
    pub states: Tensor,
    /// The gates, in the layout in which this recurrence's backward pass reads them.
    pub gates: Vec<Tensor>,
}

/// The gradients of the matrix products from which the gates of one direction are computed.
pub(super) struct GateGradients {
    /// The gradient of the products of the distinct words and `weight_ih`, [U, 3H].
    pub words: Tensor,
    /// The gradient of the products of the states and `weight_hh`, [N, 3H] in step order.
    pub states: Tensor,
}

/// The average of both directions' states, differentiable.
///
/// # Shapes
/// The result is [C, W, H]; padding rows are zero.
///
/// # Errors
/// When an id is not in the vocabulary, or a tensor operation fails.
pub(super) fn average(
    encoder: &TextEncoder,
    batch: &CaptionBatch,
    recurrence: impl Recurrence,
) -> Result<Tensor> {
    batch.check_vocabulary(encoder.embedding.dim(0)?)?;
    let schedule = Schedule::new(batch);
    let embedding = detached(&encoder.embedding)?;
    let ids = row_indices(&schedule.ids, embedding.device())?;
    let [forward, reverse] = &encoder.directions;
    let pass = Pass {
        vocabulary: embedding.dim(0)?,
        words: embedding.index_select(&ids, 0)?,
        directions: [forward.mapped(detached)?, reverse.mapped(detached)?],
        schedule,
        recurrence,
    };
    let traces = pass.both(|direction| pass.states(direction))?;
    let average = pass.averaged(&traces)?;
    let gradients = move |averaged: &Tensor| pass.gradients(&traces, averaged);
    Ok(operator(&average, &encoder.parameters(), gradients)?)
}

fn detached(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.contiguous()?.detach())
}

/// The inputs of the forward and the backward pass.
struct Pass<F> {
    vocabulary: usize,
    /// The embeddings of the U distinct words [U, E].
    words: Tensor,
    directions: [Direction; 2],
    schedule: Schedule,
    recurrence: F,
}

/// The gradients of one direction.
struct Gradients {
    /// The gradient of the embeddings of the distinct words [U, E].
    words: Tensor,
    parameters: Direction,
}

impl<F: Recurrence> Pass<F> {
    /// Calls `run` with the index of each direction; on the CPU in parallel.
    fn both<R: Send>(&self, run: impl Fn(usize) -> CandleResult<R> + Sync) -> CandleResult<[R; 2]> {
        let (forward, reverse) = match self.words.device() {
            Device::Cpu => rayon::join(|| run(0), || run(1)),
            _ => (run(0), run(1)),
        };
        Ok([forward?, reverse?])
    }

    fn inputs(&self, direction: usize) -> DirectionInputs<'_> {
        DirectionInputs {
            direction,
            schedule: &self.schedule,
            order: &self.schedule.orders[direction],
            weights: &self.directions[direction],
        }
    }

    fn states(&self, direction: usize) -> CandleResult<Trace> {
        let inputs = self.inputs(direction);
        let from_words = self.recurrence.words_product(&inputs, &self.words)?;
        self.recurrence.forward(&inputs, &from_words)
    }

    /// The average of the states of both directions, padded: [C, W, H].
    fn averaged(&self, traces: &[Trace; 2]) -> CandleResult<Tensor> {
        let (captions, longest) = (self.schedule.captions, self.schedule.longest);
        let shape = (captions, longest, traces[0].states.dim(1)?);
        let padded = |at: usize| {
            let rows = self.schedule.orders[at].rows(captions * longest);
            let states = &traces[at].states;
            states.index_select(&row_indices(&rows, states.device())?, 0)
        };
        ((padded(0)? + padded(1)?)? * 0.5)?.reshape(shape)
    }

    /// The gradients of all parameters, from the gradient of the average.
    fn gradients(&self, traces: &[Trace; 2], averaged: &Tensor) -> CandleResult<Vec<Tensor>> {
        let [forward, reverse] = self.both(|direction| {
            let (inputs, trace) = (self.inputs(direction), &traces[direction]);
            let gates = self.recurrence.backward(&inputs, trace, averaged)?;
            self.direction_gradients(&inputs, trace, &gates)
        })?;
        let words = (forward.words + reverse.words)?;
        // Words of the vocabulary that are not in the batch get rows of zeros.
        let rows = inverse_rows(&self.schedule.ids, self.vocabulary);
        let embedding = words.index_select(&row_indices(&rows, words.device())?, 0)?;
        let directions = [forward.parameters, reverse.parameters];
        let directions = directions.iter().flat_map(Direction::parameters);
        Ok(std::iter::once(&embedding)
            .chain(directions)
            .cloned()
            .collect())
    }

    /// The gradients of one direction's parameters and words, from those of its gates.
    fn direction_gradients(
        &self,
        inputs: &DirectionInputs<'_>,
        trace: &Trace,
        gates: &GateGradients,
    ) -> CandleResult<Gradients> {
        let (recurrence, weights) = (&self.recurrence, inputs.weights);
        // The states before the first step are zero, and so is what they add to the gradient.
        let previous = self.schedule.previous();
        let weight_hh = match previous.len() {
            0 => weights.weight_hh.zeros_like()?,
            rows => {
                let first = self.schedule.words() - rows;
                let gradients = gates.states.narrow(0, first, rows)?;
                let previous = row_indices(&previous, gradients.device())?;
                let previous = trace.states.index_select(&previous, 0)?;
                recurrence.product(&gradients.t()?, &previous)?
            }
        };
        Ok(Gradients {
            words: recurrence.product(&gates.words, &weights.weight_ih)?,
            parameters: Direction {
                weight_ih: recurrence.product(&gates.words.t()?, &self.words)?,
                weight_hh,
                bias_ih: recurrence.sum(&gates.words)?,
                bias_hh: recurrence.sum(&gates.states)?,
            },
        })
    }
}

/// Row indices as a tensor [N] u32 on a device.
pub(super) fn row_indices(rows: &[u32], device: &Device) -> CandleResult<Tensor> {
    Tensor::from_slice(rows, rows.len(), device)
}
