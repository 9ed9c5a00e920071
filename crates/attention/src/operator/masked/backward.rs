//! How does what a pair adds change with its cells and its Gram matrices?

use uard_linalg::vector::{Loops, Simd, Vector};

use super::queries::{Asked, add_scaled, best_down, best_of, count_above};
use super::{Cells, Grams, LOWEST, Masked, Scratch};
use crate::side::{Real, SMALLEST_SQUARED_LENGTH};

/// Where the gradients of a pair go.
#[derive(Debug)]
pub(crate) struct PairGradients<'a, T> {
    /// Of the cells, laid out as they are; overwritten.
    pub cells: &'a mut Vec<T>,
    /// `dG + dG^T` of the regions, laid out as their Gram matrix; added to.
    pub regions: &'a mut [T],
    /// `dH + dH^T` of the words, laid out as their Gram matrix; added to.
    pub words: &'a mut [T],
}

/// The backward pass of one pair: adds upstream times the gradient of each query's R.
pub(crate) struct Backward<'a, T> {
    pub rule: Masked<T>,
    pub cells: &'a Cells<T>,
    pub grams: Grams<'a, T>,
    /// Upstream of a word's answer and of a region's.
    pub each: (T, T),
    pub gradients: PairGradients<'a, T>,
    pub scratch: &'a mut Scratch<T>,
}

impl<T: Real> Loops for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (rule, cells) = (self.rule, self.cells);
        self.scratch.fit(cells);
        self.gradients.cells.clear();
        self.gradients.cells.resize(cells.len(), T::zero());
        if let Some(sharpness) = rule.words {
            for word in 0..cells.words {
                let best = best_of(simd, cells.row(word));
                if best > rule.threshold {
                    self.through_word(simd, word, (best, sharpness));
                } else if rule.answers_below {
                    self.nearest_of_word(word, best);
                }
            }
        }
        if let Some(sharpness) = rule.regions {
            for at in 0..T::vectors(simd, cells.row(0)).0.len() {
                let best = best_down(simd, cells, at);
                if rule.answers_below {
                    self.nearest_of_regions(simd, at, best);
                }
                if count_above(simd, &[best], rule.threshold) > 0 {
                    self.through_regions(simd, at, (best, sharpness));
                }
            }
        }
    }
}

/// Upstream times the derivative of R by N, and twice that by Q.
struct Slopes<V> {
    dot: V,
    squared: V,
}

