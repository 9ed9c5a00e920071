//! R of every query, from a weight for each cell of a pair.
//!
//! With the weights e and the cells s of a query, `R = N / sqrt(Q)`, `N = e^T s`, `Q = e^T G e`,
//! where G is the Gram matrix of the other side's fragments.
//! G is symmetric, so a product of two different cells is formed once and counted twice.

use std::ops::Range;

use uard_linalg::vector::sixteen::{LANES, Sixteen, f32x16};

use super::Pair;
use crate::side::SMALLEST_SQUARED_LENGTH;

/// Rows of weights that are multiplied with a Gram matrix together: each vector of the matrix is
/// loaded once for all of them.
pub(super) const TOGETHER: usize = 4;

/// The weighted cells of a pair: rows are words, columns regions.
///
/// After the last row, up to a multiple of [`TOGETHER`] rows, and after the last region of a row,
/// cells and weights are zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighted<'a> {
    pub pair: &'a Pair<'a>,
    /// The word of each row; the pair's other words have no weight.
    pub words: &'a [u32],
    /// Row length, whole vectors.
    pub stride: usize,
    pub cells: &'a [f32],
    pub weights: &'a [f32],
}

/// A block of [`TOGETHER`] rows and [`LANES`] columns of a pair's cells.
#[derive(Debug, Clone, Copy)]
struct CellBlock {
    first_row: usize,
    first_column: usize,
}

/// N, Q and the highest weight over the cells of each lane.
#[derive(Debug, Clone, Copy)]
struct Sums {
    dot: f32x16,
    squared: f32x16,
    best: f32x16,
}

/// The sum of R over the words.
#[inline(always)]
pub(super) fn word_answers<S: Sixteen>(simd: S, weighted: &Weighted<'_>) -> f32 {
    let (stride, regions) = (weighted.stride, weighted.pair.image.count);
    let mut total = 0.0;
    for first_row in (0..weighted.words.len()).step_by(TOGETHER) {
        let mut sums = [Sums::empty(simd); TOGETHER];
        for first_column in (0..stride).step_by(LANES) {
            let block = CellBlock {
                first_row,
                first_column,
            };
            let end = regions.min(first_column + LANES);
            let mut products = [simd.splat_f32s(0.0); TOGETHER];
            add_regions(simd, &mut products, weighted, block, 0..first_column);
            for product in &mut products {
                *product = simd.add_f32s(*product, *product);
            }
            add_regions(simd, &mut products, weighted, block, first_column..end);
            for row in 0..TOGETHER {
                let at = (first_row + row) * stride + first_column;
                let cells = simd.load_at(weighted.cells, at);
                let weights = simd.load_at(weighted.weights, at);
                sums[row].add(simd, weights, cells, products[row]);
            }
        }
        for sums in &sums {
            total += sums.answer_of_all(simd);
        }
    }
    total
}

/// Adds the part of some regions to the products `G e` of a block. A region adds to a row its
/// weight there times its row of the Gram matrix, at the block's columns.
#[inline(always)]
fn add_regions<S: Sixteen>(
    simd: S,
    products: &mut [f32x16; TOGETHER],
    weighted: &Weighted<'_>,
    block: CellBlock,
    regions: Range<usize>,
) {
    let stride = weighted.stride;
    let row = |row: usize| {
        &weighted.weights[(block.first_row + row) * stride + regions.start..][..regions.len()]
    };
    let weights = [row(0), row(1), row(2), row(3)];
    let gram = &weighted.pair.image.gram[regions.start * stride..regions.end * stride];
    for (region, gram) in gram.chunks_exact(stride).enumerate() {
        let gram = simd.load_at(gram, block.first_column);
        for row in 0..TOGETHER {
            let weight = simd.splat_f32s(weights[row][region]);
            products[row] = simd.times_plus(weight, gram, products[row]);
        }
    }
}

