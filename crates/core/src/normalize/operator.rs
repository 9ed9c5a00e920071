//! The operator of unit rows on the CPU: one pass forward and one backward, in parallel.

use candle_core::{D, Device, Result, Tensor, WithDType};
use rayon::prelude::*;
use uard_linalg::vector::{Dot, Loops, Number, Simd, vectorised};

use super::{SQUARED_LENGTH_EPSILON, SQUARED_LENGTHS};
use crate::operator::cpu_operator;
use crate::slices::reading;

/// Rows of one task. Rows do not depend on each other, so this number changes no result.
const ROWS: usize = 64;

const NAME: &str = "unit-rows";

/// Divides rows [.., L, D] by their length; those of entry n beyond the first `counts[n]` become zero.
/// `longest` is L.
pub(super) fn unit_rows<T: WithDType + Number>(
    rows: &Tensor,
    counts: &[usize],
    longest: usize,
) -> Result<Tensor> {
    let width = rows.dim(D::Minus1)?.max(1);
    let (unit, inverses) = {
        let is_valid = |row: usize| row % longest < counts[row / longest];
        let rows = rows.contiguous()?;
        forward_rows::<T>(reading(&rows).numbers(NAME)?, width, is_valid)
    };
    cpu_operator(unit, rows.shape(), &[rows], move |unit, upstream| {
        let gradient = backward_rows::<T>(
            reading(unit).numbers(NAME)?,
            &inverses,
            reading(upstream).numbers(NAME)?,
            width,
        );
        Ok(vec![Tensor::from_vec(
            gradient,
            unit.shape(),
            &Device::Cpu,
        )?])
    })
}

/// Unit rows, and one over the length of each row, which is zero for padding and for zero rows.
fn forward_rows<T: Number>(
    rows: &[T],
    width: usize,
    is_valid: impl Fn(usize) -> bool + Sync,
) -> (Vec<T>, Vec<T>) {
    let mut unit = vec![T::ZERO; rows.len()];
    let mut inverses = vec![T::ZERO; rows.len() / width];
    unit.par_chunks_mut(ROWS * width)
        .zip(inverses.par_chunks_mut(ROWS))
        .zip(rows.par_chunks(ROWS * width))
        .enumerate()
        .for_each(|(task, ((unit, inverses), rows))| {
            let lines = unit.chunks_exact_mut(width).zip(rows.chunks_exact(width));
            for (at, ((unit, row), inverse)) in lines.zip(inverses).enumerate() {
                if is_valid(task * ROWS + at) {
                    *inverse = forward(row, unit);
                }
            }
        });
    (unit, inverses)
}

/// The gradient of the rows, from the unit rows, one over their lengths and the upstream gradient.
fn backward_rows<T: Number>(unit: &[T], inverses: &[T], upstream: &[T], width: usize) -> Vec<T> {
    let mut gradient = vec![T::ZERO; unit.len()];
    gradient
        .par_chunks_mut(ROWS * width)
        .zip(inverses.par_chunks(ROWS))
        .zip(
            unit.par_chunks(ROWS * width)
                .zip(upstream.par_chunks(ROWS * width)),
        )
        .for_each(|((gradient, inverses), (unit, upstream))| {
            let lines = unit.chunks_exact(width).zip(upstream.chunks_exact(width));
            let gradients = gradient.chunks_exact_mut(width).zip(inverses);
            for ((gradient, &inverse), (unit, upstream)) in gradients.zip(lines) {
                // Padding and zero rows stay zero.
                if inverse != T::ZERO {
                    vectorised(Backward {
                        unit,
                        upstream,
                        inverse,
                        gradient,
                    });
                }
            }
        });
    gradient
}

/// Writes `y = x / |x|` and returns one over the length, zero for a zero row.
fn forward<T: Number>(row: &[T], unit: &mut [T]) -> T {
    let squared = vectorised(Dot(row, row)).to_f64();
    if (SQUARED_LENGTHS.0..=SQUARED_LENGTHS.1).contains(&squared) {
        return vectorised(Times { row, unit, squared });
    }
    let largest = row.iter().map(|&x| x.to_f64().abs()).fold(0.0, f64::max);
    if largest == 0.0 && !squared.is_nan() {
        return T::ZERO;
    }
    // Both numbers are of type `T`, so the quotient in f64, rounded to `T`, is rounded as one in `T`.
    let scaled = row.iter().map(|&x| T::from_f64(x.to_f64() / largest));
    let row: Vec<T> = scaled.collect();
    let squared = vectorised(Dot(&row, &row)).to_f64();
    let inverse = vectorised(Times {
        row: &row,
        unit,
        squared,
    });
    // For the shortest rows the quotient would be infinite, and NaN once it is multiplied by a zero
    // gradient: hence the clamp.
    let largest_inverse = T::max_value().to_f64();
    T::from_f64((inverse.to_f64() / largest).clamp(0.0, largest_inverse))
}

/// Multiplies a row by one over its length, whose square is `squared`. The result is that factor.
struct Times<'a, T> {
    row: &'a [T],
    unit: &'a mut [T],
    squared: f64,
}

impl<T: Number> Loops for Times<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T {
        let inverse = T::from_f64(1.0 / (self.squared + SQUARED_LENGTH_EPSILON).sqrt());
        let factor = T::splat(simd, inverse);
        let (unit, unit_rest) = T::vectors_mut(simd, self.unit);
        let (row, row_rest) = T::vectors(simd, self.row);
        for (unit, &x) in unit.iter_mut().zip(row) {
            *unit = T::times(simd, x, factor);
        }
        let rest = T::times(simd, T::load(simd, row_rest), factor);
        T::store(simd, unit_rest, rest);
        inverse
    }
}

/// The gradient of one row: `dx = (dy - y (y · dy)) / |x|`.
struct Backward<'a, T> {
    unit: &'a [T],
    upstream: &'a [T],
    inverse: T,
    gradient: &'a mut [T],
}

impl<T: Number> Loops for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let inverse = T::splat(simd, self.inverse);
        let along = T::splat(simd, Dot(self.unit, self.upstream).run(simd));
        let across = |y, upstream| {
            let across = T::minus(simd, upstream, T::times(simd, y, along));
            T::times(simd, across, inverse)
        };
        let (gradient, gradient_rest) = T::vectors_mut(simd, self.gradient);
        let (unit, unit_rest) = T::vectors(simd, self.unit);
        let (upstream, upstream_rest) = T::vectors(simd, self.upstream);
        for (gradient, (&y, &upstream)) in gradient.iter_mut().zip(unit.iter().zip(upstream)) {
            *gradient = across(y, upstream);
        }
        let rest = across(T::load(simd, unit_rest), T::load(simd, upstream_rest));
        T::store(simd, gradient_rest, rest);
    }
}
