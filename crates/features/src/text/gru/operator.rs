//! The fast form for the CPU: time steps in slices, with their own way back.
//!
//! Captions are sorted by length, so that every time step is one product over a prefix of them, with
//! weights that are packed once.

use std::marker::PhantomData;

use candle_core::{DType, Device, Result as CandleResult, Tensor, WithDType};
use uard_core::slices::reading;
use uard_linalg::matmul::Matmul;
use uard_linalg::product::{Matrix, Output, PackedRight};
use uard_linalg::vector::{AddRows, Number, vectorised};

use super::batch::CaptionBatch;
use super::pass::{self, Form, Gates, Run, Trace};
use super::schedule::Step;
use super::{Direction, TextEncoder, cell};
use crate::Result;

const NAME: &str = "bidirectional-gru";

/// A number type of the recurrence: `f32` for training, `f64` for finite differences.
pub(super) trait Real: WithDType + Number {}
impl Real for f32 {}
impl Real for f64 {}

/// The average of both directions, differentiable, for f32 or f64 on the CPU.
///
/// # Shapes
/// The result is [C, W, H]; padding rows are zero.
///
/// # Errors
/// When an id is not in the vocabulary, or the tensors are not on the CPU.
pub fn average(encoder: &TextEncoder, batch: &CaptionBatch) -> Result<Tensor> {
    match encoder.embedding.dtype() {
        DType::F64 => pass::average(encoder, batch, Slices::<f64>::new(encoder.matmul)),
        _ => pass::average(encoder, batch, Slices::<f32>::new(encoder.matmul)),
    }
}

struct Slices<T> {
    matmul: Matmul,
    number: PhantomData<T>,
}

impl<T: Real> Slices<T> {
    fn new(matmul: Matmul) -> Self {
        Self {
            matmul,
            number: PhantomData,
        }
    }
}

impl<T: Real> Form for Slices<T> {
    fn product(&self, left: &Tensor, right: &Tensor) -> CandleResult<Tensor> {
        let shape = (left.dim(0)?, right.dim(1)?);
        let (left, right) = (Side::new(left)?, Side::new(right)?);
        let readings = [&left, &right].map(|side| reading(&side.row_major));
        let left = left.matrix::<T>(readings[0].numbers(NAME)?);
        let right = right.matrix(readings[1].numbers(NAME)?);
        let mut product = vec![T::ZERO; shape.0 * shape.1];
        self.matmul
            .parallel_product(&mut product, left, right, Output::Overwrite);
        Tensor::from_vec(product, shape, &Device::Cpu)
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

    fn forward(&self, run: &Run<'_>, from_words: &Tensor) -> CandleResult<Trace> {
        let (gate_rows, width) = run.weights.weight_hh.dims2()?;
        let (words, weight) = (reading(from_words), reading(&run.weights.weight_hh));
        let of_states = Matrix::row_major(weight.numbers::<T>(NAME)?, gate_rows, width);
        let of_states = PackedRight::new(self.matmul, of_states.transposed());
        let bias = bias::<T>(run.weights)?;
        let (captions, count) = (run.schedule.captions, run.schedule.words());
        let mut gates = vec![T::ZERO; count * 4 * width];
        let mut states = vec![T::ZERO; count * width];
        let zeros = vec![T::ZERO; captions * width];
        let mut from_states = vec![T::ZERO; captions * gate_rows];
        for step in run.schedule.steps() {
            let rows = step.rows.clone();
            let (earlier, now) = states.split_at_mut(rows.start * width);
            let previous = previous(&step, earlier, &zeros, width);
            let from_states = &mut from_states[..rows.len() * gate_rows];
            if step.before.is_some() {
                let previous = Matrix::row_major(previous, rows.len(), width);
                of_states.product(from_states, previous, Output::Overwrite);
            }
            vectorised(cell::Forward {
                words: words.numbers(NAME)?,
                reads: &run.reading.words[rows.clone()],
                states: from_states,
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

    fn backward(&self, run: &Run<'_>, trace: &Trace, averaged: &Tensor) -> CandleResult<Gates> {
        let (gate_rows, width) = run.weights.weight_hh.dims2()?;
        let inputs = [
            &run.weights.weight_hh,
            &trace.gates[0],
            &trace.states,
            averaged,
        ]
        .map(reading);
        let [weight, gates, states, averaged] =
            inputs.each_ref().map(|input| input.numbers::<T>(NAME));
        let (gates, states, averaged) = (gates?, states?, averaged?);
        let of_states = Matrix::row_major(weight?, gate_rows, width);
        let of_states = PackedRight::new(self.matmul, of_states);
        let (captions, count) = (run.schedule.captions, run.schedule.words());
        let distinct = run.schedule.ids.len();
        let mut to_words = vec![T::ZERO; distinct * gate_rows];
        let mut to_states = vec![T::ZERO; count * gate_rows];
        let mut carry = vec![T::ZERO; captions * width];
        let zeros = vec![T::ZERO; captions * width];
        for step in run.schedule.steps().rev() {
            let rows = step.rows.clone();
            let carry = &mut carry[..rows.len() * width];
            let to_states = &mut to_states[rows.start * gate_rows..rows.end * gate_rows];
            vectorised(cell::Backward {
                gates: &gates[rows.start * 4 * width..rows.end * 4 * width],
                previous: previous(&step, states, &zeros, width),
                averaged,
                words: &run.reading.words[rows.clone()],
                places: &run.reading.places[rows.clone()],
                carry: &mut *carry,
                to_words: &mut to_words,
                to_states: &mut *to_states,
                width,
            });
            if step.before.is_some() {
                let to_states = Matrix::row_major(to_states, rows.len(), gate_rows);
                of_states.product(carry, to_states, Output::Accumulate);
            }
        }
        Ok(Gates {
            of_words: Tensor::from_vec(to_words, (distinct, gate_rows), &Device::Cpu)?,
            of_states: Tensor::from_vec(to_states, (count, gate_rows), &Device::Cpu)?,
        })
    }
}

/// A side of a product.
struct Side {
    row_major: Tensor,
    turned: bool,
}

impl Side {
    fn new(side: &Tensor) -> CandleResult<Self> {
        let turned = !side.is_contiguous();
        let row_major = if turned { side.t()? } else { side.clone() };
        Ok(Self { row_major, turned })
    }

    fn matrix<'a, T>(&self, numbers: &'a [T]) -> Matrix<'a, T> {
        let dims = self.row_major.dims();
        let matrix = Matrix::row_major(numbers, dims[0], dims[1]);
        if self.turned {
            matrix.transposed()
        } else {
            matrix
        }
    }
}

/// [4H]: `b_ir + b_hr`, `b_iz + b_hz`, `b_in`, `b_hn`.
fn bias<T: Real>(weights: &Direction) -> CandleResult<Vec<T>> {
    let (of_words, of_states) = (reading(&weights.bias_ih), reading(&weights.bias_hh));
    let (of_words, of_states) = (of_words.numbers::<T>(NAME)?, of_states.numbers::<T>(NAME)?);
    let both = of_states.len() / 3 * 2;
    let mut bias = [of_words, &of_states[both..]].concat();
    for (sum, &b) in bias[..both].iter_mut().zip(of_states) {
        *sum += b;
    }
    Ok(bias)
}

/// The states before a step's words: a prefix of the step before, or zeros.
fn previous<'s, T>(step: &Step, states: &'s [T], zeros: &'s [T], width: usize) -> &'s [T] {
    let len = step.rows.len() * width;
    match step.before {
        None => &zeros[..len],
        Some(before) => &states[before * width..][..len],
    }
}
