//! Rows as unit vectors on the CPU: one pass forward and one back, in parallel.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, Error, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use uard_linalg::vector::{Dot, Loops, Simd, vectorised};

use super::{SQUARED_LENGTH_EPSILON, SQUARED_LENGTHS};
use crate::slices::{Real, numbers, reading};

/// Rows of one task; each row is on its own, so the cut changes nothing.
const ROWS: usize = 64;

const NAME: &str = "unit-rows";

/// Rows [.., L, D] to unit rows; those beyond an entry's count become zero.
#[derive(Debug)]
pub(super) struct UnitRows<T> {
    counts: Vec<usize>,
    longest: usize,
    /// One over the length of each row, zero where there is none: left by the forward pass.
    inverses: OnceLock<Vec<T>>,
}

impl<T: Real> UnitRows<T> {
    pub(super) fn new(counts: &[usize], longest: usize) -> Self {
        Self {
            counts: counts.to_vec(),
            longest,
            inverses: OnceLock::new(),
        }
    }

    fn is_valid(&self, row: usize) -> bool {
        row % self.longest < self.counts[row / self.longest]
    }

    fn forward(&self, rows: &[T], width: usize) -> (Vec<T>, Vec<T>) {
        let mut unit = vec![T::ZERO; rows.len()];
        let mut inverses = vec![T::ZERO; rows.len() / width];
        unit.par_chunks_mut(ROWS * width)
            .zip(inverses.par_chunks_mut(ROWS))
            .zip(rows.par_chunks(ROWS * width))
            .enumerate()
            .for_each(|(task, ((unit, inverses), rows))| {
                let lines = unit.chunks_exact_mut(width).zip(rows.chunks_exact(width));
                for (at, ((unit, row), inverse)) in lines.zip(inverses).enumerate() {
                    if self.is_valid(task * ROWS + at) {
                        *inverse = forward(row, unit);
                    }
                }
            });
        (unit, inverses)
    }

    fn backward(&self, unit: &[T], inverses: &[T], upstream: &[T], width: usize) -> Vec<T> {
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
}

/// `y = x / |x|`; gives one over the length, zero for a zero row.
fn forward<T: Real>(row: &[T], unit: &mut [T]) -> T {
    let squared = vectorised(Dot(row, row)).to_f64();
    if (SQUARED_LENGTHS.0..=SQUARED_LENGTHS.1).contains(&squared) {
        return vectorised(Times { row, unit, squared });
    }
    let largest = row.iter().map(|&x| x.to_f64().abs()).fold(0.0, f64::max);
    if largest == 0.0 && !squared.is_nan() {
        return T::ZERO;
    }
    // A quotient of two numbers of the type is rounded once, in f64 as in f32.
    let scaled = row.iter().map(|&x| T::from_f64(x.to_f64() / largest));
    let row: Vec<T> = scaled.collect();
    let squared = vectorised(Dot(&row, &row)).to_f64();
    let inverse = vectorised(Times {
        row: &row,
        unit,
        squared,
    });
    // Finite for the shortest rows too: an infinite number times no gradient would be NaN.
    let largest_inverse = T::max_value().to_f64();
    T::from_f64((inverse.to_f64() / largest).clamp(0.0, largest_inverse))
}

/// Multiplies a row by one over the root of `squared`, and gives that number.
struct Times<'a, T> {
    row: &'a [T],
    unit: &'a mut [T],
    squared: f64,
}

impl<T: Real> Loops for Times<'_, T> {
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

/// `dx = (dy - y (y · dy)) / |x|`.
struct Backward<'a, T> {
    unit: &'a [T],
    upstream: &'a [T],
    inverse: T,
    gradient: &'a mut [T],
}

impl<T: Real> Loops for Backward<'_, T> {
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

impl<T: Real> CustomOp1 for UnitRows<T> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, rows: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = width(layout.shape());
        let (unit, inverses) = self.forward(numbers::<T>(rows, layout, NAME)?, width);
        // A second forward pass would find the same.
        let _ = self.inverses.set(inverses);
        Ok((T::to_cpu_storage_owned(unit), layout.shape().clone()))
    }

    fn bwd(&self, rows: &Tensor, unit: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        let inverses = self
            .inverses
            .get()
            .ok_or_else(|| Error::Msg(format!("{NAME}: its forward has not run")).bt())?;
        let upstream = upstream.contiguous()?;
        let gradient = self.backward(
            reading(unit).numbers::<T>(NAME)?,
            inverses,
            reading(&upstream).numbers::<T>(NAME)?,
            width(rows.shape()),
        );
        Ok(Some(Tensor::from_vec(
            gradient,
            rows.shape(),
            rows.device(),
        )?))
    }
}

/// D, or 1 where nothing is.
fn width(shape: &Shape) -> usize {
    shape.dims().last().copied().unwrap_or(1).max(1)
}
