//! A pass over a batch, there and back: everything but the time steps, which each form has of its own.
//!
//! A word that stands in several captions is multiplied once, and its gradients are summed before
//! they are. On the CPU the two directions run beside each other; work is cut by data and summed in a
//! fixed order, so the bytes do not depend on the number of threads.

use candle_core::{Device, Result as CandleResult, Tensor};
use uard_core::operator::operator;

use super::batch::CaptionBatch;
use super::schedule::{Reading, Schedule, rows_of};
use super::{Direction, TextEncoder};
use crate::Result;

/// How the time steps run, and what they are multiplied with.
pub(super) trait Form: Send + Sync + 'static {
    /// `left · right`; each side has no gaps, or is turned and had none before.
    fn product(&self, left: &Tensor, right: &Tensor) -> CandleResult<Tensor>;

    /// The sum `[K]` of rows [N, K].
    fn sum(&self, rows: &Tensor) -> CandleResult<Tensor>;

    /// The states of one direction, from what the distinct words add to the gates, [U, 3H], without
    /// a bias.
    fn forward(&self, run: &Run<'_>, from_words: &Tensor) -> CandleResult<Trace>;

    /// The way back, given the gradient of the average [C, W, H].
    fn backward(&self, run: &Run<'_>, trace: &Trace, averaged: &Tensor) -> CandleResult<Gates>;
}

/// One direction of the layer over a batch; no part of a graph, and without gaps.
pub(super) struct Run<'a> {
    pub schedule: &'a Schedule,
    pub reading: &'a Reading,
    pub weights: &'a Direction,
}

/// What the time steps of a direction leave.
pub(super) struct Trace {
    /// [N, H] in step order.
    pub states: Tensor,
    /// What the form needs on the way back.
    pub gates: Vec<Tensor>,
}

/// The gradients of the gates of a direction.
pub(super) struct Gates {
    /// Of what the distinct words add to them, [U, 3H].
    pub of_words: Tensor,
    /// Of what the states add to them, [N, 3H] in step order.
    pub of_states: Tensor,
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
    form: impl Form,
) -> Result<Tensor> {
    batch.check_vocabulary(encoder.embedding.dim(0)?)?;
    let schedule = Schedule::new(batch);
    let embedding = plain(&encoder.embedding)?;
    let ids = index(&schedule.ids, embedding.device())?;
    let [forward, reverse] = &encoder.directions;
    let pass = Pass {
        vocabulary: embedding.dim(0)?,
        words: embedding.index_select(&ids, 0)?,
        directions: [forward.mapped(plain)?, reverse.mapped(plain)?],
        schedule,
        form,
    };
    let traces = pass.both(|direction| pass.states(direction))?;
    let average = pass.averaged(&traces)?;
    let gradients = move |averaged: &Tensor| pass.gradients(&traces, averaged);
    Ok(operator(&average, &encoder.parameters(), gradients)?)
}

fn plain(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.contiguous()?.detach())
}

/// What both ways need.
struct Pass<F> {
    vocabulary: usize,
    /// Embedded distinct words [U, E].
    words: Tensor,
    directions: [Direction; 2],
    schedule: Schedule,
    form: F,
}

/// The gradients of one direction.
struct Gradients {
    /// Of the embedded distinct words [U, E].
    words: Tensor,
    parameters: Direction,
}

impl<F: Form> Pass<F> {
    /// Runs with the number of each direction; on the CPU beside each other.
    fn both<R: Send>(&self, run: impl Fn(usize) -> CandleResult<R> + Sync) -> CandleResult<[R; 2]> {
        let (forward, reverse) = match self.words.device() {
            Device::Cpu => rayon::join(|| run(0), || run(1)),
            _ => (run(0), run(1)),
        };
        Ok([forward?, reverse?])
    }

    fn run(&self, direction: usize) -> Run<'_> {
        Run {
            schedule: &self.schedule,
            reading: &self.schedule.readings[direction],
            weights: &self.directions[direction],
        }
    }

    fn states(&self, direction: usize) -> CandleResult<Trace> {
        let run = self.run(direction);
        let from_words = self
            .form
            .product(&self.words, &run.weights.weight_ih.t()?)?;
        self.form.forward(&run, &from_words)
    }

    /// The average of the states, at their padded places.
    fn averaged(&self, traces: &[Trace; 2]) -> CandleResult<Tensor> {
        let (captions, longest) = (self.schedule.captions, self.schedule.longest);
        let shape = (captions, longest, traces[0].states.dim(1)?);
        let padded = |at: usize| {
            let rows = self.schedule.readings[at].rows(captions * longest);
            let states = &traces[at].states;
            states.index_select(&index(&rows, states.device())?, 0)
        };
        ((padded(0)? + padded(1)?)? * 0.5)?.reshape(shape)
    }

    /// The gradients of all parameters, given that of the average.
    fn gradients(&self, traces: &[Trace; 2], averaged: &Tensor) -> CandleResult<Vec<Tensor>> {
        let [forward, reverse] = self.both(|direction| {
            let (run, trace) = (self.run(direction), &traces[direction]);
            let gates = self.form.backward(&run, trace, averaged)?;
            self.of_direction(&run, trace, &gates)
        })?;
        let words = (forward.words + reverse.words)?;
        // Nobody reads the other rows.
        let rows = rows_of(&self.schedule.ids, self.vocabulary);
        let embedding = words.index_select(&index(&rows, words.device())?, 0)?;
        let directions = [forward.parameters, reverse.parameters];
        let directions = directions.iter().flat_map(Direction::parameters);
        Ok(std::iter::once(&embedding)
            .chain(directions)
            .cloned()
            .collect())
    }

    fn of_direction(&self, run: &Run<'_>, trace: &Trace, gates: &Gates) -> CandleResult<Gradients> {
        let (form, weights) = (&self.form, run.weights);
        // The states before the first step are zero.
        let previous = self.schedule.previous();
        let weight_hh = match previous.len() {
            0 => weights.weight_hh.zeros_like()?,
            rows => {
                let first = self.schedule.words() - rows;
                let of_states = gates.of_states.narrow(0, first, rows)?;
                let previous = index(&previous, of_states.device())?;
                let previous = trace.states.index_select(&previous, 0)?;
                form.product(&of_states.t()?, &previous)?
            }
        };
        Ok(Gradients {
            words: form.product(&gates.of_words, &weights.weight_ih)?,
            parameters: Direction {
                weight_ih: form.product(&gates.of_words.t()?, &self.words)?,
                weight_hh,
                bias_ih: form.sum(&gates.of_words)?,
                bias_hh: form.sum(&gates.of_states)?,
            },
        })
    }
}

/// Numbers of rows on a device.
pub(super) fn index(rows: &[u32], device: &Device) -> CandleResult<Tensor> {
    Tensor::from_slice(rows, rows.len(), device)
}
