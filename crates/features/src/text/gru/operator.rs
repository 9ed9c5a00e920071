//! The GRU on the CPU: time steps on slices of numbers, with a backward pass by hand.
//!
//! Captions are sorted by length, so that every time step is one product over a prefix of them. The
//! weights are packed for these products: for each batch, or once if they do not change any more.

use std::sync::Arc;

use candle_core::{DType, Device, Result as CandleResult, Tensor, WithDType};
use uard_core::slices::reading;
use uard_linalg::matmul::Matmul;
use uard_linalg::product::{Matrix, Output, PackedRight};
use uard_linalg::vector::{AddRows, Number, vectorised};

use super::batch::CaptionBatch;
use super::pass::{self, DirectionInputs, GateGradients, Recurrence, Trace};
use super::schedule::Step;
use super::{Direction, TextEncoder, cell};
use crate::Result;

const NAME: &str = "bidirectional-gru";

/// The average of both directions' states, differentiable, for f32 or f64 on the CPU.
///
/// # Shapes
/// The result is [C, W, H]; padding rows are zero.
///
/// # Errors
/// When an id is not in the vocabulary, or the tensors are not on the CPU.
pub fn average(encoder: &TextEncoder, batch: &CaptionBatch) -> Result<Tensor> {
    let matmul = encoder.matmul;
    match encoder.embedding.dtype() {
        DType::F64 => {
            let packed: Option<Arc<[PackedWeights<f64>; 2]>> = None;
            pass::average(encoder, batch, CpuRecurrence { matmul, packed })
        }
        _ => {
            let packed = encoder.packed.clone();
            pass::average(encoder, batch, CpuRecurrence { matmul, packed })
        }
    }
}

/// The weights of one direction, packed as right sides of products.
#[derive(Debug)]
pub(super) struct PackedWeights<T> {
    /// `weight_ih`, transposed.
    of_words: PackedRight<T>,
    /// `weight_hh`, transposed.
    of_states: PackedRight<T>,
}

impl<T: WithDType + Number> PackedWeights<T> {
    pub(super) fn new(matmul: Matmul, weights: &Direction) -> CandleResult<Self> {
        Ok(Self {
            of_words: packed(matmul, &weights.weight_ih)?,
            of_states: packed(matmul, &weights.weight_hh)?,
        })
    }
}

/// A weight [m, k], packed for products with its transpose.
fn packed<T: WithDType + Number>(matmul: Matmul, weight: &Tensor) -> CandleResult<PackedRight<T>> {
    let (rows, columns) = weight.dims2()?;
    let weight = weight.contiguous()?;
    let weight = reading(&weight);
    let weight = Matrix::row_major(weight.numbers::<T>(NAME)?, rows, columns);
    Ok(PackedRight::new(matmul, weight.transposed()))
}

struct CpuRecurrence<T> {
    matmul: Matmul,
    /// The weights of both directions, if they do not change any more.
    packed: Option<Arc<[PackedWeights<T>; 2]>>,
}

impl<T: WithDType + Number> Recurrence for CpuRecurrence<T> {
    fn product(&self, left: &Tensor, right: &Tensor) -> CandleResult<Tensor> {
        let shape = (left.dim(0)?, right.dim(1)?);
        let (left, right) = (Factor::new(left)?, Factor::new(right)?);
        let readings = [&left, &right].map(|factor| reading(&factor.row_major));
        let left = left.matrix::<T>(readings[0].numbers(NAME)?);
        let right = right.matrix(readings[1].numbers(NAME)?);
        let mut product = vec![T::ZERO; shape.0 * shape.1];
        self.matmul
            .parallel_product(&mut product, left, right, Output::Overwrite);
        Tensor::from_vec(product, shape, &Device::Cpu)
    }

    fn words_product(&self, inputs: &DirectionInputs<'_>, words: &Tensor) -> CandleResult<Tensor> {
        let Some(packed) = &self.packed else {
            return self.product(words, &inputs.weights.weight_ih.t()?);
        };
        let ((count, width), gate_rows) = (words.dims2()?, inputs.weights.weight_ih.dim(0)?);
        let words = reading(words);
        let words = Matrix::row_major(words.numbers::<T>(NAME)?, count, width);
        let mut product = vec![T::ZERO; count * gate_rows];
        let weight = &packed[inputs.direction].of_words;
        weight.product(&mut product, words, Output::Overwrite);
        Tensor::from_vec(product, (count, gate_rows), &Device::Cpu)
    }

    fn sum(&self, rows: &Tensor) -> CandleResult<Tensor> {
        let mut sums = vec![T::ZERO; rows.dim(1)?];
        let numbers = reading(rows);
        vectorised(AddRows {
            sums: &mut sums,
            rows: numbers.numbers(NAME)?,
        });
        Tensor::from_vec(sums, rows.dim(1)?, &Device::Cpu)
    }

