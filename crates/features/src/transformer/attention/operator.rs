//! How does self-attention run on the CPU? Head by head of each caption over all threads, without
//! padding.

use std::borrow::Cow;
use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Error, Layout, Result, Shape, Tensor, WithDType};
use rayon::prelude::*;
use uard_core::slices::{numbers, reading};
use uard_linalg::product::{Matrix, Output, product};
use uard_linalg::vector::{Dot, Exponentials, Number, vectorised};

use super::Spans;

const NAME: &str = "self-attention";

/// Weighted values by queries, keys and values.
#[derive(Debug)]
pub(super) struct Attend<T> {
    spans: Spans,
    factors: Option<Vec<f32>>,
    backward: Backward,
    /// The weights before dropout: left by the forward pass, if there will be a backward pass.
    weights: OnceLock<Vec<T>>,
}

/// Whether a backward pass will ask for the weights. Those of a photo at a high resolution would
/// fill memory for nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backward {
    Follows,
    Never,
}

/// One head over the words of one caption: where they begin, how many there are, and where the
/// head's cells are.
#[derive(Debug, Clone, Copy)]
struct Head {
    first: usize,
    count: usize,
    cell: usize,
    columns: Columns,
}

impl Head {
    /// The head's columns of the caption's rows, [L, d].
    fn of<T: Copy>(self, rows: &[T]) -> Vec<T> {
        let width = self.columns.width;
        self.columns
            .of(&rows[self.first * width..][..self.count * width])
    }

    /// Writes them.
    fn put<T: Copy>(self, rows: &mut [T], columns: &[T]) {
        let width = self.columns.width;
        let rows = &mut rows[self.first * width..][..self.count * width];
        self.columns.put(rows, columns);
    }

    fn cells<T>(self, cells: &[T]) -> &[T] {
        &cells[self.cell..][..self.count * self.count]
    }

    fn matrix<T>(self, columns: &[T]) -> Matrix<'_, T> {
        Matrix::row_major(columns, self.count, self.columns.depth)
    }
}

impl<T: WithDType + Number> Attend<T> {
    pub(super) fn new(spans: Spans, factors: Option<Vec<f32>>, backward: Backward) -> Self {
        Self {
            spans,
            factors,
            backward,
            weights: OnceLock::new(),
        }
    }

    /// All heads of the first caption, then those of the next.
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

    /// The attended values, and the weights where they are kept.
    fn forward(&self, inputs: [&[T]; 3], width: usize) -> (Vec<T>, Vec<T>) {
        let heads = self.heads(width);
        let parts: Vec<(Vec<T>, Vec<T>)> = heads
            .par_iter()
            .map(|&head| self.attend(head, inputs))
            .collect();
        let mut attended = vec![T::ZERO; inputs[0].len()];
        let mut weights = Vec::new();
        for (head, (values, some_weights)) in heads.iter().zip(parts) {
            head.put(&mut attended, &values);
            weights.extend(some_weights);
        }
        (attended, weights)
    }

    /// The attended values [L, d] and the kept weights of one head.
    fn attend(&self, head: Head, inputs: [&[T]; 3]) -> (Vec<T>, Vec<T>) {
        let [query, key, value] = inputs.map(|rows| head.of(rows));
        let mut weights = vec![T::ZERO; head.count * head.count];
        product(
            &mut weights,
            head.matrix(&query),
            head.matrix(&key).transposed(),
            Output::Overwrite,
        );
        let scale = scale(head.columns.depth);
        let lines = weights.chunks_exact_mut(head.count.max(1)).enumerate();
        for (place, line) in lines {
            let (seen, hidden) = line.split_at_mut(self.spans.visibility.seen(place, head.count));
            softmax(seen, scale);
            hidden.fill(T::ZERO);
        }
        let kept = self.left_out(Cow::Borrowed(&weights), head);
        let mut values = vec![T::ZERO; query.len()];
        product(
            &mut values,
            square(&kept, head.count),
            head.matrix(&value),
            Output::Overwrite,
        );
        drop(kept);
        match self.backward {
            Backward::Follows => (values, weights),
            Backward::Never => (values, Vec::new()),
        }
    }

    fn backward(&self, inputs: [&[T]; 3], weights: &[T], upstream: &[T]) -> [Vec<T>; 3] {
        let words: usize = self.spans.counts.iter().sum();
        let heads = self.heads(upstream.len() / words.max(1));
        let parts: Vec<[Vec<T>; 3]> = heads
            .par_iter()
            .map(|&head| self.gradients(head, inputs, (weights, upstream)))
            .collect();
        let mut gradients = inputs.map(|rows| vec![T::ZERO; rows.len()]);
        for (head, parts) in heads.iter().zip(&parts) {
            for (gradient, part) in gradients.iter_mut().zip(parts) {
                head.put(gradient, part);
            }
        }
        gradients
    }