/// The sum of R over the regions.
#[inline(always)]
pub(super) fn region_answers<S: Sixteen>(simd: S, weighted: &Weighted<'_>) -> f32 {
    let stride = weighted.stride;
    let words = weighted.words.len();
    let mut total = simd.splat_f32s(0.0);
    for first_column in (0..stride).step_by(LANES) {
        let mut sums = Sums::empty(simd);
        for first_row in (0..words).step_by(TOGETHER) {
            let block = CellBlock {
                first_row,
                first_column,
            };
            let end = words.min(first_row + TOGETHER);
            let mut products = [simd.splat_f32s(0.0); TOGETHER];
            add_words(simd, &mut products, weighted, block, 0..first_row);
            for product in &mut products {
                *product = simd.add_f32s(*product, *product);
            }
            add_words(simd, &mut products, weighted, block, first_row..end);
            for (row, product) in products.iter().enumerate() {
                let at = (first_row + row) * stride + first_column;
                let cells = simd.load_at(weighted.cells, at);
                sums.add(simd, simd.load_at(weighted.weights, at), cells, *product);
            }
        }
        total = simd.add_f32s(total, sums.answers(simd));
    }
    simd.reduce_sum_f32s(total)
}

/// Adds the part of the words of some rows to the products `H e` of a block, H the words' Gram
/// matrix. A word adds to each row of the block its weights times its product with that row's word.
#[inline(always)]
fn add_words<S: Sixteen>(
    simd: S,
    products: &mut [f32x16; TOGETHER],
    weighted: &Weighted<'_>,
    block: CellBlock,
    rows: Range<usize>,
) {
    let gram = [
        word_products(weighted, block.first_row),
        word_products(weighted, block.first_row + 1),
        word_products(weighted, block.first_row + 2),
        word_products(weighted, block.first_row + 3),
    ];
    for other in rows {
        let at = other * weighted.stride + block.first_column;
        let weights = simd.load_at(weighted.weights, at);
        let word = weighted.words[other] as usize;
        for row in 0..TOGETHER {
            let gram = simd.splat_f32s(gram[row][word]);
            products[row] = simd.times_plus(gram, weights, products[row]);
        }
    }
}

/// The Gram matrix's row of a row's word. A row after the last has no weight, and gets that of the
/// last word.
#[inline(always)]
fn word_products<'a>(weighted: &Weighted<'a>, row: usize) -> &'a [f32] {
    let word = weighted.words[row.min(weighted.words.len() - 1)] as usize;
    let pair = weighted.pair;
    &pair.word_gram[word * pair.word_stride..][..pair.word_stride]
}

impl Sums {
    #[inline(always)]
    fn empty<S: Sixteen>(simd: S) -> Self {
        let zero = simd.splat_f32s(0.0);
        Self {
            dot: zero,
            squared: zero,
            best: zero,
        }
    }

    #[inline(always)]
    fn add<S: Sixteen>(&mut self, simd: S, weights: f32x16, cells: f32x16, products: f32x16) {
        self.dot = simd.times_plus(weights, cells, self.dot);
        self.squared = simd.times_plus(weights, products, self.squared);
        self.best = simd.max_f32s(weights, self.best);
    }

    /// R of one query whose cells are spread over the lanes.
    #[inline(always)]
    fn answer_of_all<S: Sixteen>(&self, simd: S) -> f32 {
        let least = least_squared(simd.reduce_max_f32s(self.best));
        let squared = simd.reduce_sum_f32s(self.squared);
        simd.reduce_sum_f32s(self.dot) / if squared > least { squared } else { least }.sqrt()
    }

    /// R of a query in each lane.
    #[inline(always)]
    fn answers<S: Sixteen>(&self, simd: S) -> f32x16 {
        let least = simd.mul_f32s(simd.splat_f32s(SMALLEST_SQUARED_LENGTH as f32), self.best);
        let least = simd.mul_f32s(least, self.best);
        let least = simd.max_f32s(least, simd.splat_f32s(f32::MIN_POSITIVE));
        simd.div_f32s(self.dot, simd.sqrt_f32s(simd.max_f32s(self.squared, least)))
    }
}

/// The minimum of Q for a query with this highest weight; above zero, so that R of a query without
/// weights is zero.
#[inline(always)]
fn least_squared(best: f32) -> f32 {
    let least = SMALLEST_SQUARED_LENGTH as f32 * best * best;
    if least > f32::MIN_POSITIVE {
        least
    } else {
        f32::MIN_POSITIVE
    }
}
