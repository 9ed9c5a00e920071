//! What does one query ask, and a vector of queries? N, Q, and the weights they come from.

use uard_linalg::vector::{Number, Simd, Vector};

use super::{Cells, Grams, LOWEST, Masked, Scratch};
use crate::side::{Real, SMALLEST_SQUARED_LENGTH};

/// Rows of a Gram matrix that are multiplied side by side.
const ROWS: usize = 4;

/// N and Q of a vector of regions.
pub(super) struct Asked<V> {
    pub dot: V,
    /// At least [`SMALLEST_SQUARED_LENGTH`].
    pub squared: V,
}

impl<T: Real> Masked<T> {
    /// N and Q of a word, its weights left in the scratch as a row of cells, `G e` in the products.
    #[inline(always)]
    pub(super) fn ask_word<S: Simd>(
        &self,
        simd: S,
        row: &[T],
        (best, sharpness): (T, T),
        (grams, scratch): (&Grams<'_, T>, &mut Scratch<T>),
    ) -> (T, T) {
        let stride = row.len();
        let cells = T::vectors(simd, row).0;
        let weights = &mut scratch.weights[..stride];
        let products = &mut scratch.products[..stride];
        let best = T::splat(simd, best);
        let mut dot = T::splat(simd, T::zero());
        for (weights, &cells) in T::vectors_mut(simd, weights).0.iter_mut().zip(cells) {
            *weights = self.weights(simd, cells, (best, sharpness));
            dot = T::times_plus(simd, *weights, cells, dot);
        }
        products.fill(T::zero());
        for (&weight, gram_row) in weights.iter().zip(grams.regions.chunks_exact(stride)) {
            if weight != T::zero() {
                add_scaled(simd, products, weight, gram_row);
            }
        }
        let mut squared = T::splat(simd, T::zero());
        let (weights, products) = (T::vectors(simd, weights).0, T::vectors(simd, products).0);
        for (&weights, &products) in weights.iter().zip(products) {
            squared = T::times_plus(simd, weights, products, squared);
        }
        let squared = T::total(simd, squared);
        let smallest = T::from_f64(SMALLEST_SQUARED_LENGTH);
        let squared = if squared < smallest {
            smallest
        } else {
            squared
        };
        (T::total(simd, dot), squared)
    }

    /// N and Q of the regions in vector `at`; their weights and `H e`, a vector a word, stay in the
    /// scratch.
    #[inline(always)]
    pub(super) fn ask_regions<S: Simd>(
        &self,
        simd: S,
        (cells, at): (&Cells<T>, usize),
        (best, sharpness): (Vector<T, S>, T),
        (grams, scratch): (&Grams<'_, T>, &mut Scratch<T>),
    ) -> Asked<Vector<T, S>> {
        let words = cells.words;
        let weights = &mut T::vectors_mut(simd, &mut scratch.weights).0[..words];
        let products = &mut T::vectors_mut(simd, &mut scratch.products).0[..words];
        let zero = T::splat(simd, T::zero());
        let mut dot = zero;
        for (word, weights) in weights.iter_mut().enumerate() {
            let cells = cells.vector(simd, word, at);
            *weights = self.weights(simd, cells, (best, sharpness));
            dot = T::times_plus(simd, *weights, cells, dot);
        }
        let mut word = 0;
        while word + ROWS <= words {
            let sums = gram_rows::<T, S, ROWS>(simd, grams, word, weights);
            products[word..word + ROWS].copy_from_slice(&sums);
            word += ROWS;
        }
        for (word, product) in products.iter_mut().enumerate().skip(word) {
            *product = gram_rows::<T, S, 1>(simd, grams, word, weights)[0];
        }
        let mut squared = zero;
        for (&weights, &products) in weights.iter().zip(&*products) {
            squared = T::times_plus(simd, weights, products, squared);
        }
        let smallest = T::splat(simd, T::from_f64(SMALLEST_SQUARED_LENGTH));
        let squared = T::where_greater(simd, (smallest, squared), smallest, squared);
        Asked { dot, squared }
    }

    #[inline(always)]
    fn weights<S: Simd>(
        &self,
        simd: S,
        cells: Vector<T, S>,
        (best, sharpness): (Vector<T, S>, T),
    ) -> Vector<T, S> {
        let below = T::minus(simd, cells, best);
        let weight = T::exponential(simd, T::times(simd, T::splat(simd, sharpness), below));
        let threshold = T::splat(simd, self.threshold);
        T::where_greater(simd, (cells, threshold), weight, T::splat(simd, T::zero()))
    }
}

/// N rows of `H e`, from `first` on.
#[inline(always)]
fn gram_rows<T: Real, S: Simd, const N: usize>(
    simd: S,
    grams: &Grams<'_, T>,
    first: usize,
    weights: &[Vector<T, S>],
) -> [Vector<T, S>; N] {
    let mut sums = [T::splat(simd, T::zero()); N];
    let rows: [&[T]; N] =
        std::array::from_fn(|row| &grams.words[(first + row) * grams.word_stride..]);
    let rows = rows.map(|row| &row[..weights.len()]);
    for (word, &weights) in weights.iter().enumerate() {
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = T::times_plus(simd, T::splat(simd, row[word]), weights, *sum);
        }
    }
    sums
}

/// `sums += factor row`
#[inline(always)]
pub(super) fn add_scaled<T: Number, S: Simd>(simd: S, sums: &mut [T], factor: T, row: &[T]) {
    let factor = T::splat(simd, factor);
    let (sums, row) = (T::vectors_mut(simd, sums).0, T::vectors(simd, row).0);
    for (sum, &x) in sums.iter_mut().zip(row) {
        *sum = T::times_plus(simd, factor, x, *sum);
    }
}

/// The highest number of a row.
#[inline(always)]
pub(in crate::operator) fn best_of<T: Real, S: Simd>(simd: S, row: &[T]) -> T {
    let mut best = T::splat(simd, T::from_f64(LOWEST));
    for &cells in T::vectors(simd, row).0 {
        best = T::where_greater(simd, (cells, best), cells, best);
    }
    T::highest(simd, best)
}

/// The highest relevance of each region in vector `at`.
#[inline(always)]
pub(super) fn best_down<T: Real, S: Simd>(simd: S, cells: &Cells<T>, at: usize) -> Vector<T, S> {
    let mut best = T::splat(simd, T::from_f64(LOWEST));
    for word in 0..cells.words {
        let cells = cells.vector(simd, word, at);
        best = T::where_greater(simd, (cells, best), cells, best);
    }
    best
}

#[inline(always)]
pub(super) fn count_above<T: Real, S: Simd>(simd: S, row: &[Vector<T, S>], threshold: T) -> u64 {
    let (zero, one) = (T::splat(simd, T::zero()), T::splat(simd, T::one()));
    let threshold = T::splat(simd, threshold);
    let mut counts = zero;
    for &cells in row {
        let above = T::where_greater(simd, (cells, threshold), one, zero);
        counts = T::plus(simd, counts, above);
    }
    // Small whole numbers: exact.
    T::total(simd, counts).to_f64() as u64
}