    /// The gradients of one head's queries, keys and values, [L, d] each.
    ///
    /// With `p = w f`, `dw_ij = f_ij (dy_i · v_j)` and `ds_ij = w_ij (dw_ij - sum_k w_ik dw_ik)`:
    /// `dv = p^T dy`, `dq = scale ds k`, `dk = scale ds^T q`. What a word does not see has a weight
    /// of zero, and so no part in any of them.
    fn gradients(
        &self,
        head: Head,
        inputs: [&[T]; 3],
        (weights, upstream): (&[T], &[T]),
    ) -> [Vec<T>; 3] {
        let [query, key, value] = inputs.map(|rows| head.of(rows));
        let (weights, upstream) = (head.cells(weights), head.of(upstream));
        let new = || vec![T::ZERO; query.len()];
        let [mut of_query, mut of_key, mut of_value] = [new(), new(), new()];
        let set = |out: &mut [T], lhs: Matrix<T>, rhs: Matrix<T>| {
            product(out, lhs, rhs, Output::Overwrite);
        };

        let kept = self.left_out(Cow::Borrowed(weights), head);
        let kept = square(&kept, head.count).transposed();
        set(&mut of_value, kept, head.matrix(&upstream));
        let mut cells = vec![T::ZERO; weights.len()];
        let values = head.matrix(&value).transposed();
        set(&mut cells, head.matrix(&upstream), values);
        let mut cells = self.left_out(Cow::Owned(cells), head).into_owned();
        let lines = cells.chunks_exact_mut(head.count.max(1));
        for (cells, weights) in lines.zip(weights.chunks_exact(head.count.max(1))) {
            softmax_backward(cells, weights, scale(head.columns.depth));
        }
        let cells = square(&cells, head.count);
        set(&mut of_query, cells, head.matrix(&key));
        set(&mut of_key, cells.transposed(), head.matrix(&query));
        [of_query, of_key, of_value]
    }

    /// The cells of one head, multiplied by the factors of dropout.
    fn left_out<'a>(&self, cells: Cow<'a, [T]>, head: Head) -> Cow<'a, [T]> {
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

/// Where the numbers of one head are in a row.
#[derive(Debug, Clone, Copy)]
struct Columns {
    start: usize,
    depth: usize,
    width: usize,
}

impl Columns {
    /// These columns of some rows, [L, d].
    fn of<T: Copy>(self, rows: &[T]) -> Vec<T> {
        let rows = rows.chunks_exact(self.width);
        rows.flat_map(|row| row[self.start..self.start + self.depth].iter().copied())
            .collect()
    }

    /// Writes these columns of rows.
    fn put<T: Copy>(self, rows: &mut [T], columns: &[T]) {
        let rows = rows.chunks_exact_mut(self.width);
        for (row, columns) in rows.zip(columns.chunks_exact(self.depth)) {
            row[self.start..self.start + self.depth].copy_from_slice(columns);
        }
    }
}

fn square<T>(cells: &[T], count: usize) -> Matrix<'_, T> {
    Matrix::row_major(cells, count, count)
}

/// Logits, once scaled, to weights.
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

/// Gradients of weights to gradients of the logits before they were scaled.
fn softmax_backward<T: WithDType + Number>(cells: &mut [T], weights: &[T], scale: T) {
    let mean = vectorised(Dot(cells, weights));
    for (cell, &weight) in cells.iter_mut().zip(weights) {
        *cell = scale * weight * (*cell - mean);
    }
}

impl<T: WithDType + Number> CustomOp3 for Attend<T> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        query: &CpuStorage,
        layout: &Layout,
        key: &CpuStorage,
        key_layout: &Layout,
        value: &CpuStorage,
        value_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let inputs = [
            numbers::<T>(query, layout, NAME)?,
            numbers::<T>(key, key_layout, NAME)?,
            numbers::<T>(value, value_layout, NAME)?,
        ];
        let (attended, weights) = self.forward(inputs, width);
        // A second forward pass would find the same.
        let _ = self.weights.set(weights);
        Ok((T::to_cpu_storage_owned(attended), layout.shape().clone()))
    }

    fn bwd(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let weights = self
            .weights
            .get()
            .ok_or_else(|| Error::Msg(format!("{NAME}: its forward has not run")).bt())?;
        let (shape, device) = (query.shape(), query.device());
        let upstream = upstream.contiguous()?;
        let (query, key, value) = (reading(query), reading(key), reading(value));
        let inputs = [
            query.numbers(NAME)?,
            key.numbers(NAME)?,
            value.numbers(NAME)?,
        ];
        let upstream = reading(&upstream);
        let gradients = self.backward(inputs, weights, upstream.numbers::<T>(NAME)?);
        let [query, key, value] = gradients.map(|values| Tensor::from_vec(values, shape, device));
        Ok((Some(query?), Some(key?), Some(value?)))
    }
}
