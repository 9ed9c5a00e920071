//! R of every query from weights on all its cells: `N / sqrt(Q)`, `Q = e^T G e`.
//!
//! G is symmetric: products with earlier cells count twice, those with later ones are not formed.

use uard_linalg::vector::sixteen::{LANES, Sixteen};

use super::Pair;
use crate::side::SMALLEST_SQUARED_LENGTH;

/// Rows that are multiplied with a Gram matrix together: each of its vectors is loaded once for all.
pub(super) const TOGETHER: usize = 4;

/// The weighted cells of a pair: rows are words, columns regions.
///
/// Beyond the last word, up to a multiple of [`TOGETHER`], and beyond the last region, cells and
/// weights are zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighted<'a> {
    /// The word of each row; other words have no weight.
    pub words: &'a [u32],
    /// Row length, whole vectors.
    pub stride: usize,
    pub cells: &'a [f32],
    pub weights: &'a [f32],
}

/// N, Q and the highest weight, lane by lane.
#[derive(Debug, Clone, Copy)]
struct Sums<V> {
    dot: V,
    squared: V,
    best: V,
}

/// The sum of R over the words.
#[inline(always)]
pub(super) fn word_answers<S: Sixteen>(simd: S, pair: &Pair<'_>, weighted: &Weighted<'_>) -> f32 {
    let stride = weighted.stride;
    let mut total = 0.0;
    let mut first = 0;
    for weights in weighted.weights.chunks_exact(TOGETHER * stride) {
        if first >= weighted.words.len() {
            break;
        }
        let mut sums = [Sums::empty(simd); TOGETHER];
        for at in (0..stride).step_by(LANES) {
            let end = pair.image.count.min(at + LANES);
            let mut products = [simd.splat(0.0); TOGETHER];
            let gram = &pair.image.gram[..end * stride];
            let (earlier, own) = gram.split_at(at * stride);
            add_regions(simd, &mut products, (earlier, at), (weights, 0), stride);
            for product in &mut products {
                *product = simd.plus(*product, *product);
            }
            add_regions(simd, &mut products, (own, at), (weights, at), stride);
            for row in 0..TOGETHER {
                let cells = simd.load_at(weighted.cells, (first + row) * stride + at);
                let weights = simd.load_at(weights, row * stride + at);
                sums[row].add(simd, weights, cells, products[row]);
            }
        }
        for sums in &sums {
            total += sums.answer_of_all(simd);
        }
        first += TOGETHER;
    }
    total
}

/// Adds rows of the Gram matrix, their columns from `at` on, each times its weight in every row of
/// weights; the first is weighed by number `first` of a row.
#[inline(always)]
fn add_regions<S: Sixteen>(
    simd: S,
    products: &mut [S::Vector; TOGETHER],
    (gram, at): (&[f32], usize),
    (weights, first): (&[f32], usize),
    stride: usize,
) {
    let count = gram.len() / stride;
    let row = |row: usize| &weights[row * stride + first..][..count];
    let weights = [row(0), row(1), row(2), row(3)];
    for (region, gram) in gram.chunks_exact(stride).enumerate() {
        let gram = simd.load_at(gram, at);
        for row in 0..TOGETHER {
            let weight = simd.splat(weights[row][region]);
            products[row] = simd.times_plus(weight, gram, products[row]);
        }
    }
}

/// The sum of R over the regions.
#[inline(always)]
pub(super) fn region_answers<S: Sixteen>(simd: S, pair: &Pair<'_>, weighted: &Weighted<'_>) -> f32 {
    let stride = weighted.stride;
    let words = weighted.words.len();
    let mut total = simd.splat(0.0);
    for at in (0..stride).step_by(LANES) {
        let mut sums = Sums::empty(simd);
        for first in (0..words).step_by(TOGETHER) {
            let mut products = [simd.splat(0.0); TOGETHER];
            add_words(simd, &mut products, (pair, weighted), (0..first, at), first);
            for product in &mut products {
                *product = simd.plus(*product, *product);
            }
            let own = first..words.min(first + TOGETHER);
            add_words(simd, &mut products, (pair, weighted), (own, at), first);
            for (row, product) in products.iter().enumerate() {
                let place = (first + row) * stride + at;
                let cells = simd.load_at(weighted.cells, place);
                sums.add(simd, simd.load_at(weighted.weights, place), cells, *product);
            }
        }
        total = simd.plus(total, sums.answers(simd));
    }
    simd.total(total)
}

/// Adds rows of weights, their columns from `at` on, each times its products with the words of
/// `TOGETHER` rows from `first` on.
#[inline(always)]
fn add_words<S: Sixteen>(
    simd: S,
    products: &mut [S::Vector; TOGETHER],
    (pair, weighted): (&Pair<'_>, &Weighted<'_>),
    (others, at): (std::ops::Range<usize>, usize),
    first: usize,
) {
    let gram = [
        word_products(pair, weighted, first),
        word_products(pair, weighted, first + 1),
        word_products(pair, weighted, first + 2),
        word_products(pair, weighted, first + 3),
    ];
    for other in others {
        let weights = simd.load_at(weighted.weights, other * weighted.stride + at);
        let word = weighted.words[other] as usize;
        for row in 0..TOGETHER {
            let gram = simd.splat(gram[row][word]);
            products[row] = simd.times_plus(gram, weights, products[row]);
        }
    }
}

/// The products of a row's word with all words. Rows beyond the last have no weight: any word will do.
#[inline(always)]
fn word_products<'a>(pair: &Pair<'a>, weighted: &Weighted<'_>, row: usize) -> &'a [f32] {
    let word = weighted.words[row.min(weighted.words.len() - 1)] as usize;
    &pair.word_gram[word * pair.word_stride..][..pair.word_stride]
}

impl<V: Copy> Sums<V> {
    #[inline(always)]
    fn empty<S: Sixteen<Vector = V>>(simd: S) -> Self {
        let zero = simd.splat(0.0);
        Self {
            dot: zero,
            squared: zero,
            best: zero,
        }
    }

    #[inline(always)]
    fn add<S: Sixteen<Vector = V>>(&mut self, simd: S, weights: V, cells: V, products: V) {
        self.dot = simd.times_plus(weights, cells, self.dot);
        self.squared = simd.times_plus(weights, products, self.squared);
        self.best = simd.larger(weights, self.best);
    }

    /// R of one query whose cells are spread over the lanes.
    #[inline(always)]
    fn answer_of_all<S: Sixteen<Vector = V>>(&self, simd: S) -> f32 {
        let least = least_squared(simd.highest(self.best));
        let squared = simd.total(self.squared);
        simd.total(self.dot) / if squared > least { squared } else { least }.sqrt()
    }

    /// R of a query in each lane.
    #[inline(always)]
    fn answers<S: Sixteen<Vector = V>>(&self, simd: S) -> V {
        let least = simd.times(simd.splat(SMALLEST_SQUARED_LENGTH as f32), self.best);
        let least = simd.times(least, self.best);
        let least = simd.larger(least, simd.splat(f32::MIN_POSITIVE));
        simd.over(self.dot, simd.root(simd.larger(self.squared, least)))
    }
}

/// The least that Q may be beside the highest weight; not zero, so that a query without weights
/// answers zero.
#[inline(always)]
fn least_squared(best: f32) -> f32 {
    let least = SMALLEST_SQUARED_LENGTH as f32 * best * best;
    if least > f32::MIN_POSITIVE {
        least
    } else {
        f32::MIN_POSITIVE
    }
}
