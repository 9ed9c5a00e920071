//! The masked rule for one pair, with a weight for every cell: sums of R, and their gradients.
//!
//! ```text
//! R = N / sqrt(Q)    N = sum_j e_j s_j    Q = e^T G e    e_j = 1[s_j > t] exp(λ (s_j - max s))
//! ```
//!
//! Where the best relevance of a query is not above the threshold, R is 0, or that relevance under
//! the rule `nearest`.
//!
//! Both sides read the same cells [words, regions]; a vector holds neighbouring regions. A word
//! sums along its row; regions sum down the rows, a vector of them at once. Nothing is transposed.

mod backward;
mod queries;

use uard_linalg::vector::{Loops, Number, Simd, Vector, WIDEST};

use super::tiles::PairInTile;
use crate::kept::Above;
pub(super) use backward::{GramGradients, PairBackward, PairGradients};
pub(super) use queries::{AttendedSums, SumGradients, row_maximum};
use queries::{Weighting, column_maxima, count_above};

/// Below every cosine: the value of padding, and of a maximum over nothing.
const LOWEST: f64 = -4.0;

/// The masked rule with its numbers in the precision of the tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Masked<T> {
    pub threshold: T,
    /// Whether R of a query with nothing above the threshold is its highest relevance, and not 0.
    pub answers_below: bool,
    /// Inverse temperature where words are the queries; none if they are not.
    pub words: Option<T>,
    /// Inverse temperature where regions are the queries; none if they are not.
    pub regions: Option<T>,
}

/// One pair's relevance, a row for each word, padded with [`LOWEST`] to whole vectors.
#[derive(Debug, Default)]
pub(super) struct PairCells<T> {
    values: Vec<T>,
    pub words: usize,
    pub regions: usize,
    /// Length of a row with its padding.
    pub stride: usize,
}

/// The Gram matrices of a pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grams<'a, T> {
    /// G, of the image's regions; rows are padded with zeros to the length of a row of cells.
    pub regions: &'a [T],
    pub region_stride: usize,
    /// H, of the caption's words.
    pub words: &'a [T],
    pub word_stride: usize,
}

/// The relevance of one pair with its Gram matrices.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairInputs<'a, T> {
    pub cells: &'a PairCells<T>,
    pub grams: Grams<'a, T>,
}

/// The sums of R over a pair's queries, and how much of the pair is above the threshold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PairAnswers<T> {
    /// Sum of R over the words; zero where they are no queries.
    pub words: T,
    /// Sum of R over the regions; zero where they are no queries.
    pub regions: T,
    pub above: Above,
}

/// Buffers that are reused from pair to pair.
#[derive(Debug, Default)]
pub(super) struct Scratch<T> {
    /// Highest relevance of each word.
    best: Vec<T>,
    /// The weights of one word's cells, or for each word those of a vector of regions.
    weights: Vec<T>,
    /// The weights times the Gram matrix, laid out as the weights.
    products: Vec<T>,
}

impl<T: Number> Masked<T> {
    /// A rule that masks every cell: its forward pass finds the maxima of words and nothing else.
    pub(super) fn maxima_only() -> Self {
        Self {
            threshold: T::infinity(),
            answers_below: false,
            words: None,
            regions: None,
        }
    }

    #[inline(always)]
    fn weighting<S: Simd>(&self, best: Vector<T, S>, inverse_temperature: T) -> Weighting<T, S> {
        Weighting {
            threshold: self.threshold,
            inverse_temperature,
            best,
        }
    }
}

impl<T: Number> PairCells<T> {
    /// Numbers of all rows, padding included.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn row(&self, word: usize) -> &[T] {
        &self.values[word * self.stride..][..self.stride]
    }

    /// Copies a pair's cells out of a tile whose rows are `columns` long, into rows of `stride`.
    pub(super) fn load(&mut self, tile: &[T], columns: usize, pair: &PairInTile, stride: usize) {
        (self.words, self.regions, self.stride) = (pair.words, pair.regions, stride);
        self.values.clear();
        let lowest = T::from_f64(LOWEST);
        for row in tile[pair.start..].chunks(columns).take(pair.words) {
            self.values.extend_from_slice(&row[..pair.regions]);
            let padded = self.values.len() + stride - pair.regions;
            self.values.resize(padded, lowest);
        }
    }

    /// The vector `at` of a row.
    #[inline(always)]
    fn vector<S: Simd>(&self, simd: S, word: usize, at: usize) -> Vector<T, S> {
        T::vectors(simd, self.row(word)).0[at]
    }
}

