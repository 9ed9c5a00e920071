//! The GRU in candle's operations, for devices without our operator. On CUDA, the gates of a time step
//! in f32 are a kernel of ours.

use candle_core::{D, Result as CandleResult, Tensor};
use candle_nn::ops::sigmoid;

use super::TextEncoder;
use super::batch::CaptionBatch;
use super::pass::{self, DirectionInputs, GateGradients, Recurrence, Trace, row_indices};
use crate::Result;

/// The average of both directions' states, differentiable, on any device.
///
/// # Shapes
/// The result is [C, W, H]; padding rows are zero.
///
/// # Errors
/// When an id is not in the vocabulary, or a tensor operation fails.
pub fn average(encoder: &TextEncoder, batch: &CaptionBatch) -> Result<Tensor> {
    pass::average(encoder, batch, ComposedRecurrence)
}

struct ComposedRecurrence;

impl Recurrence for ComposedRecurrence {
    fn product(&self, saved: &Tensor, right: &Tensor) -> CandleResult<Tensor> {
        saved.matmul(right)
    }

    fn sum(&self, rows: &Tensor) -> CandleResult<Tensor> {
        rows.sum(0)
    }

    fn forward(&self, inputs: &DirectionInputs<'_>, from_words: &Tensor) -> CandleResult<Trace> {
        let (weights, device) = (inputs.weights, from_words.device());
        let from_words = from_words
            .broadcast_add(&weights.bias_ih)?
            .index_select(&row_indices(&inputs.order.words, device)?, 0)?;
        let weight = weights.weight_hh.t()?;
        let first = (inputs.schedule.captions, weight.dim(0)?);
        let mut state = Tensor::zeros(first, from_words.dtype(), device)?;
        let (mut gates, mut states) = (Vec::new(), Vec::new());
        for step in inputs.schedule.steps() {
            let previous = state.narrow(0, 0, step.rows.len())?;
            let saved = step_gates(&StepInputs {
                from_words: &from_words.narrow(0, step.rows.start, step.rows.len())?,
                from_states: &previous.matmul(&weight)?,
                bias: &weights.bias_hh,
                previous: &previous,
            })?;
            state = saved.get(0)?;
            states.push(state.clone());
            gates.push(saved);
        }
        let states = Tensor::cat(&states, 0)?;
        Ok(Trace { states, gates })
    }

    fn backward(
        &self,
        inputs: &DirectionInputs<'_>,
        trace: &Trace,
        averaged: &Tensor,
    ) -> CandleResult<GateGradients> {
        let (weight, device) = (&inputs.weights.weight_hh, averaged.device());
        let (_, _, width) = averaged.dims3()?;
        let rows = row_indices(&inputs.order.padded_rows, device)?;
        let averaged = averaged.reshape(((), width))?.index_select(&rows, 0)?;
        let upstream = (averaged * 0.5)?;
        // The last step gets no gradient from a later one. A row of zeros, because the kernel needs
        // at least one row.
        let mut carried = Tensor::zeros((1, width), weight.dtype(), device)?;
        let (mut to_words, mut to_states) = (Vec::new(), Vec::new());
        for (step, saved) in inputs.schedule.steps().zip(&trace.gates).rev() {
            let upstream = upstream.narrow(0, step.rows.start, step.rows.len())?;
            let found = step_gradients(saved, &upstream, &carried)?;
            if step.previous_start.is_some() {
                carried = (found.carried + found.from_states.matmul(weight)?)?;
            }
            to_words.push(found.from_words);
            to_states.push(found.from_states);
        }
        to_words.reverse();
        to_states.reverse();
        Ok(GateGradients {
            words: sum_by_word(inputs, &Tensor::cat(&to_words, 0)?)?,
            states: Tensor::cat(&to_states, 0)?,
        })
    }
}

/// Sums the rows [N, 3H] of all words to one row for each of the U distinct words, [U, 3H]. The
/// sums are computed as a matrix product, because in candle's `index_add` on CUDA every thread
/// walks all rows.
fn sum_by_word(inputs: &DirectionInputs<'_>, rows: &Tensor) -> CandleResult<Tensor> {
    let (device, distinct) = (rows.device(), inputs.schedule.ids.len());
    let words = row_indices(&inputs.order.words, device)?.unsqueeze(0)?;
    let is_word = Tensor::arange(0, distinct as u32, device)?
        .unsqueeze(1)?
        .broadcast_eq(&words)?;
    is_word.to_dtype(rows.dtype())?.matmul(rows)
}

