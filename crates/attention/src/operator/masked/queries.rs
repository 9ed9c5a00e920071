//! N and Q of one word, or of a vector of regions, and the weights and products that they are
//! summed from.

use uard_linalg::vector::{Number, Simd, Vector};

use super::{Grams, LOWEST, PairCells, PairInputs, Scratch};
use crate::side::SMALLEST_SQUARED_LENGTH;

/// Rows of a Gram matrix that are multiplied side by side.
const ROWS: usize = 4;

/// How the relevance of a query, or of a query in each lane, becomes weights:
/// `e = 1[s > threshold] exp(inverse_temperature (s - best))`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighting<T: Number, S: Simd> {
    pub threshold: T,
    pub inverse_temperature: T,
    /// The highest relevance of each query.
    pub best: Vector<T, S>,
}

/// N and Q of a query, or of a query in each lane. N is the product of the attended vector with the
/// query times the sum of the weights, Q that with itself times the square of this sum.
#[derive(Debug, Clone, Copy)]
pub(in crate::operator) struct AttendedSums<V> {
    /// N.
    pub dot: V,
    /// Q, at least [`SMALLEST_SQUARED_LENGTH`].
    pub squared: V,
}

/// The gradient of the loss with respect to N, and twice that with respect to Q.
#[derive(Debug, Clone, Copy)]
pub(in crate::operator) struct SumGradients<V> {
    pub dot: V,
    pub squared: V,
}

impl<T: Number> AttendedSums<T> {
    /// The gradients of R times `upstream`. That with respect to Q is zero where Q was raised to
    /// its minimum.
    #[inline(always)]
    pub(in crate::operator) fn gradient(&self, upstream: T) -> SumGradients<T> {
        let Self { dot, squared } = *self;
        let by_dot = upstream / squared.sqrt();
        let by_squared = if squared > T::from_f64(SMALLEST_SQUARED_LENGTH) {
            -(dot / squared) * by_dot
        } else {
            T::zero()
        };
        SumGradients {
            dot: by_dot,
            squared: by_squared,
        }
    }
}

impl<T: Number, S: Simd> Weighting<T, S> {
    /// N and Q of the word with this row of cells. Its weights and `G e` stay in the scratch, laid
    /// out as the row.
    #[inline(always)]
    pub(super) fn word_sums(
        &self,
        simd: S,
        row: &[T],
        grams: &Grams<'_, T>,
        scratch: &mut Scratch<T>,
    ) -> AttendedSums<T> {
        let stride = row.len();
        let cells = T::vectors(simd, row).0;
        let weights = &mut scratch.weights[..stride];
        let products = &mut scratch.products[..stride];
        let mut dot = T::splat(simd, T::zero());
        for (weights, &cells) in T::vectors_mut(simd, weights).0.iter_mut().zip(cells) {
            *weights = self.weights(simd, cells);
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
        AttendedSums {
            dot: T::total(simd, dot),
            squared,
        }
    }

    /// N and Q of the regions in vector `at` of the rows. Their weights and `H e` stay in the
    /// scratch, a vector for each word.
    #[inline(always)]
    pub(super) fn region_sums(
        &self,
        simd: S,
        at: usize,
        inputs: PairInputs<'_, T>,
        scratch: &mut Scratch<T>,
    ) -> AttendedSums<Vector<T, S>> {
        let PairInputs { cells, grams } = inputs;
        let words = cells.words;
        let weights = &mut T::vectors_mut(simd, &mut scratch.weights).0[..words];
        let products = &mut T::vectors_mut(simd, &mut scratch.products).0[..words];
        let zero = T::splat(simd, T::zero());
        let mut dot = zero;
        for (word, weights) in weights.iter_mut().enumerate() {
            let cells = cells.vector(simd, word, at);
            *weights = self.weights(simd, cells);
            dot = T::times_plus(simd, *weights, cells, dot);
        }
        let mut word = 0;
        while word + ROWS <= words {
            let sums = gram_rows::<T, S, ROWS>(simd, &grams, word, weights);
            products[word..word + ROWS].copy_from_slice(&sums);
            word += ROWS;
        }
        for (word, product) in products.iter_mut().enumerate().skip(word) {
            *product = gram_rows::<T, S, 1>(simd, &grams, word, weights)[0];
        }
        let mut squared = zero;
        for (&weights, &products) in weights.iter().zip(&*products) {
            squared = T::times_plus(simd, weights, products, squared);
        }
        let smallest = T::splat(simd, T::from_f64(SMALLEST_SQUARED_LENGTH));
        let squared = T::where_greater(simd, smallest, squared, smallest, squared);
        AttendedSums { dot, squared }
    }

    #[inline(always)]
    fn weights(&self, simd: S, cells: Vector<T, S>) -> Vector<T, S> {
        let below = T::minus(simd, cells, self.best);
        let inverse_temperature = T::splat(simd, self.inverse_temperature);
        let weight = T::exponential(simd, T::times(simd, inverse_temperature, below));
        let threshold = T::splat(simd, self.threshold);
        T::where_greater(simd, cells, threshold, weight, T::splat(simd, T::zero()))
    }
}

/// N rows of `H e`, from row `first` on.
#[inline(always)]
fn gram_rows<T: Number, S: Simd, const N: usize>(
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
pub(in crate::operator) fn row_maximum<T: Number, S: Simd>(simd: S, row: &[T]) -> T {
    let mut best = T::splat(simd, T::from_f64(LOWEST));
    for &cells in T::vectors(simd, row).0 {
        best = T::where_greater(simd, cells, best, cells, best);
    }
    T::highest(simd, best)
}

/// The highest relevance of each region in vector `at`.
#[inline(always)]
pub(super) fn column_maxima<T: Number, S: Simd>(
    simd: S,
    cells: &PairCells<T>,
    at: usize,
) -> Vector<T, S> {
    let mut best = T::splat(simd, T::from_f64(LOWEST));
    for word in 0..cells.words {
        let cells = cells.vector(simd, word, at);
        best = T::where_greater(simd, cells, best, cells, best);
    }
    best
}

/// How many numbers of these vectors are above the threshold.
#[inline(always)]
pub(super) fn count_above<T: Number, S: Simd>(simd: S, row: &[Vector<T, S>], threshold: T) -> u64 {
    let (zero, one) = (T::splat(simd, T::zero()), T::splat(simd, T::one()));
    let threshold = T::splat(simd, threshold);
    let mut counts = zero;
    for &cells in row {
        let above = T::where_greater(simd, cells, threshold, one, zero);
        counts = T::plus(simd, counts, above);
    }
    // The counts are small whole numbers, so their sum is exact.
    T::total(simd, counts).to_f64() as u64
}
