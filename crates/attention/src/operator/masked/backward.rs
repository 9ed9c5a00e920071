//! The gradients of one pair under the masked rule, with respect to its cells and to its two Gram
//! matrices.

use uard_linalg::vector::{Loops, Number, Simd, Vector};

use super::queries::{
    AttendedSums, SumGradients, Weighting, add_scaled, column_maxima, count_above, row_maximum,
};
use super::{LOWEST, Masked, PairInputs, Scratch};
use crate::operator::tiles::QueryUpstream;
use crate::side::SMALLEST_SQUARED_LENGTH;

/// Where the gradients of a pair's Gram matrices are added.
#[derive(Debug)]
pub(in crate::operator) struct GramGradients<'a, T> {
    /// `dG + dG^T` of the regions, laid out as their Gram matrix.
    pub regions: &'a mut [T],
    /// `dH + dH^T` of the words, laid out as their Gram matrix.
    pub words: &'a mut [T],
}

/// Where the gradients of a pair go.
#[derive(Debug)]
pub(in crate::operator) struct PairGradients<'a, T> {
    /// The gradient of the cells, laid out as the cells; overwritten.
    pub cells: &'a mut Vec<T>,
    pub grams: GramGradients<'a, T>,
}

/// The backward pass of one pair.
pub(in crate::operator) struct PairBackward<'a, T> {
    pub rule: Masked<T>,
    pub inputs: PairInputs<'a, T>,
    pub upstream: QueryUpstream<T>,
    pub gradients: PairGradients<'a, T>,
    pub scratch: &'a mut Scratch<T>,
}

/// A vector of cells with their weights and products, as in the forward pass.
#[derive(Clone, Copy)]
struct WeightedCells<V> {
    cells: V,
    weights: V,
    /// `G e`, or `H e` where regions are the queries.
    products: V,
}

impl<T: Number> Loops for PairBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (rule, cells) = (self.rule, self.inputs.cells);
        self.scratch.fit(cells);
        self.gradients.cells.clear();
        self.gradients.cells.resize(cells.len(), T::zero());
        if let Some(inverse_temperature) = rule.words {
            for word in 0..cells.words {
                let best = row_maximum(simd, cells.row(word));
                if best > rule.threshold {
                    let best = T::splat(simd, best);
                    self.add_word(simd, word, &rule.weighting(best, inverse_temperature));
                } else if rule.answers_below {
                    self.add_nearest_of_word(word, best);
                }
            }
        }
        if let Some(inverse_temperature) = rule.regions {
            for at in 0..T::vectors(simd, cells.row(0)).0.len() {
                let best = column_maxima(simd, cells, at);
                if rule.answers_below {
                    self.add_nearest_of_regions(simd, at, best);
                }
                if count_above(simd, &[best], rule.threshold) > 0 {
                    self.add_regions(simd, at, &rule.weighting(best, inverse_temperature));
                }
            }
        }
    }
}

