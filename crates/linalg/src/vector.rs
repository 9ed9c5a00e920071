//! Loops over vector registers, written once and compiled for each instruction set; [`vectorised`]
//! chooses the widest that this machine has when it runs.
//!
//! The workspace is compiled for every processor of its architecture, so plain loops use only the
//! instructions that all of them have. [`Loops`] are written with the vectors of [`Number`] instead.
//! How many numbers such a vector has (a power of two, at most [`WIDEST`]) depends on the
//! instruction set, and so does the order in which they are summed.

mod number;
pub mod sixteen;

pub use number::{Number, Vector};
pub use pulp::Simd;

/// The most numbers that a vector of f32 or f64 has.
pub const WIDEST: usize = 16;

/// A computation over slices in vectors.
///
/// Mark [`Loops::run`] and what it calls `#[inline(always)]`: only code inlined there is compiled
/// for the wide vectors.
pub trait Loops {
    /// The result.
    type Output;

    /// Computes it with the vectors of `simd`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs loops with the widest vectors that this machine has.
///
/// ```
/// use uard_linalg::vector::{Dot, vectorised};
/// assert_eq!(vectorised(Dot(&[1.0f32, 2.0, 3.0], &[4.0, 5.0, 6.0])), 32.0);
/// ```
pub fn vectorised<L: Loops>(loops: L) -> L::Output {
    pulp::Arch::new().dispatch(Dispatched(loops))
}

struct Dispatched<L>(L);

impl<L: Loops> pulp::WithSimd for Dispatched<L> {
    type Output = L::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> L::Output {
        self.0.run(simd)
    }
}

/// The dot product of two slices of one length.
#[derive(Debug)]
pub struct Dot<'a, T>(pub &'a [T], pub &'a [T]);

impl<T: Number> Loops for Dot<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T {
        let (a, a_rest) = T::vectors(simd, self.0);
        let (b, b_rest) = T::vectors(simd, self.1);
        let rests = (T::load(simd, a_rest), T::load(simd, b_rest));
        let mut sum = T::times(simd, rests.0, rests.1);
        for (&a, &b) in a.iter().zip(b) {
            sum = T::times_plus(simd, a, b, sum);
        }
        T::total(simd, sum)
    }
}

/// Adds rows to a row of sums, in order.
#[derive(Debug)]
pub struct AddRows<'a, T> {
    /// The sums.
    pub sums: &'a mut [T],
    /// Row-major rows, each as long as the sums.
    pub rows: &'a [T],
}

impl<T: Number> Loops for AddRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for row in self.rows.chunks_exact(self.sums.len().max(1)) {
            let (sums, sums_rest) = T::vectors_mut(simd, self.sums);
            let (row, row_rest) = T::vectors(simd, row);
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum = T::plus(simd, *sum, x);
            }
            let rest = T::plus(simd, T::load(simd, sums_rest), T::load(simd, row_rest));
            T::store(simd, sums_rest, rest);
        }
    }
}

/// `exp(scale (x - highest))` of every number, in place.
#[derive(Debug)]
pub struct Exponentials<'a, T> {
    /// The numbers.
    pub line: &'a mut [T],
    /// The number that is subtracted from each.
    pub highest: T,
    /// The factor of the differences.
    pub scale: T,
}

impl<T: Number> Loops for Exponentials<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (highest, scale) = (T::splat(simd, self.highest), T::splat(simd, self.scale));
        let exp = |x| T::exponential(simd, T::times(simd, scale, T::minus(simd, x, highest)));
        let (line, rest) = T::vectors_mut(simd, self.line);
        for x in line {
            *x = exp(*x);
        }
        let end = exp(T::load(simd, rest));
        T::store(simd, rest, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_and_sums_of_rows_have_rests_of_every_length() {
        for width in 0..70 {
            let row: Vec<f64> = (0..width).map(|at| f64::from(at) - 9.0).collect();
            let expected: f64 = row.iter().map(|x| x * x).sum();
            assert_eq!(vectorised(Dot(&row, &row)), expected);
            let singles: Vec<f32> = row.iter().map(|&x| x as f32).collect();
            assert_eq!(f64::from(vectorised(Dot(&singles, &singles))), expected);
            let mut sums = vec![1.0; row.len()];
            let rows = [&row[..], &row].concat();
            vectorised(AddRows {
                sums: &mut sums,
                rows: &rows,
            });
            assert!(sums.iter().zip(&row).all(|(sum, x)| *sum == 1.0 + 2.0 * x));
        }
    }
}
