//! What do the recurrence and its doors share? Parameters, words, traces and gradients.

use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::{Device, Error as CandleError, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;
use uard_core::slices::reading;
use uard_linalg::matmul::Matmul;

use super::activation::Real;
use super::batch::CaptionBatch;
use super::direction::{Direction, Gradients, Trace, Weights};
use super::recurrence::Recurrence;
use super::schedule::{Reading, Schedule};

pub(super) const NAME: &str = "bidirectional-gru";

/// What the recurrence and its doors know of each other.
pub(super) struct Shared<T> {
    /// In the order of [`Recurrence::tensors`], contiguous.
    parameters: Vec<Tensor>,
    /// Of the distinct words.
    ids: Vec<u32>,
    /// Which of them each word is, in caption order.
    reads: Vec<usize>,
    schedule: Schedule,
    matmul: Matmul,
    /// What the way back needs, left here by the way there.
    traces: OnceLock<[Trace<T>; 2]>,
    /// In the order of the parameters, from the recurrence's way back until a door takes them.
    gradients: Mutex<Vec<Option<Tensor>>>,
}

impl<T: Real> Shared<T> {
    pub(super) fn new(recurrence: &Recurrence, batch: &CaptionBatch) -> CandleResult<Self> {
        let mut parameters = Vec::new();
        for tensor in recurrence.tensors() {
            parameters.push(tensor.contiguous()?.detach());
        }
        let (ids, reads) = batch.distinct();
        Ok(Self {
            parameters,
            ids,
            reads,
            schedule: batch.schedule(),
            matmul: recurrence.matmul,
            traces: OnceLock::new(),
            gradients: Mutex::new(Vec::new()),
        })
    }

    /// Runs on both directions with their parameters, beside each other.
    fn with_directions<R: Send>(
        &self,
        run: impl Fn(usize, &Direction<'_, T>) -> R + Sync,
    ) -> CandleResult<(R, R)> {
        let words = self.embedded()?;
        let readings: Vec<_> = self.parameters.iter().map(reading).collect();
        let slices = readings.iter().map(|reading| reading.numbers::<T>(NAME));
        let slices = slices.collect::<CandleResult<Vec<_>>>()?;
        let direction = |at: usize, reading| Direction {
            schedule: &self.schedule,
            reading,
            words: &words,
            reads: &self.reads,
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

    /// The embedded distinct words [U, E].
    fn embedded(&self) -> CandleResult<Vec<T>> {
        let width = self.parameters[0].dim(1)?;
        let embedding = reading(&self.parameters[0]);
        let embedding = embedding.numbers::<T>(NAME)?;
        let mut words = Vec::with_capacity(self.ids.len() * width);
        for &id in &self.ids {
            words.extend_from_slice(&embedding[id as usize * width..][..width]);
        }
        Ok(words)
    }

    /// Runs both directions; the average of their states [C, W, H].
    pub(super) fn forward(&self) -> CandleResult<(Vec<T>, Shape)> {
        let width = self.parameters[3].dim(1)?;
        let (left, right) = self.with_directions(|_, direction| direction.forward())?;
        let traces = [left, right];
        let average = self.average(&traces, width);
        self.traces
            .set(traces)
            .map_err(|_| missing("it has already run; make a new one"))?;
        let shape = (self.schedule.captions(), self.schedule.longest(), width);
        Ok((average, shape.into()))
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

    /// The gradient of the embedding: zero but for the rows of the distinct words.
    fn embedding_gradient(&self, [left, right]: [&[T]; 2]) -> CandleResult<Vec<T>> {
        let (vocabulary, width) = self.parameters[0].dims2()?;
        let mut gradient = vec![T::ZERO; vocabulary * width];
        let words = left.chunks_exact(width.max(1));
        let words = words.zip(right.chunks_exact(width.max(1)));
        for (&id, (left, right)) in self.ids.iter().zip(words) {
            let row = &mut gradient[id as usize * width..][..width];
            for ((sum, &a), &b) in row.iter_mut().zip(left).zip(right) {
                *sum = a + b;
            }
        }
        Ok(gradient)
    }

    /// Leaves every parameter's gradient for the doors.
    pub(super) fn leave_gradients(&self, averaged: &[T]) -> CandleResult<()> {
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

    /// The gradients of the three parameters of a door, once.
    pub(super) fn take_gradients(&self, door: usize) -> CandleResult<[Tensor; 3]> {
        let mut gradients = self
            .gradients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut take = |at: usize| {
            gradients
                .get_mut(3 * door + at)
                .and_then(Option::take)
                .ok_or_else(|| missing("its backward has not run"))
        };
        Ok([take(0)?, take(1)?, take(2)?])
    }
}

pub(super) fn missing(what: &str) -> CandleError {
    CandleError::Msg(format!("{NAME}: {what}")).bt()
}
