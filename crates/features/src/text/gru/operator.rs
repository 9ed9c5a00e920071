//! How do embedding and recurrence run fast on a CPU? As one operator with its own backward
//! through time.
//!
//! Captions are sorted by length, so that every time step is one product over a prefix of them,
//! with weights that are packed once. Everything else is a product over all words at once. The two
//! directions run beside each other; work is cut by data and summed in a fixed order: the bytes do
//! not depend on the number of threads.
//!
//! The operator has nine parameters, and candle's custom operators take three tensors at most. So
//! each three parameters pass a [`Door`], an operator whose result is a single zero, and the
//! recurrence is an operator on three doors. All read the parameters from what they share; on the
//! way back, the recurrence leaves the gradients there and each door hands out its three.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{
    CpuStorage, CustomOp3, DType, Device, Error as CandleError, Layout, Result as CandleResult,
    Shape, Storage, Tensor,
};
use rayon::prelude::*;

use super::activation::Real;
use super::batch::CaptionBatch;
use super::direction::{Direction, Gradients, Trace, Weights};
use super::recurrence::Recurrence;
use super::schedule::{Reading, Schedule};
use crate::Result;

/// The average of both directions, differentiable, for f32 or f64 on the CPU.
///
/// # Shapes
/// The result is [C, W, H]; padding rows are zero.
///
/// # Errors
/// When an id is not in the vocabulary, the shapes do not fit each other, the dtypes differ or are
/// no floats of 32 or 64 bits, or the tensors are not on the CPU.
pub fn average(recurrence: &Recurrence, batch: &CaptionBatch) -> Result<Tensor> {
    check(recurrence)?;
    batch.check_vocabulary(recurrence.vocabulary()?)?;
    match recurrence.embedding.dtype() {
        DType::F64 => apply::<f64>(recurrence, batch),
        _ => apply::<f32>(recurrence, batch),
    }
}

fn apply<T: Real>(recurrence: &Recurrence, batch: &CaptionBatch) -> Result<Tensor> {
    let tensors = recurrence.tensors();
    let mut contiguous = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        contiguous.push(tensor.contiguous()?);
    }
    let shared = Arc::new(Shared::<T> {
        parameters: contiguous.iter().map(Tensor::detach).collect(),
        ids: batch.words().to_vec(),
        schedule: batch.schedule(),
        matmul: recurrence.matmul,
        traces: OnceLock::new(),
        gradients: Mutex::new(Vec::new()),
    });
    let mut doors = Vec::with_capacity(3);
    for (door, three) in contiguous.chunks_exact(3).enumerate() {
        let shared = Arc::clone(&shared);
        doors.push(three[0].apply_op3(&three[1], &three[2], Door { door, shared })?);
    }
    Ok(doors[0].apply_op3(&doors[1], &doors[2], Operator { shared })?)
}

fn check(recurrence: &Recurrence) -> Result<()> {
    let (_, words) = recurrence.embedding.dims2()?;
    let width = recurrence.width()?;
    for direction in [&recurrence.forward, &recurrence.reverse] {
        let matrices = [
            ("weights of words", &direction.weight_ih, words),
            ("weights of states", &direction.weight_hh, width),
        ];
        for (tensor, weight, columns) in matrices {
            let (rows, found) = weight.dims2()?;
            fits(tensor, "gates", 3 * width, rows)?;
            fits(tensor, "inputs", columns, found)?;
        }
        for bias in [&direction.bias_ih, &direction.bias_hh] {
            fits("biases", "gates", 3 * width, bias.dims1()?)?;
        }
    }
    Ok(())
}

fn fits(tensor: &str, axis: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(uard_core::Error::ShapeMismatch {
        tensor: tensor.to_owned(),
        axis,
        expected,
        found,
    }
    .into())
}

/// What the recurrence and its doors know of each other.
struct Shared<T> {
    /// In the order of [`Recurrence::tensors`], contiguous.
    parameters: Vec<Tensor>,
    /// Of the valid words, in caption order.
    ids: Vec<u32>,
    schedule: Schedule,
    matmul: uard_core::matmul::Matmul,
    /// What the way back needs, left here by the way there.
    traces: OnceLock<[Trace<T>; 2]>,
    /// In the order of the parameters, from the recurrence's way back until a door takes them.
    gradients: Mutex<Vec<Option<Tensor>>>,
}