/// The inputs of the gates of one time step, for n captions; all tensors are detached and
/// contiguous.
pub(super) struct StepInputs<'a> {
    /// `W_ih x + b_ih` [n, 3H].
    pub from_words: &'a Tensor,
    /// `W_hh h` [n, 3H].
    pub from_states: &'a Tensor,
    /// `b_hh` `[3H]`.
    pub bias: &'a Tensor,
    /// The previous states h [n, H].
    pub previous: &'a Tensor,
}

/// The gradients of one time step.
pub(super) struct StepGradients {
    /// The gradient of `W_ih x + b_ih` [n, 3H].
    pub from_words: Tensor,
    /// The gradient of `W_hh h` [n, 3H].
    pub from_states: Tensor,
    /// The part of the gradient of h [n, H] that does not pass through `W_hh`.
    pub carried: Tensor,
}

/// What a step saves for the backward pass, [6, n, H]: the next state, r, z, n,
/// `q = W_hn h + b_hn`, and the previous state h.
fn step_gates(step: &StepInputs<'_>) -> CandleResult<Tensor> {
    #[cfg(feature = "cuda")]
    if super::kernel::on_tensors::takes(step.from_words) {
        return super::kernel::on_tensors::gates(step);
    }
    composed_gates(step)
}

/// The gradients of a step. `saved` [6, n, H] is the result of [`step_gates`]; `upstream` [n, H] is
/// the part of the gradient of the next states that comes from the average; `carried` [k, H] is the
/// part from the later step, which has only the first k captions.
fn step_gradients(
    saved: &Tensor,
    upstream: &Tensor,
    carried: &Tensor,
) -> CandleResult<StepGradients> {
    #[cfg(feature = "cuda")]
    if super::kernel::on_tensors::takes(saved) {
        return super::kernel::on_tensors::gradients(saved, upstream, carried);
    }
    composed_gradients(saved, upstream, carried)
}

/// [`step_gates`] in candle's operations.
pub(super) fn composed_gates(step: &StepInputs<'_>) -> CandleResult<Tensor> {
    let width = step.previous.dim(D::Minus1)?;
    let (words, states) = (step.from_words, step.from_states.broadcast_add(step.bias)?);
    let part = |tensor: &Tensor, gate: usize| tensor.narrow(1, gate * width, width);
    let r = sigmoid(&(part(words, 0)? + part(&states, 0)?)?)?;
    let z = sigmoid(&(part(words, 1)? + part(&states, 1)?)?)?;
    let q = part(&states, 2)?;
    let n = (part(words, 2)? + (&r * &q)?)?.tanh()?;
    let next = (&n + (&z * (step.previous - &n)?)?)?;
    Tensor::stack(&[&next, &r, &z, &n, &q, step.previous], 0)
}

/// [`step_gradients`] in candle's operations; `cell.rs` has the formulas.
pub(super) fn composed_gradients(
    saved: &Tensor,
    upstream: &Tensor,
    carried: &Tensor,
) -> CandleResult<StepGradients> {
    let block = |block: usize| saved.get(block);
    let (r, z, n, q, previous) = (block(1)?, block(2)?, block(3)?, block(4)?, block(5)?);
    let rest = |gate: &Tensor| gate.affine(-1.0, 1.0);
    let d = (upstream + carried.pad_with_zeros(0, 0, upstream.dim(0)? - carried.dim(0)?)?)?;
    let to_n = ((&d * rest(&z)?)? * rest(&n.sqr()?)?)?;
    let to_z = ((&d * (previous - &n)?)? * (&z * rest(&z)?)?)?;
    let to_r = ((&to_n * q)? * (&r * rest(&r)?)?)?;
    Ok(StepGradients {
        from_words: Tensor::cat(&[&to_r, &to_z, &to_n], 1)?,
        from_states: Tensor::cat(&[&to_r, &to_z, &(&to_n * r)?], 1)?,
        carried: (d * z)?,
    })
}
