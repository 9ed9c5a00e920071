//! How does the recurrence run where our operator does not? Around its steps in candle's operations,
//! and the steps themselves in these or as `super::stepwise` has them.

use candle_core::{D, Tensor};

use super::batch::CaptionBatch;
use super::lookup::looked_up;
use super::places::Places;
use super::recurrence::{Direction, Recurrence};
use super::schedule::{Reading, Schedule};
use super::stepwise;
use crate::Result;

/// How the steps of a direction run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steps {
    /// Each of a dozen operations of candle.
    Composed,
    /// Each a product and a kernel, between rows that change places by operators of ours.
    Fused,
}

/// The average of both directions, differentiable, on any device.
///
/// # Shapes
/// The result is [C, W, H]; padding rows are zero.
///
/// # Errors
/// When an id is not in the vocabulary, or a tensor operation fails.
pub fn average(recurrence: &Recurrence, batch: &CaptionBatch) -> Result<Tensor> {
    averaged(recurrence, batch, Steps::Composed)
}

/// The same with all gates of a step in one kernel: on CUDA in f32, and slowly on the CPU.
///
/// # Shapes
/// As [`average`].
///
/// # Errors
/// As [`average`].
pub fn fused_average(recurrence: &Recurrence, batch: &CaptionBatch) -> Result<Tensor> {
    averaged(recurrence, batch, Steps::Fused)
}

fn averaged(recurrence: &Recurrence, batch: &CaptionBatch, steps: Steps) -> Result<Tensor> {
    batch.check_vocabulary(recurrence.vocabulary()?)?;
    let (width, schedule) = (recurrence.width()?, batch.schedule());
    let words = steps.words(&recurrence.embedding, batch.words())?;
    let states = |direction, reading| states(&words, direction, (&schedule, reading), steps);
    let forward = states(&recurrence.forward, Reading::Forward)?;
    let reverse = states(&recurrence.reverse, Reading::Reverse)?;
    let mean = ((forward + reverse)? * 0.5)?;
    Ok(mean.reshape((schedule.captions(), schedule.longest(), width))?)
}

/// The states of one direction [C W, H], in caption order; padding rows are zero.
fn states(
    words: &Tensor,
    direction: &Direction,
    (schedule, reading): (&Schedule, Reading),
    steps: Steps,
) -> Result<Tensor> {
    let rows = schedule.rows(reading);
    let padded: Vec<usize> = schedule.padded_rows().collect();
    let in_step_order = Places::new(rows.iter().copied(), rows.len()).inverse();
    let places = rows.iter().map(|&row| padded[row]);
    let back = Places::new(places, schedule.captions() * schedule.longest());
    let words = steps.moved(words, &in_step_order)?;
    let from_words = words
        .matmul(&direction.weight_ih.t()?)?
        .broadcast_add(&direction.bias_ih)?;
    let states = match steps {
        Steps::Composed => composed_states(&from_words, direction, schedule)?,
        Steps::Fused => stepwise::states(&from_words, direction, schedule)?,
    };
    steps.moved(&states, &back)
}

impl Steps {
    /// The rows of the embedding [N, E] that the ids name.
    fn words(self, embedding: &Tensor, ids: &[u32]) -> Result<Tensor> {
        Ok(match self {
            Self::Fused => looked_up(embedding, ids)?,
            Self::Composed => {
                let ids = Tensor::from_slice(ids, ids.len(), embedding.device())?;
                embedding.index_select(&ids, 0)?
            }
        })
    }

    /// Rows at their places.
    fn moved(self, rows: &Tensor, places: &Places) -> Result<Tensor> {
        Ok(match self {
            Self::Fused => places.moved(rows)?,
            Self::Composed => places.composed(rows)?,
        })
    }
}

/// The states [N, H] in step order.
fn composed_states(
    from_words: &Tensor,
    direction: &Direction,
    schedule: &Schedule,
) -> Result<Tensor> {
    let weight = direction.weight_hh.t()?;
    let first = (schedule.captions(), weight.dim(0)?);
    let mut state = Tensor::zeros(first, from_words.dtype(), from_words.device())?;
    let mut states = Vec::with_capacity(schedule.steps());
    for step in 0..schedule.steps() {
        let range = schedule.step(step);
        let previous = state.narrow(0, 0, range.len())?;
        let from_state = previous
            .matmul(&weight)?
            .broadcast_add(&direction.bias_hh)?;
        let from_words = from_words.narrow(0, range.start, range.len())?;
        state = cell(&from_words, &from_state, &previous)?;
        states.push(state.clone());
    }
    Ok(Tensor::cat(&states, 0)?)
}

fn cell(from_words: &Tensor, from_state: &Tensor, previous: &Tensor) -> Result<Tensor> {
    let width = previous.dim(D::Minus1)?;
    let part = |tensor: &Tensor, gate: usize| tensor.narrow(1, gate * width, width);
    let r = sigmoid(&(part(from_words, 0)? + part(from_state, 0)?)?)?;
    let z = sigmoid(&(part(from_words, 1)? + part(from_state, 1)?)?)?;
    let n = (part(from_words, 2)? + (r * part(from_state, 2)?)?)?.tanh()?;
    Ok((&n + (z * (previous - &n)?)?)?)
}

/// `(1 + tanh(x / 2)) / 2`: every step has a backward in candle.
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok((x * 0.5)?.tanh()?.affine(0.5, 0.5)?)
}
