//! How does one direction run through its time steps, there and back?

use uard_linalg::matmul::Matmul;
use uard_linalg::product::{Matrix, Output, PackedRight};
use uard_linalg::vector::{AddRows, vectorised};

use super::activation::Real;
use super::cell;
use super::schedule::{Reading, Schedule};

/// One direction of the layer over one batch.
pub(super) struct Direction<'a, T> {
    pub schedule: &'a Schedule,
    pub reading: Reading,
    /// Embedded distinct words [U, E].
    pub words: &'a [T],
    /// Which of them each word is, in caption order.
    pub reads: &'a [usize],
    pub weights: Weights<'a, T>,
    pub matmul: Matmul,
}

/// The parameters of a direction.
///
/// # Shapes
/// `words` = `W_ih` [3H, E], `states` = `W_hh` [3H, H], `biases` = `b_ih`, `b_hh` [3H].
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights<'a, T> {
    pub words: &'a [T],
    pub states: &'a [T],
    pub biases: [&'a [T]; 2],
}

/// What a direction did, in step order.
#[derive(Debug)]
pub(super) struct Trace<T> {
    /// [N, 4H], see [`cell`].
    gates: Vec<T>,
    /// [N, H].
    pub states: Vec<T>,
}

/// The gradients of one direction.
#[derive(Debug)]
pub(super) struct Gradients<T> {
    /// Of the embedded distinct words [U, E].
    pub words: Vec<T>,
    /// Of `W_ih` [3H, E].
    pub of_words: Vec<T>,
    /// Of `W_hh` [3H, H].
    pub of_states: Vec<T>,
    /// Of `b_ih` and `b_hh` [3H].
    pub biases: [Vec<T>; 2],
}

