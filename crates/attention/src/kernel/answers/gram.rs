//! R of every query from weights on all its cells: `N / sqrt(Q)`, `Q = e^T G e`.
//!
//! G is symmetric: products with earlier cells count twice, those with later ones are not formed.

use super::Pair;
use super::lanes::{LANES, Machine};
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
pub(super) fn word_answers<M: Machine>(pair: &Pair<'_>, weighted: &Weighted<'_>) -> f32 {
    let stride = weighted.stride;
    let mut total = 0.0;
    let mut first = 0;
    for weights in weighted.weights.chunks_exact(TOGETHER * stride) {
        if first >= weighted.words.len() {
            break;
        }
        let mut sums = [Sums::<M::Vector>::empty::<M>(); TOGETHER];
        for at in (0..stride).step_by(LANES) {
            let end = pair.image.count.min(at + LANES);
            let mut products = [M::splat(0.0); TOGETHER];
            let gram = &pair.image.gram[..end * stride];
            let (earlier, own) = gram.split_at(at * stride);
            add_regions::<M>(&mut products, (earlier, at), (weights, 0), stride);
            for product in &mut products {
                *product = M::add(*product, *product);
            }
            add_regions::<M>(&mut products, (own, at), (weights, at), stride);
            for row in 0..TOGETHER {
                let cells = M::load_at(weighted.cells, (first + row) * stride + at);
                let weights = M::load_at(weights, row * stride + at);
                sums[row].add::<M>(weights, cells, products[row]);
            }
        }
        for sums in &sums {
            total += sums.answer_of_all::<M>();
        }
        first += TOGETHER;
    }
    total
}

/// Adds rows of the Gram matrix, their columns from `at` on, each times its weight in every row of
/// weights; the first is weighed by number `first` of a row.
#[inline(always)]
fn add_regions<M: Machine>(
    products: &mut [M::Vector; TOGETHER],
    (gram, at): (&[f32], usize),
    (weights, first): (&[f32], usize),
    stride: usize,
) {
    let count = gram.len() / stride;
    let row = |row: usize| &weights[row * stride + first..][..count];
    let weights = [row(0), row(1), row(2), row(3)];
    for (region, gram) in gram.chunks_exact(stride).enumerate() {
        let gram = M::load_at(gram, at);
        for row in 0..TOGETHER {
            let weight = M::splat(weights[row][region]);
            products[row] = M::multiply_add(weight, gram, products[row]);
        }
    }
}

/// The sum of R over the regions.
#[inline(always)]
pub(super) fn region_answers<M: Machine>(pair: &Pair<'_>, weighted: &Weighted<'_>) -> f32 {
    let stride = weighted.stride;
    let words = weighted.words.len();
    let mut total = M::splat(0.0);
    for at in (0..stride).step_by(LANES) {
        let mut sums = Sums::<M::Vector>::empty::<M>();
        for first in (0..words).step_by(TOGETHER) {
            let mut products = [M::splat(0.0); TOGETHER];
            add_words::<M>(&mut products, (pair, weighted), (0..first, at), first);
            for product in &mut products {
                *product = M::add(*product, *product);
            }
            let own = first..words.min(first + TOGETHER);
            add_words::<M>(&mut products, (pair, weighted), (own, at), first);
            for (row, product) in products.iter().enumerate() {
                let place = (first + row) * stride + at;
                let cells = M::load_at(weighted.cells, place);
                sums.add::<M>(M::load_at(weighted.weights, place), cells, *product);
            }
        }
        total = M::add(total, sums.answers::<M>());
    }
    M::sum(total)
}

/// Adds rows of weights, their columns from `at` on, each times its products with the words of
/// `TOGETHER` rows from `first` on.
#[inline(always)]
fn add_words<M: Machine>(
    products: &mut [M::Vector; TOGETHER],
    (pair, weighted): (&Pair<'_>, &Weighted<'_>),
    (others, at): (std::ops::Range<usize>, usize),
    first: usize,
) {
    let last = weighted.words.len() - 1;
    // Rows beyond the last have no weight: any word will do.
    let gram = |row: usize| {
        let word = weighted.words[last.min(first + row)] as usize;
        &pair.word_gram[word * pair.word_stride..][..pair.word_stride]
    };
    let gram = [gram(0), gram(1), gram(2), gram(3)];
    for other in others {
        let weights = M::load_at(weighted.weights, other * weighted.stride + at);
        let word = weighted.words[other] as usize;
        for row in 0..TOGETHER {
            let gram = M::splat(gram[row][word]);
            products[row] = M::multiply_add(gram, weights, products[row]);
        }
    }
}

impl<V: Copy> Sums<V> {
    #[inline(always)]
    fn empty<M: Machine<Vector = V>>() -> Self {
        let zero = M::splat(0.0);
        Self {
            dot: zero,
            squared: zero,
            best: zero,
        }
    }

    #[inline(always)]
    fn add<M: Machine<Vector = V>>(&mut self, weights: V, cells: V, products: V) {
        self.dot = M::multiply_add(weights, cells, self.dot);
        self.squared = M::multiply_add(weights, products, self.squared);
        self.best = M::larger(weights, self.best);
    }

    /// R of one query whose cells are spread over the lanes.
    #[inline(always)]
    fn answer_of_all<M: Machine<Vector = V>>(&self) -> f32 {
        let least = least_squared(M::highest(self.best));
        let squared = M::sum(self.squared);
        M::sum(self.dot) / if squared > least { squared } else { least }.sqrt()
    }

    /// R of a query in each lane.
    #[inline(always)]
    fn answers<M: Machine<Vector = V>>(&self) -> V {
        let least = M::multiply(M::splat(SMALLEST_SQUARED_LENGTH as f32), self.best);
        let least = M::multiply(least, self.best);
        let least = M::larger(least, M::splat(f32::MIN_POSITIVE));
        M::divide(self.dot, M::root(M::larger(self.squared, least)))
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
