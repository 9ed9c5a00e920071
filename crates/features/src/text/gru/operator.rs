//! How does the recurrence run fast on a CPU? As one operator with its own backward through time.
//!
//! Captions are sorted by length, so that every time step is one product over a prefix of them.
//! The two directions run beside each other, each on one thread with single-threaded products and
//! sums in a fixed order: the bytes do not depend on the number of threads. The gradient of `W_hh`
//! is one product over all time steps at the end.

use std::sync::OnceLock;

use candle_core::{
    CpuStorage, CustomOp3, DType, Device, Error as CandleError, Layout, Result as CandleResult,
    Shape, Storage, Tensor,
};
use rayon::prelude::*;

use super::activation::Real;
use super::direction::{Direction, Trace};
use super::recurrence::Recurrence;
use super::schedule::{Reading, Schedule};
use crate::Result;

/// The average of both directions, differentiable, for f32 or f64 on the CPU.
///
/// # Shapes
/// The result is [C, W, H]; padding rows are zero.
///
/// # Errors
/// When the shapes do not fit the schedule, the dtypes differ or are no floats of 32 or 64 bits,
/// or the tensors are not on the CPU.
pub fn average(recurrence: &Recurrence, schedule: &Schedule) -> Result<Tensor> {
    check(recurrence, schedule)?;
    let schedule = schedule.clone();
    let products = recurrence.products.contiguous()?;
    let weights = recurrence.weights.contiguous()?;
    let biases = recurrence.biases.contiguous()?;
    Ok(match products.dtype() {
        DType::F64 => products.apply_op3(&weights, &biases, Operator::<f64>::new(schedule))?,
        _ => products.apply_op3(&weights, &biases, Operator::<f32>::new(schedule))?,
    })
}

fn check(recurrence: &Recurrence, schedule: &Schedule) -> Result<()> {
    let (words, columns) = recurrence.products.dims2()?;
    let (directions, rows, width) = recurrence.weights.dims3()?;
    let (kinds, bias_rows) = recurrence.biases.dims2()?;
    let sizes = [
        ("products of words", "words", schedule.words(), words),
        ("products of words", "gates", 6 * width, columns),
        ("weights of states", "directions", 2, directions),
        ("weights of states", "gates", 3 * width, rows),
        ("biases", "kinds", 4, kinds),
        ("biases", "gates", 3 * width, bias_rows),
    ];
    for (tensor, axis, expected, found) in sizes {
        if expected != found {
            let tensor = tensor.to_owned();
            return Err(uard_core::Error::ShapeMismatch {
                tensor,
                axis,
                expected,
                found,
            }
            .into());
        }
    }
    Ok(())
}

struct Operator<T> {
    schedule: Schedule,
    /// What the way back needs, left here by the way there.
    traces: OnceLock<[Trace<T>; 2]>,
}

