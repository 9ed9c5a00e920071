//! Self-attention on the CPU: each head of each caption is computed on its own, in parallel and without
//! padding.

use std::borrow::Cow;

use candle_core::{Device, Result, Tensor, WithDType};
use rayon::prelude::*;
use uard_core::operator::cpu_operator;
use uard_core::slices::reading;
use uard_linalg::product::{Matrix, Output, product};
use uard_linalg::vector::{Dot, Exponentials, Number, vectorised};

use super::{Projected, Spans};

const NAME: &str = "self-attention";

/// The attended values [N, H] of contiguous queries, keys and values [N, H], differentiable;
/// `factors` are the factors of dropout.
pub(super) fn attend<T: WithDType + Number>(
    words: &Projected,
    spans: &Spans,
    factors: Option<Vec<f32>>,
) -> Result<Tensor> {
    let inputs = [&words.query, &words.key, &words.value];
    let attention = Attention {
        spans: spans.clone(),
        factors,
        keeps_weights: inputs.iter().any(|input| input.track_op()),
    };
    let (rows, width) = words.query.dims2()?;
    let detached = inputs.map(Tensor::detach);
    let (attended, weights) = {
        let [query, key, value] = detached.each_ref().map(reading);
        let numbers = [
            query.numbers::<T>(NAME)?,
            key.numbers(NAME)?,
            value.numbers(NAME)?,
        ];
        attention.forward(numbers, width)
    };
    cpu_operator(attended, (rows, width), &inputs, move |_, upstream| {
        let [query, key, value] = detached.each_ref().map(reading);
        let numbers = [
            query.numbers(NAME)?,
            key.numbers(NAME)?,
            value.numbers(NAME)?,
        ];
        let upstream = reading(upstream);
        let gradients = attention.backward(numbers, &weights, upstream.numbers::<T>(NAME)?);
        let gradients = gradients.into_iter();
        gradients
            .map(|gradient| Tensor::from_vec(gradient, (rows, width), &Device::Cpu))
            .collect()
    })
}

/// The inputs of the forward and the backward pass, apart from queries, keys and values.
#[derive(Debug)]
struct Attention {
    spans: Spans,
    factors: Option<Vec<f32>>,
    /// Whether the forward pass keeps the weights for a backward pass. The weights of a photo at a
    /// high resolution would fill the memory.
    keeps_weights: bool,
}

/// One head over the words of one caption.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// The row of the caption's first word.
    first: usize,
    /// The number L of words of the caption.
    count: usize,
    /// The index of the first of the head's L x L cells.
    cell: usize,
    columns: Columns,
}

impl Head {
    /// Copies the head's d columns out of the caption's rows: [L, d].
    fn gather<T: Copy>(self, rows: &[T]) -> Vec<T> {
        let width = self.columns.width;
        self.columns
            .gather(&rows[self.first * width..][..self.count * width])
    }

    /// Writes columns [L, d] into the caption's rows.
    fn scatter<T: Copy>(self, rows: &mut [T], columns: &[T]) {
        let width = self.columns.width;
        let rows = &mut rows[self.first * width..][..self.count * width];
        self.columns.scatter(rows, columns);
    }

    fn cells<T>(self, cells: &[T]) -> &[T] {
        &cells[self.cell..][..self.count * self.count]
    }

    fn matrix<T>(self, columns: &[T]) -> Matrix<'_, T> {
        Matrix::row_major(columns, self.count, self.columns.depth)
    }
}

impl Attention {
    /// All heads of the first caption, then those of the next captions.
    fn heads(&self, width: usize) -> Vec<Head> {
        let depth = width / self.spans.heads;
        let (mut first, mut cell) = (0, 0);
        let mut heads = Vec::with_capacity(self.spans.counts.len() * self.spans.heads);
        for &count in &self.spans.counts {
            for head in 0..self.spans.heads {
                let start = head * depth;
                let columns = Columns {
                    start,
                    depth,
                    width,
                };
                heads.push(Head {
                    first,
                    count,
                    cell,
                    columns,
                });
                cell += count * count;
            }
            first += count;
        }
        heads
    }

    /// The attended values, and the weights before dropout if they are kept.
    fn forward<T: WithDType + Number>(&self, inputs: [&[T]; 3], width: usize) -> (Vec<T>, Vec<T>) {
        let heads = self.heads(width);
        let parts: Vec<(Vec<T>, Vec<T>)> = heads
            .par_iter()
            .map(|&head| self.attend(head, inputs))
            .collect();
        let mut attended = vec![T::ZERO; inputs[0].len()];
        let mut weights = Vec::new();
        for (head, (values, some_weights)) in heads.iter().zip(parts) {
            head.scatter(&mut attended, &values);
            weights.extend(some_weights);
        }
        (attended, weights)
    }

    /// The attended values [L, d] of one head, and its weights if they are kept.
    fn attend<T: WithDType + Number>(&self, head: Head, inputs: [&[T]; 3]) -> (Vec<T>, Vec<T>) {
        let [query, key, value] = inputs.map(|rows| head.gather(rows));
        let mut weights = vec![T::ZERO; head.count * head.count];
        product(
            &mut weights,
            head.matrix(&query),
            head.matrix(&key).transposed(),
            Output::Overwrite,
        );
        let scale = scale(head.columns.depth);
        let lines = weights.chunks_exact_mut(head.count.max(1)).enumerate();
        for (position, line) in lines {
            let (seen, hidden) =
                line.split_at_mut(self.spans.visibility.seen(position, head.count));
            softmax(seen, scale);
            hidden.fill(T::ZERO);
        }
        let dropped = self.dropped(Cow::Borrowed(&weights), head);
        let mut values = vec![T::ZERO; query.len()];
        product(
            &mut values,
            square(&dropped, head.count),
            head.matrix(&value),
            Output::Overwrite,
        );
        drop(dropped);
        match self.keeps_weights {
            true => (values, weights),
            false => (values, Vec::new()),
        }
    }

