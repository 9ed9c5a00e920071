//! How does self-attention run on the CPU? Caption by caption over all threads, without padding.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Error, Layout, Result, Shape, Tensor, WithDType};
use rayon::prelude::*;
use uard_core::product::{Matrix, Output, product};
use uard_core::slices::{numbers, reading};
use uard_core::vector::{Dot, Exponentials, Number, vectorised};

use super::Spans;

const NAME: &str = "self-attention";

/// Weighted values by queries, keys and values.
#[derive(Debug)]
pub(super) struct SelfAttention<T> {
    spans: Spans,
    factors: Option<Vec<f32>>,
    /// The weights before dropout: left by the forward pass.
    weights: OnceLock<Vec<T>>,
}

/// The words of one caption: where they begin, how many there are, and where their cells are.
#[derive(Debug, Clone, Copy)]
struct Caption {
    first: usize,
    count: usize,
    cell: usize,
}

/// The three inputs, or their gradients, of one caption and head, [L, d] each.
#[derive(Debug)]
struct Head<T> {
    query: Vec<T>,
    key: Vec<T>,
    value: Vec<T>,
}

impl Caption {
    fn rows<T>(self, rows: &[T], width: usize) -> &[T] {
        &rows[self.first * width..(self.first + self.count) * width]
    }
}

impl<T: Copy> Head<T> {
    fn of(caption: Caption, inputs: [&[T]; 3], columns: Columns) -> Self {
        let [query, key, value] = inputs.map(|rows| columns.of(caption.rows(rows, columns.width)));
        Self { query, key, value }
    }
}

impl<T: WithDType + Number> SelfAttention<T> {
    pub(super) fn new(spans: Spans, factors: Option<Vec<f32>>) -> Self {
        Self {
            spans,
            factors,
            weights: OnceLock::new(),
        }
    }

    fn captions(&self) -> Vec<Caption> {
        let (mut first, mut cell) = (0, 0);
        let caption = |&count: &usize| {
            let caption = Caption { first, count, cell };
            first += count;
            cell += self.spans.heads * count * count;
            caption
        };
        self.spans.counts.iter().map(caption).collect()
    }

    fn forward(&self, inputs: [&[T]; 3], width: usize) -> (Vec<T>, Vec<T>) {
        let captions = self.captions();
        let parts: Vec<(Vec<T>, Vec<T>)> = captions
            .par_iter()
            .map(|&caption| self.attend(caption, inputs, width))
            .collect();
        let mut attended = Vec::with_capacity(inputs[0].len());
        let mut weights = Vec::with_capacity(self.spans.cells());
        for (some_attended, some_weights) in &parts {
            attended.extend_from_slice(some_attended);
            weights.extend_from_slice(some_weights);
        }
        (attended, weights)
    }

    /// The attended values and the weights of one caption.
    fn attend(&self, caption: Caption, inputs: [&[T]; 3], width: usize) -> (Vec<T>, Vec<T>) {
        let (count, depth) = (caption.count, width / self.spans.heads);
        let mut attended = vec![T::ZERO; count * width];
        let mut weights = vec![T::ZERO; self.spans.heads * count * count];
        let mut values = vec![T::ZERO; count * depth];
        for (head, weights) in weights.chunks_exact_mut((count * count).max(1)).enumerate() {
            let columns = self.columns(head, width);
            let Head { query, key, value } = Head::of(caption, inputs, columns);
            let query = Matrix::row_major(&query, count, depth);
            let key = Matrix::row_major(&key, count, depth).transposed();
            product(weights, query, key, Output::Overwrite);
            for line in weights.chunks_exact_mut(count.max(1)) {
                softmax(line, scale(depth));
            }
            let mut kept = weights.to_vec();
            self.leave_out(&mut kept, caption, head);
            let value = Matrix::row_major(&value, count, depth);
            product(&mut values, square(&kept, count), value, Output::Overwrite);
            columns.put(&mut attended, &values);
        }
        (attended, weights)
    }

    fn backward(&self, inputs: [&[T]; 3], weights: &[T], upstream: &[T]) -> [Vec<T>; 3] {
        let captions = self.captions();
        let words: usize = self.spans.counts.iter().sum();
        let width = upstream.len() / words.max(1);
        let parts: Vec<[Vec<T>; 3]> = captions
            .par_iter()
            .map(|&caption| self.gradients(caption, inputs, (weights, upstream), width))
            .collect();
        [0, 1, 2].map(|which| {
            let parts = parts.iter().map(|part| &part[which]);
            parts.flatten().copied().collect()
        })
    }

    /// The gradients of one caption.
    ///
    /// With `p = w f`, `dw_ij = f_ij (dy_i · v_j)` and `ds_ij = w_ij (dw_ij - sum_k w_ik dw_ik)`:
    /// `dv = p^T dy`, `dq = scale ds k`, `dk = scale ds^T q`.
    fn gradients(
        &self,
        caption: Caption,
        inputs: [&[T]; 3],
        (weights, upstream): (&[T], &[T]),
        width: usize,
    ) -> [Vec<T>; 3] {
        let (count, depth) = (caption.count, width / self.spans.heads);
        let mut gradients = [(); 3].map(|()| vec![T::ZERO; count * width]);
        let mut found = [(); 3].map(|()| vec![T::ZERO; count * depth]);
        for head in 0..self.spans.heads {
            let columns = self.columns(head, width);
            let Head { query, key, value } = Head::of(caption, inputs, columns);
            let upstream = columns.of(caption.rows(upstream, width));
            let weights = &weights[caption.cell + head * count * count..][..count * count];
            let rows = |rows| Matrix::row_major(rows, count, depth);

            let mut kept = weights.to_vec();
            self.leave_out(&mut kept, caption, head);
            let [of_query, of_key, of_value] = &mut found;
            product(
                of_value,
                square(&kept, count).transposed(),
                rows(&upstream),
                Output::Overwrite,
            );
            let mut cells = kept;
            product(
                &mut cells,
                rows(&upstream),
                rows(&value).transposed(),
                Output::Overwrite,
            );
            self.leave_out(&mut cells, caption, head);
            let lines = cells.chunks_exact_mut(count.max(1));
            for (cells, weights) in lines.zip(weights.chunks_exact(count.max(1))) {
                softmax_backward(cells, weights, scale(depth));
            }
            product(
                of_query,
                square(&cells, count),
                rows(&key),
                Output::Overwrite,
            );
            product(
                of_key,
                square(&cells, count).transposed(),
                rows(&query),
                Output::Overwrite,
            );
            for (gradient, found) in gradients.iter_mut().zip(&found) {
                columns.put(gradient, found);
            }
        }
        gradients
    }

    fn columns(&self, head: usize, width: usize) -> Columns {
        let depth = width / self.spans.heads;
        Columns {
            start: head * depth,
            depth,
            width,
        }
    }

    /// Multiplies cells of one head by the factors of dropout.
    fn leave_out(&self, cells: &mut [T], caption: Caption, head: usize) {
        if let Some(factors) = &self.factors {
            let factors = &factors[caption.cell + head * cells.len()..];
            for (cell, &factor) in cells.iter_mut().zip(factors) {
                *cell *= T::from_f64(f64::from(factor));
            }
        }
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

impl<T: WithDType + Number> CustomOp3 for SelfAttention<T> {
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