impl<T: Number> Scratch<T> {
    /// Highest relevance of each word of the pair whose forward pass ran last.
    pub(super) fn best(&self) -> &[T] {
        &self.best
    }

    /// Makes room for a number for each word in `best`, and in `weights` and `products` for a
    /// vector for each word, or a row of cells.
    fn fit(&mut self, cells: &PairCells<T>) {
        let numbers = cells.stride.max(cells.words * WIDEST);
        self.best.resize(cells.words, T::zero());
        self.weights.resize(numbers, T::zero());
        self.products.resize(numbers, T::zero());
    }
}

/// The forward pass of one pair.
pub(super) struct PairForward<'a, T> {
    pub rule: Masked<T>,
    pub inputs: PairInputs<'a, T>,
    pub scratch: &'a mut Scratch<T>,
}

impl<T: Number> Loops for PairForward<'_, T> {
    type Output = PairAnswers<T>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> PairAnswers<T> {
        let Self {
            rule,
            inputs,
            scratch,
        } = self;
        let PairInputs { cells, grams } = inputs;
        scratch.fit(cells);
        let mut answers = PairAnswers::default();
        for word in 0..cells.words {
            let row = cells.row(word);
            let best = row_maximum(simd, row);
            scratch.best[word] = best;
            if best > rule.threshold {
                answers.above.word_queries += 1;
                answers.above.cells += count_above(simd, T::vectors(simd, row).0, rule.threshold);
                if let Some(inverse_temperature) = rule.words {
                    let weighting = rule.weighting(T::splat(simd, best), inverse_temperature);
                    let sums = weighting.word_sums(simd, row, &grams, scratch);
                    answers.words += sums.dot / sums.squared.sqrt();
                }
            } else if rule.answers_below && rule.words.is_some() {
                answers.words += best;
            }
        }
        if answers.above.word_queries > 0 || rule.answers_below {
            rule.sum_regions(simd, inputs, scratch, &mut answers);
        }
        answers
    }
}

impl<T: Number> Masked<T> {
    /// Writes the sum of R over the regions, and counts those with a word above the threshold.
    #[inline(always)]
    fn sum_regions<S: Simd>(
        &self,
        simd: S,
        inputs: PairInputs<'_, T>,
        scratch: &mut Scratch<T>,
        answers: &mut PairAnswers<T>,
    ) {
        let cells = inputs.cells;
        let threshold = T::splat(simd, self.threshold);
        let mut total = T::splat(simd, T::zero());
        for at in 0..T::vectors(simd, cells.row(0)).0.len() {
            let best = column_maxima(simd, cells, at);
            let above = count_above(simd, &[best], self.threshold);
            answers.above.region_queries += above;
            let Some(inverse_temperature) = self.regions else {
                continue;
            };
            let mut answer = self.answer_below(simd, best);
            if above > 0 {
                let weighting = self.weighting(best, inverse_temperature);
                let sums = weighting.region_sums(simd, at, inputs, scratch);
                let attended = T::over(simd, sums.dot, T::root(simd, sums.squared));
                answer = T::where_greater(simd, best, threshold, attended, answer);
            }
            total = T::plus(simd, total, answer);
        }
        answers.regions = T::total(simd, total);
    }

    /// R of regions with nothing above the threshold; zero for padding.
    #[inline(always)]
    fn answer_below<S: Simd>(&self, simd: S, best: Vector<T, S>) -> Vector<T, S> {
        let zero = T::splat(simd, T::zero());
        if !self.answers_below {
            return zero;
        }
        let padding = T::splat(simd, T::from_f64(LOWEST));
        T::where_greater(simd, best, padding, best, zero)
    }
}
