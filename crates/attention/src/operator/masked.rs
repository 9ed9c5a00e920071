//! What does one pair add under the masked rule, and how does that change with its inputs?
//!
//! ```text
//! R = N / sqrt(Q)    N = sum_j e_j s_j    Q = e^T G e    e_j = 1[s_j > t] exp(λ (s_j - max s))
//! ```
//!
//! A query whose best relevance is not above the threshold answers nothing, or with that relevance
//! where the rule says so.
//!
//! Both sides read the same cells [words, regions] with neighbouring regions in a vector: words
//! asking walk along a row, regions asking down all rows at once. Nothing is transposed.

mod backward;
mod queries;

use uard_linalg::vector::{Loops, Simd, Vector, WIDEST};

use super::tiles::Place;
use crate::side::Real;
pub(super) use queries::best_of;
use queries::{best_down, count_above};

pub(super) use backward::{Backward, PairGradients};

/// Below every cosine: what padding holds, and where maxima begin.
const LOWEST: f64 = -4.0;

/// The masked rule with its numbers in the precision of the tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Masked<T> {
    pub threshold: T,
    /// Whether a query below the threshold answers with its highest relevance.
    pub answers_below: bool,
    /// Inverse temperature of words asking, if they ask.
    pub words: Option<T>,
    /// Inverse temperature of regions asking, if they ask.
    pub regions: Option<T>,
}

/// One pair's relevance, a row for each word, padded with [`LOWEST`] to whole vectors.
#[derive(Debug, Default)]
pub(super) struct Cells<T> {
    values: Vec<T>,
    pub words: usize,
    pub regions: usize,
    /// Numbers from row to row.
    pub stride: usize,
}

/// The Gram matrices that a pair's queries look through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grams<'a, T> {
    /// Of the image's regions: rows as long as those of cells, padded with zeros.
    pub regions: &'a [T],
    /// Of the caption's words, `word_stride` apart from row to row.
    pub words: &'a [T],
    pub word_stride: usize,
}

/// What a pair answers, and how much of it is above the threshold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers<T> {
    /// Sum of R over the words, if they ask.
    pub words: T,
    /// Sum of R over the regions, if they ask.
    pub regions: T,
    pub word_queries: u64,
    pub region_queries: u64,
    pub cells: u64,
}

/// Buffers that are reused from pair to pair.
#[derive(Debug, Default)]
pub(super) struct Scratch<T> {
    /// Highest relevance of each word.
    best: Vec<T>,
    weights: Vec<T>,
    products: Vec<T>,
}

impl<T: Real> Masked<T> {
    /// A rule that keeps nothing: all it finds are the maxima of words.
    pub(super) fn maxima_only() -> Self {
        Self {
            threshold: T::infinity(),
            answers_below: false,
            words: None,
            regions: None,
        }
    }
}

impl<T: Real> Cells<T> {
    /// Numbers in all.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn row(&self, word: usize) -> &[T] {
        &self.values[word * self.stride..][..self.stride]
    }

    /// Copies a pair's cells out of a tile whose rows are `columns` apart.
    pub(super) fn load(&mut self, tile: &[T], columns: usize, place: &Place, stride: usize) {
        (self.words, self.regions, self.stride) = (place.words, place.regions, stride);
        self.values.clear();
        let lowest = T::from_f64(LOWEST);
        for row in tile[place.start..].chunks(columns).take(place.words) {
            self.values.extend_from_slice(&row[..place.regions]);
            let padded = self.values.len() + stride - place.regions;
            self.values.resize(padded, lowest);
        }
    }

    /// The vector `at` of a row.
    #[inline(always)]
    fn vector<S: Simd>(&self, simd: S, word: usize, at: usize) -> Vector<T, S> {
        T::vectors(simd, self.row(word)).0[at]
    }
}

impl<T: Real> Scratch<T> {
    /// Highest relevance of each word of the pair last asked.
    pub(super) fn best(&self) -> &[T] {
        &self.best
    }

    /// Room for a number a word, a vector a word and a row of cells.
    fn fit(&mut self, cells: &Cells<T>) {
        let numbers = cells.stride.max(cells.words * WIDEST);
        self.best.resize(cells.words, T::zero());
        self.weights.resize(numbers, T::zero());
        self.products.resize(numbers, T::zero());
    }
}

/// The forward pass of one pair.
pub(super) struct Forward<'a, T> {
    pub rule: Masked<T>,
    pub cells: &'a Cells<T>,
    pub grams: Grams<'a, T>,
    pub scratch: &'a mut Scratch<T>,
}

impl<T: Real> Loops for Forward<'_, T> {
    type Output = Answers<T>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Answers<T> {
        let Self {
            rule,
            cells,
            grams,
            scratch,
        } = self;
        scratch.fit(cells);
        let mut answers = Answers::default();
        for word in 0..cells.words {
            let row = cells.row(word);
            let best = best_of(simd, row);
            scratch.best[word] = best;
            if best > rule.threshold {
                answers.word_queries += 1;
                answers.cells += count_above(simd, T::vectors(simd, row).0, rule.threshold);
                if let Some(sharpness) = rule.words {
                    let (dot, squared) =
                        rule.ask_word(simd, row, (best, sharpness), (&grams, scratch));
                    answers.words += dot / squared.sqrt();
                }
            } else if rule.answers_below && rule.words.is_some() {
                answers.words += best;
            }
        }
        if answers.word_queries > 0 || rule.answers_below {
            rule.regions_answer(simd, cells, (&grams, scratch), &mut answers);
        }
        answers
    }
}

impl<T: Real> Masked<T> {
    #[inline(always)]
    fn regions_answer<S: Simd>(
        &self,
        simd: S,
        cells: &Cells<T>,
        (grams, scratch): (&Grams<'_, T>, &mut Scratch<T>),
        answers: &mut Answers<T>,
    ) {
        let threshold = T::splat(simd, self.threshold);
        let mut sums = T::splat(simd, T::zero());
        for at in 0..T::vectors(simd, cells.row(0)).0.len() {
            let best = best_down(simd, cells, at);
            let above = count_above(simd, &[best], self.threshold);
            answers.region_queries += above;
            let Some(sharpness) = self.regions else {
                continue;
            };
            let mut answer = self.below(simd, best);
            if above > 0 {
                let asked =
                    self.ask_regions(simd, (cells, at), (best, sharpness), (grams, scratch));
                let seen = T::over(simd, asked.dot, T::root(simd, asked.squared));
                answer = T::where_greater(simd, (best, threshold), seen, answer);
            }
            sums = T::plus(simd, sums, answer);
        }
        answers.regions = T::total(simd, sums);
    }

    /// What regions answer that are not above the threshold; padding answers nothing.
    #[inline(always)]
    fn below<S: Simd>(&self, simd: S, best: Vector<T, S>) -> Vector<T, S> {
        let zero = T::splat(simd, T::zero());
        if !self.answers_below {
            return zero;
        }
        let padding = T::splat(simd, T::from_f64(LOWEST));
        T::where_greater(simd, (best, padding), best, zero)
    }
}
