//! How does the recurrence run where our operator does not? Around its steps in candle's operations,
//! and the steps themselves in these or as `stepwise` has them.

use candle_core::{D, Tensor};

use super::batch::CaptionBatch;
use super::recurrence::{Direction, Recurrence};
use super::schedule::{Reading, Schedule};
use super::stepwise;
use crate::Result;

/// How the steps of a direction run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steps {
    /// Each of a dozen operations of candle.
    Composed,
    /// Each a product and a kernel.
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
    let ids = Tensor::from_slice(
        batch.words(),
        batch.words().len(),
        recurrence.embedding.device(),
    )?;
    let words = recurrence.embedding.index_select(&ids, 0)?;
    let states = |direction, reading| states(&words, direction, (&schedule, reading), steps);
    let forward = states(&recurrence.forward, Reading::Forward)?;
    let reverse = states(&recurrence.reverse, Reading::Reverse)?;
    let mean = ((forward + reverse)? * 0.5)?;
    let padding = Tensor::zeros((1, width), mean.dtype(), mean.device())?;
    let mut rows = vec![schedule.words(); schedule.captions() * schedule.longest()];
    for (word, row) in schedule.padded_rows().enumerate() {
        rows[row] = word;
    }
    let padded = Tensor::cat(&[&mean, &padding], 0)?.index_select(&index(&rows, &mean)?, 0)?;
    Ok(padded.reshape((schedule.captions(), schedule.longest(), width))?)
}

/// The states of one direction [N, H], in caption order.
fn states(
    words: &Tensor,
    direction: &Direction,
    (schedule, reading): (&Schedule, Reading),
    steps: Steps,
) -> Result<Tensor> {
    let rows = schedule.rows(reading);
    let words = words.index_select(&index(&rows, words)?, 0)?;
    let from_words = words
        .matmul(&direction.weight_ih.t()?)?
        .broadcast_add(&direction.bias_ih)?;
    let states = match steps {
        Steps::Composed => composed_states(&from_words, direction, schedule)?,
        Steps::Fused => stepwise::states(&from_words, direction, schedule)?,
    };
    let mut back = vec![0; rows.len()];
    for (step_row, &row) in rows.iter().enumerate() {
        back[row] = step_row;
    }
    Ok(states.index_select(&index(&back, &words)?, 0)?)
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

fn index(rows: &[usize], like: &Tensor) -> Result<Tensor> {
    let rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
    let count = rows.len();
    Ok(Tensor::from_vec(rows, count, like.device())?)
}
