//! The operator of layer norm on the CPU: two passes over each row forward and two backward, in parallel.

use candle_core::{Device, Result, Tensor, WithDType};
use rayon::prelude::*;
use uard_linalg::vector::{AddRows, Dot, Loops, Number, Simd, vectorised};

use crate::operator::cpu_operator;
use crate::slices::reading;

/// Rows of one task. A task sums their gradients of weight and bias in order.
const ROWS: usize = 64;

const NAME: &str = "layer-norm";

/// `(x - mean) / spread * weight + bias`, with gradients of x, weight and bias.
pub(super) fn layer_norm<T: WithDType + Number>(
    rows: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    let (x, w) = (rows.detach().contiguous()?, weight.detach().contiguous()?);
    let (normal, moments) = forward::<T>(
        reading(&x).numbers(NAME)?,
        reading(&w).numbers(NAME)?,
        reading(&bias.contiguous()?).numbers(NAME)?,
        epsilon,
    );
    let inputs = [rows, weight, bias];
    cpu_operator(normal, rows.shape(), &inputs, move |_, upstream| {
        let (of_rows, of_weight, of_bias) = backward::<T>(
            reading(&x).numbers(NAME)?,
            reading(&w).numbers(NAME)?,
            &moments,
            reading(upstream).numbers(NAME)?,
        );
        Ok(vec![
            Tensor::from_vec(of_rows, x.shape(), &Device::Cpu)?,
            Tensor::from_vec(of_weight, w.shape(), &Device::Cpu)?,
            Tensor::from_vec(of_bias, w.shape(), &Device::Cpu)?,
        ])
    })
}

/// The mean of a row and one over its spread, which is `sqrt(variance + epsilon)`.
#[derive(Debug, Clone, Copy)]
struct Moments<T> {
    mean: T,
    inverse: T,
}

/// Normalized rows with weight and bias applied, and the moments of each row.
fn forward<T: Number>(
    rows: &[T],
    weight: &[T],
    bias: &[T],
    epsilon: f64,
) -> (Vec<T>, Vec<Moments<T>>) {
    let width = weight.len().max(1);
    let mut normal = vec![T::ZERO; rows.len()];
    let zero = Moments {
        mean: T::ZERO,
        inverse: T::ZERO,
    };
    let mut moments = vec![zero; rows.len() / width];
    normal
        .par_chunks_mut(ROWS * width)
        .zip(moments.par_chunks_mut(ROWS))
        .zip(rows.par_chunks(ROWS * width))
        .for_each(|((normal, moments), rows)| {
            let lines = normal.chunks_exact_mut(width).zip(rows.chunks_exact(width));
            for ((normal, row), moments) in lines.zip(moments) {
                *moments = vectorised(Forward {
                    row,
                    weight,
                    bias,
                    epsilon,
                    normal,
                });
            }
        });
    (normal, moments)
}

/// The gradients of rows, weight and bias.
fn backward<T: Number>(
    rows: &[T],
    weight: &[T],
    moments: &[Moments<T>],
    upstream: &[T],
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let width = weight.len().max(1);
    let mut gradient = vec![T::ZERO; rows.len()];
    let parts: Vec<(Vec<T>, Vec<T>)> = gradient
        .par_chunks_mut(ROWS * width)
        .zip(moments.par_chunks(ROWS))
        .zip(
            rows.par_chunks(ROWS * width)
                .zip(upstream.par_chunks(ROWS * width)),
        )
        .map(|((gradient, moments), (rows, upstream))| {
            let mut sums = (vec![T::ZERO; weight.len()], vec![T::ZERO; weight.len()]);
            let lines = rows.chunks_exact(width).zip(upstream.chunks_exact(width));
            let gradients = gradient.chunks_exact_mut(width).zip(moments);
            for ((gradient, &moments), (row, upstream)) in gradients.zip(lines) {
                vectorised(Backward {
                    row,
                    upstream,
                    weight,
                    moments,
                    gradient,
                    weight_sums: &mut sums.0,
                    bias_sums: &mut sums.1,
                });
            }
            sums
        })
        .collect();
    let mut sums = (vec![T::ZERO; weight.len()], vec![T::ZERO; weight.len()]);
    for part in &parts {
        for (sums, rows) in [(&mut sums.0, &part.0), (&mut sums.1, &part.1)] {
            vectorised(AddRows { sums, rows });
        }
    }
    (gradient, sums.0, sums.1)
}

/// `y = (x - mean) / spread * weight + bias` of one row; the result is its moments.
struct Forward<'a, T> {
    row: &'a [T],
    weight: &'a [T],
    bias: &'a [T],
    epsilon: f64,
    normal: &'a mut [T],
}