impl<T: Real> Direction<'_, T> {
    fn width(&self) -> usize {
        self.gate_rows() / 3
    }

    /// Rows of the gates, 3H.
    fn gate_rows(&self) -> usize {
        self.weights.biases[0].len()
    }

    /// Width E of an embedded word.
    fn word_width(&self) -> usize {
        self.weights.words.len() / self.gate_rows()
    }

    /// Distinct words U.
    fn distinct(&self) -> usize {
        self.words.len() / self.word_width().max(1)
    }

    pub(super) fn forward(&self) -> Trace<T> {
        let (width, rows, count) = (self.width(), self.gate_rows(), self.schedule.words());
        let mut from_words = vec![T::ZERO; self.distinct() * rows];
        let of_words = Matrix::row_major(self.weights.words, rows, self.word_width());
        self.matmul.parallel_product(
            &mut from_words,
            Matrix::row_major(self.words, self.distinct(), self.word_width()),
            of_words.transposed(),
            Output::Overwrite,
        );
        let of_states = Matrix::row_major(self.weights.states, rows, width);
        let of_states = PackedRight::new(self.matmul, of_states.transposed());
        let bias = self.bias();
        let mut gates = vec![T::ZERO; count * 4 * width];
        let mut states = vec![T::ZERO; count * width];
        let mut from_states = vec![T::ZERO; self.schedule.captions() * rows];
        let zeros = vec![T::ZERO; self.schedule.captions() * width];
        let mut reads = Vec::with_capacity(self.schedule.captions());
        for step in 0..self.schedule.steps() {
            reads.clear();
            reads.extend(self.reads_of(step).map(|(word, _)| word));
            let range = self.schedule.step(step);
            let (earlier, now) = states.split_at_mut(range.start * width);
            let previous = self.previous(step, earlier, &zeros);
            let from_states = &mut from_states[..range.len() * rows];
            if step > 0 {
                let previous = Matrix::row_major(previous, range.len(), width);
                of_states.product(from_states, previous, Output::Overwrite);
            }
            vectorised(cell::Forward {
                words: &from_words,
                reads: &reads,
                states: from_states,
                bias: &bias,
                previous,
                gates: &mut gates[range.start * 4 * width..range.end * 4 * width],
                next: &mut now[..range.len() * width],
            });
        }
        Trace { gates, states }
    }

    /// The gradients, given that of the average.
    ///
    /// # Shapes
    /// `averaged` [C, W, H].
    pub(super) fn backward(&self, trace: &Trace<T>, averaged: &[T]) -> Gradients<T> {
        let (rows, distinct) = (self.gate_rows(), self.distinct());
        let (to_words, to_states) = self.through_time(trace, averaged);
        let (depth, of_gates) = (
            self.word_width(),
            Matrix::row_major(&to_words, distinct, rows),
        );
        let mut words = vec![T::ZERO; distinct * depth];
        let weights = Matrix::row_major(self.weights.words, rows, depth);
        self.matmul
            .parallel_product(&mut words, of_gates, weights, Output::Overwrite);
        let mut of_words = vec![T::ZERO; rows * depth];
        let read = Matrix::row_major(self.words, distinct, depth);
        let of_gates = of_gates.transposed();
        self.matmul
            .parallel_product(&mut of_words, of_gates, read, Output::Overwrite);
        Gradients {
            words,
            of_words,
            of_states: self.weight_gradient(trace, &to_states),
            biases: [&to_words, &to_states].map(|gradients| {
                let mut sums = vec![T::ZERO; rows];
                vectorised(AddRows {
                    sums: &mut sums,
                    rows: gradients,
                });
                sums
            }),
        }
    }

    /// The gradients of what words add to the gates, [U, 3H], and of what states add, [N, 3H] in
    /// step order.
    fn through_time(&self, trace: &Trace<T>, averaged: &[T]) -> (Vec<T>, Vec<T>) {
        let (width, rows, count) = (self.width(), self.gate_rows(), self.schedule.words());
        let of_states = Matrix::row_major(self.weights.states, rows, width);
        let of_states = PackedRight::new(self.matmul, of_states);
        let mut to_words = vec![T::ZERO; self.distinct() * rows];
        let mut to_states = vec![T::ZERO; count * rows];
        let mut carry = vec![T::ZERO; self.schedule.captions() * width];
        let zeros = vec![T::ZERO; self.schedule.captions() * width];
        let mut reads = Vec::with_capacity(self.schedule.captions());
        for step in (0..self.schedule.steps()).rev() {
            let range = self.schedule.step(step);
            reads.clear();
            reads.extend(self.reads_of(step));
            let carry = &mut carry[..range.len() * width];
            let to_states = &mut to_states[range.start * rows..range.end * rows];
            vectorised(cell::Backward {
                gates: &trace.gates[range.start * 4 * width..range.end * 4 * width],
                previous: self.previous(step, &trace.states, &zeros),
                averaged,
                reads: &reads,
                carry: &mut *carry,
                to_words: &mut to_words,
                to_states: &mut *to_states,
                width,
            });
            if step > 0 {
                let to_states = Matrix::row_major(to_states, range.len(), rows);
                of_states.product(carry, to_states, Output::Accumulate);
            }
        }
        (to_words, to_states)
    }

    /// The distinct word and the padded row that each caption reads at a step.
    fn reads_of(&self, step: usize) -> impl Iterator<Item = (usize, usize)> {
        let reads = self.schedule.reads(step, self.reading);
        reads.map(|(caption, position)| {
            let word = self.reads[self.schedule.row(caption, position)];
            (word, caption * self.schedule.longest() + position)
        })
    }

    /// [4H]: `b_ir + b_hr`, `b_iz + b_hz`, `b_in`, `b_hn`.
    fn bias(&self) -> Vec<T> {
        let ([of_words, of_states], width) = (self.weights.biases, self.width());
        let mut bias = [of_words, &of_states[2 * width..]].concat();
        for (sum, &b) in bias[..2 * width].iter_mut().zip(of_states) {
            *sum += b;
        }
        bias
    }

    /// The states before a step's words: a prefix of the step before, or zeros.
    fn previous<'s>(&self, step: usize, states: &'s [T], zeros: &'s [T]) -> &'s [T] {
        let len = self.schedule.step(step).len() * self.width();
        match step.checked_sub(1) {
            None => &zeros[..len],
            Some(before) => &states[self.schedule.step(before).start * self.width()..][..len],
        }
    }

    /// One product over all steps but the first, whose previous states are zero.
    fn weight_gradient(&self, trace: &Trace<T>, to_states: &[T]) -> Vec<T> {
        let (width, rows, words) = (self.width(), self.gate_rows(), self.schedule.words());
        let mut gradient = vec![T::ZERO; rows * width];
        if words == 0 {
            return gradient;
        }
        let first = self.schedule.step(0).len();
        let mut previous = Vec::with_capacity((words - first) * width);
        for step in 1..self.schedule.steps() {
            previous.extend_from_slice(self.previous(step, &trace.states, &[]));
        }
        let to_states = Matrix::row_major(&to_states[first * rows..], words - first, rows);
        let previous = Matrix::row_major(&previous, words - first, width);
        let to_states = to_states.transposed();
        self.matmul
            .parallel_product(&mut gradient, to_states, previous, Output::Overwrite);
        gradient
    }
}