impl<T: Real> Backward<'_, T> {
    #[inline(always)]
    fn through_word<S: Simd>(&mut self, simd: S, word: usize, (best, sharpness): (T, T)) {
        let row = self.cells.row(word);
        let query = (best, sharpness);
        let (dot, squared) = self
            .rule
            .ask_word(simd, row, query, (&self.grams, self.scratch));
        let by_dot = self.each.0 / squared.sqrt();
        // Zero where Q was bounded.
        let by_squared = if squared > T::from_f64(SMALLEST_SQUARED_LENGTH) {
            -(dot / squared) * by_dot
        } else {
            T::zero()
        };
        let slopes = Slopes {
            dot: T::splat(simd, by_dot),
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
            let gradient = to_cells::<T, S>(simd, (weights, products, cells), &slopes, sharpness);
            *to = T::plus(simd, *to, gradient);
        }
        let to_rows = self.gradients.regions.chunks_exact_mut(stride);
        for (&weight, to_row) in weights.iter().zip(to_rows) {
            if weight != T::zero() {
                add_scaled(simd, to_row, weight * by_squared, weights);
            }
        }
    }

    /// A word below the threshold: its first highest cell.
    fn nearest_of_word(&mut self, word: usize, best: T) {
        let row = self.cells.row(word);
        if let Some(at) = row.iter().position(|&cell| cell == best) {
            self.gradients.cells[word * row.len() + at] += self.each.0;
        }
    }

    /// Regions below the threshold: the first highest cell of each.
    #[inline(always)]
    fn nearest_of_regions<S: Simd>(&mut self, simd: S, at: usize, best: Vector<T, S>) {
        let cells = self.cells;
        let zero = T::splat(simd, T::zero());
        let threshold = T::splat(simd, self.rule.threshold);
        let padding = T::splat(simd, T::from_f64(LOWEST));
        let each = T::splat(simd, self.each.1);
        let each = T::where_greater(simd, (best, padding), each, zero);
        let mut left = T::where_greater(simd, (best, threshold), zero, each);
        let to_rows = self.gradients.cells.chunks_exact_mut(cells.stride);
        for (word, to_row) in to_rows.enumerate() {
            let is_less = (best, cells.vector(simd, word, at));
            let own = T::where_greater(simd, is_less, zero, left);
            left = T::where_greater(simd, is_less, left, zero);
            let to = &mut T::vectors_mut(simd, to_row).0[at];
            *to = T::plus(simd, *to, own);
        }
    }

    #[inline(always)]
    fn through_regions<S: Simd>(
        &mut self,
        simd: S,
        at: usize,
        (best, sharpness): (Vector<T, S>, T),
    ) {
        let (cells, words) = (self.cells, self.cells.words);
        let query = (best, sharpness);
        let asked = self
            .rule
            .ask_regions(simd, (cells, at), query, (&self.grams, self.scratch));
        let slopes = self.slopes(simd, &asked, best);
        let weights = &T::vectors(simd, &self.scratch.weights).0[..words];
        let products = &T::vectors(simd, &self.scratch.products).0[..words];
        let to_rows = self.gradients.cells.chunks_exact_mut(cells.stride);
        for (word, to_row) in to_rows.enumerate() {
            let inputs = (weights[word], products[word], cells.vector(simd, word, at));
            let gradient = to_cells::<T, S>(simd, inputs, &slopes, sharpness);
            let to = &mut T::vectors_mut(simd, to_row).0[at];
            *to = T::plus(simd, *to, gradient);
        }
        for row in 0..words {
            let scaled = T::times(simd, weights[row], slopes.squared);
            let (to_gram, stride) = (&mut *self.gradients.words, self.grams.word_stride);
            for column in 0..=row {
                let sum = T::total(simd, T::times(simd, scaled, weights[column]));
                to_gram[row * stride + column] += sum;
                if column < row {
                    to_gram[column * stride + row] += sum;
                }
            }
        }
    }

    /// Zero for regions that nothing answers; the second also where Q was bounded.
    #[inline(always)]
    fn slopes<S: Simd>(
        &self,
        simd: S,
        asked: &Asked<Vector<T, S>>,
        best: Vector<T, S>,
    ) -> Slopes<Vector<T, S>> {
        let zero = T::splat(simd, T::zero());
        let threshold = T::splat(simd, self.rule.threshold);
        let smallest = T::splat(simd, T::from_f64(SMALLEST_SQUARED_LENGTH));
        let each = T::splat(simd, self.each.1);
        let each = T::where_greater(simd, (best, threshold), each, zero);
        let dot = T::over(simd, each, T::root(simd, asked.squared));
        let cosine = T::over(simd, asked.dot, asked.squared);
        let squared = T::minus(simd, zero, T::times(simd, cosine, dot));
        Slopes {
            dot,
            squared: T::where_greater(simd, (asked.squared, smallest), squared, zero),
        }
    }
}

/// The gradient of cells through N, and through Q by their weights.
#[inline(always)]
fn to_cells<T: Real, S: Simd>(
    simd: S,
    (weights, products, cells): (Vector<T, S>, Vector<T, S>, Vector<T, S>),
    slopes: &Slopes<Vector<T, S>>,
    sharpness: T,
) -> Vector<T, S> {
    let by_weight = T::times(simd, products, slopes.squared);
    let by_weight = T::times_plus(simd, cells, slopes.dot, by_weight);
    let by_cell = T::times_plus(simd, T::splat(simd, sharpness), by_weight, slopes.dot);
    T::times(simd, weights, by_cell)
}
