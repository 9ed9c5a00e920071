//! The form in candle's operations, for any device: a time step is a product and the gates, which on
//! CUDA are one kernel for f32.

use candle_core::{D, Result as CandleResult, Tensor};
use candle_nn::ops::sigmoid;

use super::TextEncoder;
use super::batch::CaptionBatch;
use super::pass::{self, Form, Gates, Run, Trace, index};
use crate::Result;

/// The average of both directions, differentiable, on any device.
///
/// # Shapes
/// The result is [C, W, H]; padding rows are zero.
///
/// # Errors
/// When an id is not in the vocabulary, or a tensor operation fails.
pub fn average(encoder: &TextEncoder, batch: &CaptionBatch) -> Result<Tensor> {
    pass::average(encoder, batch, Composed)
}

struct Composed;

impl Form for Composed {
    fn product(&self, left: &Tensor, right: &Tensor) -> CandleResult<Tensor> {
        left.matmul(right)
    }

    fn sum(&self, rows: &Tensor) -> CandleResult<Tensor> {
        rows.sum(0)
    }

    fn forward(&self, run: &Run<'_>, from_words: &Tensor) -> CandleResult<Trace> {
        let (weights, device) = (run.weights, from_words.device());
        let from_words = from_words
            .broadcast_add(&weights.bias_ih)?
            .index_select(&index(&run.reading.words, device)?, 0)?;
        let by_state = weights.weight_hh.t()?;
        let first = (run.schedule.captions, by_state.dim(0)?);
        let mut state = Tensor::zeros(first, from_words.dtype(), device)?;
        let (mut gates, mut states) = (Vec::new(), Vec::new());
        for step in run.schedule.steps() {
            let previous = state.narrow(0, 0, step.rows.len())?;
            let left = gates_of(&StepInputs {
                words: &from_words.narrow(0, step.rows.start, step.rows.len())?,
                states: &previous.matmul(&by_state)?,
                bias: &weights.bias_hh,
                previous: &previous,
            })?;
            state = left.get(0)?;
            states.push(state.clone());
            gates.push(left);
        }
        let states = Tensor::cat(&states, 0)?;
        Ok(Trace { states, gates })
    }

    fn backward(&self, run: &Run<'_>, trace: &Trace, averaged: &Tensor) -> CandleResult<Gates> {
        let (weight, device) = (&run.weights.weight_hh, averaged.device());
        let (_, _, width) = averaged.dims3()?;
        let places = index(&run.reading.places, device)?;
        let averaged = averaged.reshape(((), width))?.index_select(&places, 0)?;
        let above = (averaged * 0.5)?;
        // Of the first caption, as if there were one step more: the kernel wants a row.
        let mut carried = Tensor::zeros((1, width), weight.dtype(), device)?;
        let (mut of_words, mut of_states) = (Vec::new(), Vec::new());
        for (step, left) in run.schedule.steps().zip(&trace.gates).rev() {
            let above = above.narrow(0, step.rows.start, step.rows.len())?;
            let found = gradients_of(left, &above, &carried)?;
            if step.before.is_some() {
                carried = (found.beside + found.states.matmul(weight)?)?;
            }
            of_words.push(found.words);
            of_states.push(found.states);
        }
        of_words.reverse();
        of_states.reverse();
        Ok(Gates {
            of_words: by_word(run, &Tensor::cat(&of_words, 0)?)?,
            of_states: Tensor::cat(&of_states, 0)?,
        })
    }
}

/// The sums [U, 3H] of the rows [N, 3H] of each distinct word: a product, because candle's
/// `index_add` walks all rows in every thread on CUDA.
fn by_word(run: &Run<'_>, rows: &Tensor) -> CandleResult<Tensor> {
    let (device, distinct) = (rows.device(), run.schedule.ids.len());
    let words = index(&run.reading.words, device)?.unsqueeze(0)?;
    let is_word = Tensor::arange(0, distinct as u32, device)?
        .unsqueeze(1)?
        .broadcast_eq(&words)?;
    is_word.to_dtype(rows.dtype())?.matmul(rows)
}

/// What the gates of n captions are made of; no part of a graph, and without gaps.
pub(super) struct StepInputs<'a> {
    /// `W_ih x + b_ih` [n, 3H].
    pub words: &'a Tensor,
    /// `W_hh h` [n, 3H].
    pub states: &'a Tensor,
    /// `b_hh` `[3H]`.
    pub bias: &'a Tensor,
    /// h [n, H].
    pub previous: &'a Tensor,
}

/// The gradients of a step.
pub(super) struct StepGradients {
    /// Of `W_ih x + b_ih` [n, 3H].
    pub words: Tensor,
    /// Of `W_hh h` [n, 3H].
    pub states: Tensor,
    /// Of h [n, H], beside what goes through `W_hh`.
    pub beside: Tensor,
}

/// What a step leaves, [6, n, H]: the next state, r, z, n, `q = W_hn h + b_hn`, and h.
fn gates_of(step: &StepInputs<'_>) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if super::kernel::on_tensors::takes(step.words) {
        return super::kernel::on_tensors::gates(step);
    }
    composed_gates(step)
}

/// The gradients of a step, from what it left, that of its states [n, H], and that which the later
/// step has sent to its k captions, [k, H].
fn gradients_of(left: &Tensor, above: &Tensor, carried: &Tensor) -> CandleResult<StepGradients> {
    #[cfg(feature = "cuda")]
    if super::kernel::on_tensors::takes(left) {
        return super::kernel::on_tensors::gradients(left, above, carried);
    }
    composed_gradients(left, above, carried)
}

/// As [`gates_of`].
pub(super) fn composed_gates(step: &StepInputs<'_>) -> CandleResult<Tensor> {
    let width = step.previous.dim(D::Minus1)?;
    let states = step.states.broadcast_add(step.bias)?;
    let part = |tensor: &Tensor, gate: usize| tensor.narrow(1, gate * width, width);
    let r = sigmoid(&(part(step.words, 0)? + part(&states, 0)?)?)?;
    let z = sigmoid(&(part(step.words, 1)? + part(&states, 1)?)?)?;
    let q = part(&states, 2)?;
    let n = (part(step.words, 2)? + (&r * &q)?)?.tanh()?;
    let next = (&n + (&z * (step.previous - &n)?)?)?;
    Tensor::stack(&[&next, &r, &z, &n, &q, step.previous], 0)
}

/// As [`gradients_of`]; `cell.rs` has the formulas.
pub(super) fn composed_gradients(
    left: &Tensor,
    above: &Tensor,
    carried: &Tensor,
) -> CandleResult<StepGradients> {
    let block = |block: usize| left.get(block);
    let (r, z, n, q, previous) = (block(1)?, block(2)?, block(3)?, block(4)?, block(5)?);
    let rest = |gate: &Tensor| gate.affine(-1.0, 1.0);
    let d = (above + carried.pad_with_zeros(0, 0, above.dim(0)? - carried.dim(0)?)?)?;
    let to_n = ((&d * rest(&z)?)? * rest(&n.sqr()?)?)?;
    let to_z = ((&d * (previous - &n)?)? * (&z * rest(&z)?)?)?;
    let to_r = ((&to_n * q)? * (&r * rest(&r)?)?)?;
    Ok(StepGradients {
        words: Tensor::cat(&[&to_r, &to_z, &to_n], 1)?,
        states: Tensor::cat(&[&to_r, &to_z, &(&to_n * r)?], 1)?,
        beside: (d * z)?,
    })
}