impl<T: Number> Loops for Forward<'_, T> {
    type Output = Moments<T>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Moments<T> {
        let width = self.row.len() as f64;
        let (row, row_rest) = T::vectors(simd, self.row);
        let mut sum = T::load(simd, row_rest);
        for &x in row {
            sum = T::plus(simd, sum, x);
        }
        let mean = T::from_f64(T::total(simd, sum).to_f64() / width);
        let means = T::splat(simd, mean);
        {
            let (normal, normal_rest) = T::vectors_mut(simd, self.normal);
            for (normal, &x) in normal.iter_mut().zip(row) {
                *normal = T::minus(simd, x, means);
            }
            let rest = T::minus(simd, T::load(simd, row_rest), means);
            T::store(simd, normal_rest, rest);
        }
        // Read from memory again, because in the last, incomplete vector the lanes beyond the row's
        // end hold `0 - mean`.
        let squares = Dot(&*self.normal, &*self.normal).run(simd).to_f64();
        let inverse = T::from_f64(1.0 / (squares / width + self.epsilon).sqrt());
        let inverses = T::splat(simd, inverse);
        let (weight, weight_rest) = T::vectors(simd, self.weight);
        let (bias, bias_rest) = T::vectors(simd, self.bias);
        let (normal, normal_rest) = T::vectors_mut(simd, self.normal);
        for (normal, (&weight, &bias)) in normal.iter_mut().zip(weight.iter().zip(bias)) {
            *normal = T::times_plus(simd, T::times(simd, *normal, inverses), weight, bias);
        }
        let rest = T::times(simd, T::load(simd, normal_rest), inverses);
        let (weight, bias) = (T::load(simd, weight_rest), T::load(simd, bias_rest));
        let rest = T::times_plus(simd, rest, weight, bias);
        T::store(simd, normal_rest, rest);
        Moments { mean, inverse }
    }
}

/// The gradients of one row. With `n = (x - mean) / spread` and `g = dy weight`:
/// `dx = (g - mean(g) - n mean(g n)) / spread`, `dweight += dy n`, `dbias += dy`.
struct Backward<'a, T> {
    row: &'a [T],
    upstream: &'a [T],
    weight: &'a [T],
    moments: Moments<T>,
    gradient: &'a mut [T],
    weight_sums: &'a mut [T],
    bias_sums: &'a mut [T],
}

impl<T: Number> Loops for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.row.len() as f64;
        let mean = T::splat(simd, self.moments.mean);
        let inverse = T::splat(simd, self.moments.inverse);
        let normal = |x| T::times(simd, T::minus(simd, x, mean), inverse);
        let (row, row_rest) = T::vectors(simd, self.row);
        let (upstream, upstream_rest) = T::vectors(simd, self.upstream);
        let (weight, weight_rest) = T::vectors(simd, self.weight);
        let (row_rest, upstream_rest) = (T::load(simd, row_rest), T::load(simd, upstream_rest));
        let weight_rest = T::load(simd, weight_rest);
        {
            let (weights, weights_rest) = T::vectors_mut(simd, self.weight_sums);
            let (biases, biases_rest) = T::vectors_mut(simd, self.bias_sums);
            let sums = weights.iter_mut().zip(biases);
            for ((weights, biases), (&x, &dy)) in sums.zip(row.iter().zip(upstream)) {
                *weights = T::times_plus(simd, dy, normal(x), *weights);
                *biases = T::plus(simd, *biases, dy);
            }
            let (weights, biases) = (T::load(simd, weights_rest), T::load(simd, biases_rest));
            let weights = T::times_plus(simd, upstream_rest, normal(row_rest), weights);
            T::store(simd, weights_rest, weights);
            T::store(simd, biases_rest, T::plus(simd, biases, upstream_rest));
        }
        // In the last, incomplete vector dy is zero beyond the row's end, so that those lanes add
        // nothing to the sums.
        let mut along = T::times(simd, upstream_rest, weight_rest);
        let mut across = T::times(simd, along, normal(row_rest));
        for ((&x, &dy), &weight) in row.iter().zip(upstream).zip(weight) {
            let g = T::times(simd, dy, weight);
            along = T::plus(simd, along, g);
            across = T::times_plus(simd, g, normal(x), across);
        }
        let share = |sum| T::splat(simd, T::from_f64(T::total(simd, sum).to_f64() / width));
        let (along, across) = (share(along), share(across));
        let gradient_of = |x, dy, weight| {
            let g = T::minus(simd, T::times(simd, dy, weight), along);
            let g = T::minus(simd, g, T::times(simd, normal(x), across));
            T::times(simd, g, inverse)
        };
        let (gradient, gradient_rest) = T::vectors_mut(simd, self.gradient);
        let lines = row.iter().zip(upstream).zip(weight);
        for (gradient, ((&x, &dy), &weight)) in gradient.iter_mut().zip(lines) {
            *gradient = gradient_of(x, dy, weight);
        }
        let rest = gradient_of(row_rest, upstream_rest, weight_rest);
        T::store(simd, gradient_rest, rest);
    }
}