impl<T: Real> Operator<T> {
    fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            traces: OnceLock::new(),
        }
    }

    fn directions<'a>(&'a self, weights: &'a [T], biases: &[T]) -> [Direction<'a, T>; 2] {
        let (weights, bias) = (
            weights.split_at(weights.len() / 2),
            biases.split_at(biases.len() / 2),
        );
        [
            Direction::new(&self.schedule, Reading::Forward, weights.0, bias.0),
            Direction::new(&self.schedule, Reading::Reverse, weights.1, bias.1),
        ]
    }

    /// The average of the traces' states, at their padded places.
    fn average(&self, [forward, reverse]: &[Trace<T>; 2], width: usize) -> Vec<T> {
        let schedule = &self.schedule;
        let half = T::from_f64(0.5);
        let caption_len = schedule.longest() * width;
        let mut out = vec![T::ZERO; schedule.captions() * caption_len];
        let ranks = schedule.ranks();
        let captions = out.par_chunks_mut(caption_len.max(1)).enumerate();
        captions.for_each(|(caption, rows)| {
            let steps = schedule.count(caption);
            for (position, row) in rows.chunks_exact_mut(width).take(steps).enumerate() {
                let left = schedule.step(position).start + ranks[caption];
                let right = schedule.step(steps - 1 - position).start + ranks[caption];
                let left = &forward.states[left * width..][..width];
                let right = &reverse.states[right * width..][..width];
                for ((out, a), b) in row.iter_mut().zip(left).zip(right) {
                    *out = half * (*a + *b);
                }
            }
        });
        out
    }

    /// Gradients of products [N, 6H], weights [2, 3H, H] and biases [4, 3H].
    fn gradients(&self, weights: &[T], biases: &[T], averaged: &[T]) -> CandleResult<[Vec<T>; 3]> {
        let [forward, reverse] = self.directions(weights, biases);
        let traces = self
            .traces
            .get()
            .ok_or_else(|| missing("its forward has not run"))?;
        let columns = forward.gate_rows();
        let mut products = vec![T::ZERO; self.schedule.words() * 2 * columns];
        let (mut left, mut right): (Vec<&mut [T]>, Vec<&mut [T]>) = products
            .chunks_exact_mut(2 * columns)
            .map(|row| row.split_at_mut(columns))
            .unzip();
        let mut weight_gradients = vec![T::ZERO; weights.len()];
        let (left_weights, right_weights) = weight_gradients.split_at_mut(weights.len() / 2);
        let (left_biases, right_biases) = rayon::join(
            || forward.backward(&traces[0], averaged, &mut left, left_weights),
            || reverse.backward(&traces[1], averaged, &mut right, right_weights),
        );
        let biases = [left_biases, right_biases].concat();
        Ok([products, weight_gradients, biases])
    }
}

impl<T: Real> CustomOp3 for Operator<T> {
    fn name(&self) -> &'static str {
        "bidirectional-gru"
    }

    fn cpu_fwd(
        &self,
        products: &CpuStorage,
        products_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        biases: &CpuStorage,
        biases_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let products = values::<T>(products, products_layout)?;
        let weights = values::<T>(weights, weights_layout)?;
        let biases = values::<T>(biases, biases_layout)?;
        let width = weights_layout.dims()[2];
        let [forward, reverse] = self.directions(weights, biases);
        let (left, right) = rayon::join(|| forward.forward(products), || reverse.forward(products));
        let traces = [left, right];
        let average = self.average(&traces, width);
        self.traces
            .set(traces)
            .map_err(|_| missing("it has already run; make a new one"))?;
        let shape = (self.schedule.captions(), self.schedule.longest(), width);
        Ok((T::to_cpu_storage_owned(average), shape.into()))
    }

    fn bwd(
        &self,
        products: &Tensor,
        weights: &Tensor,
        biases: &Tensor,
        _average: &Tensor,
        gradient: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let [of_products, of_weights, of_biases] = with_values(weights, |weight_values| {
            with_values(biases, |bias_values| {
                with_values(&gradient, |averaged| {
                    self.gradients(weight_values, bias_values, averaged)
                })
            })
        })?;
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.dims(), &Device::Cpu);
        Ok((
            Some(tensor(of_products, products)?),
            Some(tensor(of_weights, weights)?),
            Some(tensor(of_biases, biases)?),
        ))
    }
}

/// The numbers of a contiguous tensor of type `T`.
fn values<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> CandleResult<&'a [T]> {
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or_else(|| missing("its inputs must be contiguous"))?;
    Ok(&T::cpu_storage_as_slice(storage)?[start..end])
}

fn with_values<T: Real, R>(
    tensor: &Tensor,
    f: impl FnOnce(&[T]) -> CandleResult<R>,
) -> CandleResult<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(values(storage, layout)?),
        _ => Err(missing("its tensors must be on the CPU")),
    }
}

fn missing(what: &str) -> CandleError {
    CandleError::Msg(format!("bidirectional-gru: {what}")).bt()
}