    fn forward(&self, inputs: &DirectionInputs<'_>, from_words: &Tensor) -> CandleResult<Trace> {
        let (gate_rows, width) = inputs.weights.weight_hh.dims2()?;
        let words = reading(from_words);
        let fresh;
        let weight = match &self.packed {
            Some(packed) => &packed[inputs.direction].of_states,
            None => {
                fresh = packed(self.matmul, &inputs.weights.weight_hh)?;
                &fresh
            }
        };
        let bias = bias::<T>(inputs.weights)?;
        let (captions, count) = (inputs.schedule.captions, inputs.schedule.words());
        let mut gates = vec![T::ZERO; count * 4 * width];
        let mut states = vec![T::ZERO; count * width];
        let zeros = vec![T::ZERO; captions * width];
        let mut from_states = vec![T::ZERO; captions * gate_rows];
        for step in inputs.schedule.steps() {
            let rows = step.rows.clone();
            let (earlier, now) = states.split_at_mut(rows.start * width);
            let previous = previous(&step, earlier, &zeros, width);
            let from_states = &mut from_states[..rows.len() * gate_rows];
            if step.previous_start.is_some() {
                let previous = Matrix::row_major(previous, rows.len(), width);
                weight.product(from_states, previous, Output::Overwrite);
            }
            vectorised(cell::ForwardStep {
                from_words: words.numbers(NAME)?,
                words: &inputs.order.words[rows.clone()],
                from_states,
                bias: &bias,
                previous,
                gates: &mut gates[rows.start * 4 * width..rows.end * 4 * width],
                next: &mut now[..rows.len() * width],
            });
        }
        Ok(Trace {
            states: Tensor::from_vec(states, (count, width), &Device::Cpu)?,
            gates: vec![Tensor::from_vec(gates, (count, 4 * width), &Device::Cpu)?],
        })
    }

    fn backward(
        &self,
        inputs: &DirectionInputs<'_>,
        trace: &Trace,
        averaged: &Tensor,
    ) -> CandleResult<GateGradients> {
        let (gate_rows, width) = inputs.weights.weight_hh.dims2()?;
        let tensors = [
            &inputs.weights.weight_hh,
            &trace.gates[0],
            &trace.states,
            averaged,
        ]
        .map(reading);
        let [weight, gates, states, averaged] =
            tensors.each_ref().map(|tensor| tensor.numbers::<T>(NAME));
        let (gates, states, averaged) = (gates?, states?, averaged?);
        let weight = PackedRight::new(self.matmul, Matrix::row_major(weight?, gate_rows, width));
        let (captions, count) = (inputs.schedule.captions, inputs.schedule.words());
        let distinct = inputs.schedule.ids.len();
        let mut to_words = vec![T::ZERO; distinct * gate_rows];
        let mut to_states = vec![T::ZERO; count * gate_rows];
        let mut carry = vec![T::ZERO; captions * width];
        let zeros = vec![T::ZERO; captions * width];
        for step in inputs.schedule.steps().rev() {
            let rows = step.rows.clone();
            let carry = &mut carry[..rows.len() * width];
            let to_states = &mut to_states[rows.start * gate_rows..rows.end * gate_rows];
            vectorised(cell::BackwardStep {
                gates: &gates[rows.start * 4 * width..rows.end * 4 * width],
                previous: previous(&step, states, &zeros, width),
                averaged,
                words: &inputs.order.words[rows.clone()],
                padded_rows: &inputs.order.padded_rows[rows.clone()],
                carry: &mut *carry,
                to_words: &mut to_words,
                to_states: &mut *to_states,
                width,
            });
            if step.previous_start.is_some() {
                let to_states = Matrix::row_major(to_states, rows.len(), gate_rows);
                weight.product(carry, to_states, Output::Accumulate);
            }
        }
        Ok(GateGradients {
            words: Tensor::from_vec(to_words, (distinct, gate_rows), &Device::Cpu)?,
            states: Tensor::from_vec(to_states, (count, gate_rows), &Device::Cpu)?,
        })
    }
}

/// A factor of a matrix product, without a copy if it is transposed.
struct Factor {
    /// The factor, or its transpose if `is_transposed`.
    row_major: Tensor,
    is_transposed: bool,
}

impl Factor {
    fn new(factor: &Tensor) -> CandleResult<Self> {
        let is_transposed = !factor.is_contiguous();
        let row_major = match is_transposed {
            true => factor.t()?,
            false => factor.clone(),
        };
        Ok(Self {
            row_major,
            is_transposed,
        })
    }

    fn matrix<'a, T>(&self, numbers: &'a [T]) -> Matrix<'a, T> {
        let dims = self.row_major.dims();
        let matrix = Matrix::row_major(numbers, dims[0], dims[1]);
        match self.is_transposed {
            true => matrix.transposed(),
            false => matrix,
        }
    }
}

/// The bias of each gate, [4H]: `b_ir + b_hr`, `b_iz + b_hz`, `b_in`, `b_hn`.
fn bias<T: WithDType + Number>(weights: &Direction) -> CandleResult<Vec<T>> {
    let (bias_ih, bias_hh) = (reading(&weights.bias_ih), reading(&weights.bias_hh));
    let (bias_ih, bias_hh) = (bias_ih.numbers::<T>(NAME)?, bias_hh.numbers::<T>(NAME)?);
    let both = bias_hh.len() / 3 * 2;
    let mut bias = [bias_ih, &bias_hh[both..]].concat();
    for (sum, &b) in bias[..both].iter_mut().zip(bias_hh) {
        *sum += b;
    }
    Ok(bias)
}

/// The states before a step's words: a prefix of the states of the previous step, or zeros.
fn previous<'s, T>(step: &Step, states: &'s [T], zeros: &'s [T], width: usize) -> &'s [T] {
    let len = step.rows.len() * width;
    match step.previous_start {
        None => &zeros[..len],
        Some(row) => &states[row * width..][..len],
    }
}
