//! How does one direction run through its time steps, there and back?

use uard_core::product::{Matrix, Output, product};

use super::activation::Real;
use super::cell;
use super::schedule::{Reading, Schedule};

/// One direction of the layer over one batch.
pub(super) struct Direction<'a, T> {
    schedule: &'a Schedule,
    reading: Reading,
    /// `W_hh` [3H, H].
    weight: &'a [T],
    /// [4H]: `b_ir + b_hr`, `b_iz + b_hz`, `b_in`, `b_hn`.
    bias: Vec<T>,
    width: usize,
}

/// What a direction did, in step order.
#[derive(Debug)]
pub(super) struct Trace<T> {
    /// [N, 4H], see [`cell`].
    gates: Vec<T>,
    /// [N, H].
    pub states: Vec<T>,
}

impl<'a, T: Real> Direction<'a, T> {
    /// # Shapes
    /// `weight` [3H, H]; `biases` [2, 3H]: `b_ih`, `b_hh`.
    pub fn new(schedule: &'a Schedule, reading: Reading, weight: &'a [T], biases: &[T]) -> Self {
        let width = biases.len() / 6;
        let (of_word, of_state) = biases.split_at(3 * width);
        let mut bias: Vec<T> = of_word
            .iter()
            .chain(&of_state[2 * width..])
            .copied()
            .collect();
        for (sum, b) in bias[..2 * width].iter_mut().zip(of_state) {
            *sum += *b;
        }
        Self {
            schedule,
            reading,
            weight,
            bias,
            width,
        }
    }

    /// Rows of the gates, 3H.
    pub fn gate_rows(&self) -> usize {
        3 * self.width
    }

    /// # Shapes
    /// `products` [N, 6H] in caption order, of both directions.
    pub fn forward(&self, products: &[T]) -> Trace<T> {
        let (width, rows, words) = (self.width, self.gate_rows(), self.schedule.words());
        let weight = transposed(self.weight, rows, width);
        let column = match self.reading {
            Reading::Forward => 0,
            Reading::Reverse => rows,
        };
        let mut gates = vec![T::ZERO; words * 4 * width];
        let mut states = vec![T::ZERO; words * width];
        let mut from_states = vec![T::ZERO; self.schedule.captions() * rows];
        let zeros = vec![T::ZERO; self.schedule.captions() * width];
        for step in 0..self.schedule.steps() {
            let range = self.schedule.step(step);
            let (earlier, now) = states.split_at_mut(range.start * width);
            let previous = self.previous(step, earlier, &zeros);
            let from_states = &mut from_states[..range.len() * rows];
            if step > 0 {
                let previous = Matrix::row_major(previous, range.len(), width);
                let weight = Matrix::row_major(&weight, width, rows);
                product(from_states, previous, weight, Output::Overwrite);
            }
            let gates = &mut gates[range.start * 4 * width..];
            for (row, (caption, position)) in self.schedule.reads(step, self.reading).enumerate() {
                let word = self.schedule.row(caption, position) * 2 * rows + column;
                cell::forward(
                    (
                        &products[word..][..rows],
                        &from_states[row * rows..][..rows],
                    ),
                    &self.bias,
                    &previous[row * width..][..width],
                    &mut gates[row * 4 * width..][..4 * width],
                    &mut now[row * width..][..width],
                );
            }
        }
        Trace { gates, states }
    }

    /// The gradients, given that of the average; the biases' is returned.
    ///
    /// # Shapes
    /// `averaged` [C, W, H]; `to_words` N rows of 3H in caption order; `to_weight` [3H, H]; the
    /// result is [2, 3H].
    pub fn backward(
        &self,
        trace: &Trace<T>,
        averaged: &[T],
        to_words: &mut [&mut [T]],
        to_weight: &mut [T],
    ) -> Vec<T> {
        let (width, rows, words) = (self.width, self.gate_rows(), self.schedule.words());
        let mut to_states = vec![T::ZERO; words * rows];
        let mut carry = vec![T::ZERO; self.schedule.captions() * width];
        let zeros = vec![T::ZERO; self.schedule.captions() * width];
        for step in (0..self.schedule.steps()).rev() {
            let range = self.schedule.step(step);
            let previous = self.previous(step, &trace.states, &zeros);
            let gates = &trace.gates[range.start * 4 * width..];
            let to_states = &mut to_states[range.start * rows..range.end * rows];
            for (row, (caption, position)) in self.schedule.reads(step, self.reading).enumerate() {
                let padded = caption * self.schedule.longest() + position;
                cell::backward(
                    &gates[row * 4 * width..][..4 * width],
                    &previous[row * width..][..width],
                    &averaged[padded * width..][..width],
                    &mut carry[row * width..][..width],
                    (
                        &mut *to_words[self.schedule.row(caption, position)],
                        &mut to_states[row * rows..][..rows],
                    ),
                );
            }
            if step > 0 {
                let to_states = Matrix::row_major(to_states, range.len(), rows);
                let weight = Matrix::row_major(self.weight, rows, width);
                let carry = &mut carry[..range.len() * width];
                product(carry, to_states, weight, Output::Accumulate);
            }
        }
        self.weight_gradient(trace, &to_states, to_weight);
        self.bias_gradient(to_words, &to_states)
    }

    /// The states before a step's words: a prefix of the step before, or zeros.
    fn previous<'s>(&self, step: usize, states: &'s [T], zeros: &'s [T]) -> &'s [T] {
        let len = self.schedule.step(step).len() * self.width;
        match step.checked_sub(1) {
            None => &zeros[..len],
            Some(before) => &states[self.schedule.step(before).start * self.width..][..len],
        }
    }

    /// One product over all steps but the first, whose previous states are zero.
    fn weight_gradient(&self, trace: &Trace<T>, to_states: &[T], to_weight: &mut [T]) {
        let (rows, words) = (self.gate_rows(), self.schedule.words());
        let first = if words == 0 {
            0
        } else {
            self.schedule.step(0).len()
        };
        let mut previous = Vec::with_capacity((words - first) * self.width);
        for step in 1..self.schedule.steps() {
            previous.extend_from_slice(self.previous(step, &trace.states, &[]));
        }
        let to_states = Matrix::row_major(&to_states[first * rows..], words - first, rows);
        let previous = Matrix::row_major(&previous, words - first, self.width);
        product(
            to_weight,
            to_states.transposed(),
            previous,
            Output::Overwrite,
        );
    }

    fn bias_gradient(&self, to_words: &[&mut [T]], to_states: &[T]) -> Vec<T> {
        let rows = self.gate_rows();
        let mut sums = vec![T::ZERO; 2 * rows];
        let (of_word, of_state) = sums.split_at_mut(rows);
        for row in to_words.iter() {
            add(of_word, row);
        }
        for row in to_states.chunks_exact(rows) {
            add(of_state, row);
        }
        sums
    }
}

fn add<T: Real>(sums: &mut [T], row: &[T]) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += *value;
    }
}

/// A row-major matrix [rows, columns] as [columns, rows], in tiles that stay in the cache.
fn transposed<T: Real>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    const TILE: usize = 16;
    let mut out = vec![T::ZERO; values.len()];
    for top in (0..rows).step_by(TILE) {
        for left in (0..columns).step_by(TILE) {
            for column in left..columns.min(left + TILE) {
                for row in top..rows.min(top + TILE) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}