impl<T: Real> Shared<T> {
    /// Runs on both directions with their parameters.
    fn with_directions<R: Send>(
        &self,
        run: impl Fn(usize, &Direction<'_, T>) -> R + Sync,
    ) -> CandleResult<(R, R)> {
        let guards: Vec<_> = self
            .parameters
            .iter()
            .map(Tensor::storage_and_layout)
            .collect();
        let mut slices = Vec::with_capacity(guards.len());
        for (storage, layout) in &guards {
            slices.push(match &**storage {
                Storage::Cpu(storage) => values::<T>(storage, layout)?,
                _ => return Err(missing("its tensors must be on the CPU")),
            });
        }
        let direction = |at: usize, reading| Direction {
            schedule: &self.schedule,
            reading,
            weights: Weights {
                words: slices[1 + at],
                states: slices[3 + at],
                biases: [slices[5 + 2 * at], slices[6 + 2 * at]],
            },
            matmul: self.matmul,
        };
        let left = direction(0, Reading::Forward);
        let right = direction(1, Reading::Reverse);
        Ok(rayon::join(|| run(0, &left), || run(1, &right)))
    }

    /// The embedded words [N, E] in the step order of a direction.
    fn embedded(&self, reading: Reading) -> CandleResult<Vec<T>> {
        let width = self.parameters[0].dim(1)?;
        with_values(&self.parameters[0], |embedding: &[T]| {
            let rows = self.schedule.rows(reading);
            let mut words = Vec::with_capacity(rows.len() * width);
            for row in rows {
                let id = self.ids[row] as usize;
                words.extend_from_slice(&embedding[id * width..][..width]);
            }
            Ok(words)
        })
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

    /// Adds each word's gradient to its row, word after word, first as the forward direction read
    /// it, then as the reverse direction did.
    fn embedding_gradient(&self, words: [&[T]; 2]) -> CandleResult<Vec<T>> {
        let (vocabulary, width) = self.parameters[0].dims2()?;
        let mut gradient = vec![T::ZERO; vocabulary * width];
        for (reading, words) in [Reading::Forward, Reading::Reverse].into_iter().zip(words) {
            let rows = self.schedule.rows(reading);
            for (row, word) in rows.into_iter().zip(words.chunks_exact(width.max(1))) {
                let id = self.ids[row] as usize;
                for (sum, &value) in gradient[id * width..][..width].iter_mut().zip(word) {
                    *sum += value;
                }
            }
        }
        Ok(gradient)
    }

    /// Leaves every parameter's gradient for the doors.
    fn leave_gradients(&self, averaged: &[T]) -> CandleResult<()> {
        let traces = self
            .traces
            .get()
            .ok_or_else(|| missing("its forward has not run"))?;
        let (left, right): (Gradients<T>, Gradients<T>) =
            self.with_directions(|at, direction| direction.backward(&traces[at], averaged))?;
        let embedding = self.embedding_gradient([&left.words, &right.words])?;
        let [left_ih, left_hh] = left.biases;
        let [right_ih, right_hh] = right.biases;
        let all = [
            embedding,
            left.of_words,
            right.of_words,
            left.of_states,
            right.of_states,
            left_ih,
            left_hh,
            right_ih,
            right_hh,
        ];
        let mut gradients = Vec::with_capacity(all.len());
        for (values, parameter) in all.into_iter().zip(&self.parameters) {
            gradients.push(Some(Tensor::from_vec(
                values,
                parameter.dims(),
                &Device::Cpu,
            )?));
        }
        *self
            .gradients
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = gradients;
        Ok(())
    }
}

/// Three parameters to a single zero; see the module.
struct Door<T> {
    door: usize,
    shared: Arc<Shared<T>>,
}

impl<T: Real> CustomOp3 for Door<T> {
    fn name(&self) -> &'static str {
        "parameters-of-gru"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        Ok((T::to_cpu_storage_owned(vec![T::ZERO]), Shape::from(1)))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut gradients = self
            .shared
            .gradients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut take = |at: usize| {
            gradients
                .get_mut(3 * self.door + at)
                .and_then(Option::take)
                .ok_or_else(|| missing("its backward has not run"))
        };
        Ok((Some(take(0)?), Some(take(1)?), Some(take(2)?)))
    }
}

/// Three doors to the average [C, W, H].
struct Operator<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Real> CustomOp3 for Operator<T> {
    fn name(&self) -> &'static str {
        "bidirectional-gru"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let shared = &self.shared;
        let width = shared.parameters[3].dim(1)?;
        let (left, right) = shared.with_directions(|_, direction| {
            shared
                .embedded(direction.reading)
                .map(|words| direction.forward(words))
        })?;
        let traces = [left?, right?];
        let average = shared.average(&traces, width);
        shared
            .traces
            .set(traces)
            .map_err(|_| missing("it has already run; make a new one"))?;
        let shape = (shared.schedule.captions(), shared.schedule.longest(), width);
        Ok((T::to_cpu_storage_owned(average), shape.into()))
    }

    fn bwd(
        &self,
        first: &Tensor,
        second: &Tensor,
        third: &Tensor,
        _average: &Tensor,
        gradient: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        with_values(&gradient.contiguous()?, |averaged| {
            self.shared.leave_gradients(averaged)
        })?;
        Ok((
            Some(first.zeros_like()?),
            Some(second.zeros_like()?),
            Some(third.zeros_like()?),
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