impl<T: Number> PairBackward<'_, T> {
    /// Adds the gradient of a word's R to those of its cells and of the regions' Gram matrix.
    #[inline(always)]
    fn add_word<S: Simd>(&mut self, simd: S, word: usize, weighting: &Weighting<T, S>) {
        let row = self.inputs.cells.row(word);
        let sums = weighting.word_sums(simd, row, &self.inputs.grams, self.scratch);
        let by_sums = sums.gradient(self.upstream.word);
        let by_squared = by_sums.squared;
        let by_sums = SumGradients {
            dot: T::splat(simd, by_sums.dot),
            squared: T::splat(simd, by_squared),
        };
        let stride = row.len();
        let weights = &self.scratch.weights[..stride];
        let to_row = &mut self.gradients.cells[word * stride..][..stride];
        let inputs = T::vectors(simd, weights).0.iter();
        let inputs = inputs.zip(T::vectors(simd, &self.scratch.products[..stride]).0);
        let inputs = inputs.zip(T::vectors(simd, row).0);
        let to_row = T::vectors_mut(simd, to_row).0;
        for (to, ((&weights, &products), &cells)) in to_row.iter_mut().zip(inputs) {
            let weighted = WeightedCells {
                cells,
                weights,
                products,
            };
            let gradient = cell_gradients(simd, weighted, &by_sums, weighting);
            *to = T::plus(simd, *to, gradient);
        }
        let to_rows = self.gradients.grams.regions.chunks_exact_mut(stride);
        for (&weight, to_row) in weights.iter().zip(to_rows) {
            if weight != T::zero() {
                add_scaled(simd, to_row, weight * by_squared, weights);
            }
        }
    }

    /// Adds the gradient of a word whose R is its best relevance: all of it to its first highest
    /// cell.
    fn add_nearest_of_word(&mut self, word: usize, best: T) {
        let row = self.inputs.cells.row(word);
        if let Some(at) = row.iter().position(|&cell| cell == best) {
            self.gradients.cells[word * row.len() + at] += self.upstream.word;
        }
    }

    /// Adds the gradient of those regions in vector `at` whose R is their best relevance, because
    /// it is not above the threshold: all of it to the first highest cell of each.
    #[inline(always)]
    fn add_nearest_of_regions<S: Simd>(&mut self, simd: S, at: usize, best: Vector<T, S>) {
        let cells = self.inputs.cells;
        let zero = T::splat(simd, T::zero());
        let threshold = T::splat(simd, self.rule.threshold);
        let padding = T::splat(simd, T::from_f64(LOWEST));
        let upstream = T::splat(simd, self.upstream.region);
        let upstream = T::where_greater(simd, best, padding, upstream, zero);
        // In each lane the gradient of the region's R until its first highest cell is met, then 0.
        let mut pending = T::where_greater(simd, best, threshold, zero, upstream);
        let to_rows = self.gradients.cells.chunks_exact_mut(cells.stride);
        for (word, to_row) in to_rows.enumerate() {
            let cell = cells.vector(simd, word, at);
            let own = T::where_greater(simd, best, cell, zero, pending);
            pending = T::where_greater(simd, best, cell, pending, zero);
            let to = &mut T::vectors_mut(simd, to_row).0[at];
            *to = T::plus(simd, *to, own);
        }
    }

    /// Adds the gradients of R of the regions in vector `at` to those of their cells and of the
    /// words' Gram matrix.
    #[inline(always)]
    fn add_regions<S: Simd>(&mut self, simd: S, at: usize, weighting: &Weighting<T, S>) {
        let (cells, words) = (self.inputs.cells, self.inputs.cells.words);
        let sums = weighting.region_sums(simd, at, self.inputs, self.scratch);
        let by_sums = self.sum_gradients(simd, &sums, weighting.best);
        let weights = &T::vectors(simd, &self.scratch.weights).0[..words];
        let products = &T::vectors(simd, &self.scratch.products).0[..words];
        let to_rows = self.gradients.cells.chunks_exact_mut(cells.stride);
        for (word, to_row) in to_rows.enumerate() {
            let weighted = WeightedCells {
                cells: cells.vector(simd, word, at),
                weights: weights[word],
                products: products[word],
            };
            let gradient = cell_gradients(simd, weighted, &by_sums, weighting);
            let to = &mut T::vectors_mut(simd, to_row).0[at];
            *to = T::plus(simd, *to, gradient);
        }
        for row in 0..words {
            let scaled = T::times(simd, weights[row], by_sums.squared);
            let (to_gram, stride) = (
                &mut *self.gradients.grams.words,
                self.inputs.grams.word_stride,
            );
            for column in 0..=row {
                let sum = T::total(simd, T::times(simd, scaled, weights[column]));
                to_gram[row * stride + column] += sum;
                if column < row {
                    to_gram[column * stride + row] += sum;
                }
            }
        }
    }

    /// The gradients with respect to N and Q of a vector of regions: zero for regions with nothing
    /// above the threshold. That of Q is also zero where Q was raised to its minimum.
    #[inline(always)]
    fn sum_gradients<S: Simd>(
        &self,
        simd: S,
        sums: &AttendedSums<Vector<T, S>>,
        best: Vector<T, S>,
    ) -> SumGradients<Vector<T, S>> {
        let zero = T::splat(simd, T::zero());
        let threshold = T::splat(simd, self.rule.threshold);
        let smallest = T::splat(simd, T::from_f64(SMALLEST_SQUARED_LENGTH));
        let upstream = T::splat(simd, self.upstream.region);
        let upstream = T::where_greater(simd, best, threshold, upstream, zero);
        let dot = T::over(simd, upstream, T::root(simd, sums.squared));
        let cosine = T::over(simd, sums.dot, sums.squared);
        let squared = T::minus(simd, zero, T::times(simd, cosine, dot));
        SumGradients {
            dot,
            squared: T::where_greater(simd, sums.squared, smallest, squared, zero),
        }
    }
}

/// The gradient of a vector of cells: N depends on them directly, N and Q through their weights.
#[inline(always)]
fn cell_gradients<T: Number, S: Simd>(
    simd: S,
    weighted: WeightedCells<Vector<T, S>>,
    by_sums: &SumGradients<Vector<T, S>>,
    weighting: &Weighting<T, S>,
) -> Vector<T, S> {
    let inverse_temperature = T::splat(simd, weighting.inverse_temperature);
    let by_weight = T::times(simd, weighted.products, by_sums.squared);
    let by_weight = T::times_plus(simd, weighted.cells, by_sums.dot, by_weight);
    let by_cell = T::times_plus(simd, inverse_temperature, by_weight, by_sums.dot);
    T::times(simd, weighted.weights, by_cell)
}