    /// The gradients of queries, keys and values.
    fn backward<T: WithDType + Number>(
        &self,
        inputs: [&[T]; 3],
        weights: &[T],
        upstream: &[T],
    ) -> [Vec<T>; 3] {
        let words: usize = self.spans.counts.iter().sum();
        let heads = self.heads(upstream.len() / words.max(1));
        let parts: Vec<[Vec<T>; 3]> = heads
            .par_iter()
            .map(|&head| self.gradients(head, inputs, weights, upstream))
            .collect();
        let mut gradients = inputs.map(|rows| vec![T::ZERO; rows.len()]);
        for (head, parts) in heads.iter().zip(&parts) {
            for (gradient, part) in gradients.iter_mut().zip(parts) {
                head.scatter(gradient, part);
            }
        }
        gradients
    }

    /// The gradients of one head's queries q, keys k and values v, [L, d] each.
    ///
    /// `w` are the weights, `f` the factors of dropout, `dy` the gradient of the attended values
    /// and `ds` that of the scaled logits. With `p = w f`, `dw_ij = f_ij (dy_i · v_j)` and
    /// `ds_ij = w_ij (dw_ij - sum_k w_ik dw_ik)`: `dv = p^T dy`, `dq = scale ds k`,
    /// `dk = scale ds^T q`. A word that is not attended to has a weight of zero, and so adds
    /// nothing to any gradient.
    fn gradients<T: WithDType + Number>(
        &self,
        head: Head,
        inputs: [&[T]; 3],
        weights: &[T],
        upstream: &[T],
    ) -> [Vec<T>; 3] {
        let [query, key, value] = inputs.map(|rows| head.gather(rows));
        let (weights, upstream) = (head.cells(weights), head.gather(upstream));
        let new = || vec![T::ZERO; query.len()];
        let [mut to_query, mut to_key, mut to_value] = [new(), new(), new()];
        let set = |out: &mut [T], lhs: Matrix<T>, rhs: Matrix<T>| {
            product(out, lhs, rhs, Output::Overwrite);
        };

        let dropped = self.dropped(Cow::Borrowed(weights), head);
        let dropped = square(&dropped, head.count).transposed();
        set(&mut to_value, dropped, head.matrix(&upstream));
        let mut cells = vec![T::ZERO; weights.len()];
        let values = head.matrix(&value).transposed();
        set(&mut cells, head.matrix(&upstream), values);
        let mut cells = self.dropped(Cow::Owned(cells), head).into_owned();
        let lines = cells.chunks_exact_mut(head.count.max(1));
        for (cells, weights) in lines.zip(weights.chunks_exact(head.count.max(1))) {
            softmax_backward(cells, weights, scale(head.columns.depth));
        }
        let cells = square(&cells, head.count);
        set(&mut to_query, cells, head.matrix(&key));
        set(&mut to_key, cells.transposed(), head.matrix(&query));
        [to_query, to_key, to_value]
    }

    /// The cells of one head, multiplied by the factors of dropout.
    fn dropped<'a, T: Number>(&self, cells: Cow<'a, [T]>, head: Head) -> Cow<'a, [T]> {
        let Some(factors) = &self.factors else {
            return cells;
        };
        let mut cells = cells.into_owned();
        for (cell, &factor) in cells.iter_mut().zip(head.cells(factors)) {
            *cell *= T::from_f64(f64::from(factor));
        }
        Cow::Owned(cells)
    }
}

fn scale<T: WithDType>(depth: usize) -> T {
    T::from_f64(1.0 / (depth as f64).sqrt())
}

/// The columns of one head.
#[derive(Debug, Clone, Copy)]
struct Columns {
    /// The first column.
    start: usize,
    /// Columns d of a head.
    depth: usize,
    /// Columns H of all heads.
    width: usize,
}

impl Columns {
    fn gather<T: Copy>(self, rows: &[T]) -> Vec<T> {
        let rows = rows.chunks_exact(self.width);
        rows.flat_map(|row| row[self.start..self.start + self.depth].iter().copied())
            .collect()
    }

    fn scatter<T: Copy>(self, rows: &mut [T], columns: &[T]) {
        let rows = rows.chunks_exact_mut(self.width);
        for (row, columns) in rows.zip(columns.chunks_exact(self.depth)) {
            row[self.start..self.start + self.depth].copy_from_slice(columns);
        }
    }
}

fn square<T>(cells: &[T], count: usize) -> Matrix<'_, T> {
    Matrix::row_major(cells, count, count)
}

/// Turns a line of logits, not scaled yet, into weights.
fn softmax<T: WithDType + Number>(line: &mut [T], scale: T) {
    let highest = line
        .iter()
        .copied()
        .reduce(|a, b| if b > a { b } else { a });
    let Some(highest) = highest else { return };
    vectorised(Exponentials {
        line,
        highest,
        scale,
    });
    let mut sum = T::ZERO;
    for &x in line.iter() {
        sum += x;
    }
    for x in line {
        *x /= sum;
    }
}

/// Turns gradients of weights into those of the logits before they were scaled.
fn softmax_backward<T: WithDType + Number>(cells: &mut [T], weights: &[T], scale: T) {
    let mean = vectorised(Dot(cells, weights));
    for (cell, &weight) in cells.iter_mut().zip(weights) {
        *cell = scale * weight * (*cell - mean);
    }
}
