//! The masked rule for pairs with few cells above the threshold: sums of R over a list of these
//! cells.
//!
//! The list holds cells of many images with one caption, pair by pair, by word, then region. Every
//! step is one loop over the whole list: so a branch is mispredicted once for a caption and not
//! once for a pair, and exponentials, roots and divisions run 16 at a time. Each cell carries N, Q
//! (of `R = N / sqrt(Q)`) and the highest weight, of its word and of its region, over the cells up
//! to this one: the last cell of a query has those of the whole query.
//!
//! The product of a fragment with itself is taken as 1, which it is for a unit vector. A zero
//! vector has no cell above a threshold of at least 0; this list is not used with lower thresholds.

use uard_linalg::vector::sixteen::{LANES, Sixteen};

use super::above::Row;
use super::{AnswerSums, CaptionPairs};
use crate::packed::gram_stride;
use crate::side::SMALLEST_SQUARED_LENGTH;

/// The most cells above the threshold of a pair that is listed; with more, matrix products are
/// faster.
pub(super) const MOST: usize = 40;

/// The most cells of a list.
pub(super) const ROOM: usize = 256;

/// A list of cells with their weights and sums; only the first `count` entries of each array are
/// valid.
#[derive(Debug)]
pub(super) struct ListedCells {
    count: usize,
    relevance: [f32; ROOM],
    weight: [f32; ROOM],
    word: [u32; ROOM],
    /// The column in the tile.
    column: [u32; ROOM],
    /// The image: its index among those of the [`CaptionPairs`].
    at: [u32; ROOM],
    by_word: Sums,
    by_region: Sums,
    /// For each column of the tile the index of its last cell so far. An index that is not below
    /// the current one, or whose cell has another column, is left over from an earlier list.
    last: Vec<u32>,
    /// The cell of the same column before this one; the cell itself if there is none.
    before: [u32; ROOM],
}

/// Rows of the bitmap whose cells make one list.
pub(super) struct ListedRows<'a> {
    pub pairs: &'a CaptionPairs<'a>,
    pub rows: &'a [Row],
    /// Cells in the rows, at most [`ROOM`].
    pub count: usize,
}

/// The constants of the weight of a cell with relevance s, `exp(inverse_temperature (s - shift))`,
/// which is the same for both sides.
#[derive(Debug, Clone, Copy)]
pub(super) struct SharedWeight {
    pub inverse_temperature: f32,
    pub shift: f32,
}

/// For one side: at each cell the sums over its query's cells up to this one.
#[derive(Debug)]
struct Sums {
    /// N; at the end R.
    dot: [f32; ROOM],
    /// Q.
    squared: [f32; ROOM],
    /// The highest weight.
    best: [f32; ROOM],
    /// 1 for the last cell of its query, else 0.
    is_last: [f32; ROOM],
}

impl Default for ListedCells {
    fn default() -> Self {
        let sums = || Sums {
            dot: [0.0; ROOM],
            squared: [1.0; ROOM],
            best: [1.0; ROOM],
            is_last: [0.0; ROOM],
        };
        Self {
            count: 0,
            relevance: [0.0; ROOM],
            weight: [0.0; ROOM],
            word: [0; ROOM],
            column: [0; ROOM],
            at: [0; ROOM],
            by_word: sums(),
            by_region: sums(),
            last: Vec::new(),
            before: [0; ROOM],
        }
    }
}

impl ListedCells {
    /// Adds R of every query with a listed cell to the sums of its image.
    #[inline(always)]
    pub(super) fn add_answers<S: Sixteen>(
        &mut self,
        simd: S,
        weight: SharedWeight,
        listed: &ListedRows<'_>,
        totals: &mut [AnswerSums],
    ) {
        let pairs = listed.pairs;
        self.list(listed);
        self.weigh(simd, weight);
        self.join_words(simd, pairs);
        self.join_regions(simd, pairs);
        self.by_word.divide(simd, self.count);
        self.by_region.divide(simd, self.count);
        for cell in 0..self.count {
            let total = &mut totals[self.at[cell] as usize];
            total.words += self.by_word.dot[cell];
            total.regions += self.by_region.dot[cell];
        }
    }

    #[inline(always)]
    fn list(&mut self, &ListedRows { pairs, rows, count }: &ListedRows<'_>) {
        self.count = 0;
        let Some(last) = rows.len().checked_sub(1) else {
            return;
        };
        let (mut at_row, mut bits) = (0, rows[0].bits);
        for cell in 0..count {
            let row = rows[at_row];
            let (word, column) = (
                row.word as usize,
                (row.column + bits.trailing_zeros()) as usize,
            );
            self.relevance[cell] = pairs.tile.cells[word * pairs.tile.stride + column];
            self.word[cell] = row.word;
            self.column[cell] = column as u32;
            self.at[cell] = row.at;
            // The next bit of the row, or the first of the next row, without a branch.
            bits &= bits - 1;
            at_row = last.min(at_row + usize::from(bits == 0));
            bits = if bits == 0 { rows[at_row].bits } else { bits };
        }
        self.count = count;
    }

    /// Writes the weights, and the sums as if every cell were the only one of its queries.
    #[inline(always)]
    fn weigh<S: Sixteen>(&mut self, simd: S, weight: SharedWeight) {
        let inverse_temperature = simd.splat_f32s(weight.inverse_temperature);
        let shift = simd.splat_f32s(weight.shift);
        for at in (0..self.count).step_by(LANES) {
            let relevance = simd.load_at(&self.relevance, at);
            let shifted = simd.sub_f32s(relevance, shift);
            let weights = simd.exponential(simd.mul_f32s(inverse_temperature, shifted));
            simd.store_at(weights, &mut self.weight, at);
            for sums in [&mut self.by_word, &mut self.by_region] {
                simd.store_at(simd.mul_f32s(weights, relevance), &mut sums.dot, at);
                simd.store_at(simd.mul_f32s(weights, weights), &mut sums.squared, at);
                simd.store_at(weights, &mut sums.best, at);
                simd.store_at(simd.splat_f32s(1.0), &mut sums.is_last, at);
            }
        }
    }

    /// Sums over the cells of each word, which are neighbours in the list.
    #[inline(always)]
    fn join_words<S: Sixteen>(&mut self, simd: S, pairs: &CaptionPairs<'_>) {
        let mut first = 0;
        for cell in 1..self.count {
            let same_word = self.word[cell - 1] == self.word[cell];
            if !(same_word && self.at[cell - 1] == self.at[cell]) {
                first = cell;
                continue;
            }
            let image = &pairs.images[self.at[cell] as usize];
            let region = self.column[cell] as usize - image.start;
            let gram = &image.gram[region * gram_stride(image.count)..];
            let mut product = 0.0;
            for other in first..cell {
                let gram = gram[self.column[other] as usize - image.start];
                product = simd.times_plus_one(self.weight[other], gram, product);
            }
            let product = 2.0 * self.weight[cell] * product;
            self.by_word.join(cell - 1, cell, product);
        }
    }

    /// Sums over the cells of each region, which are chained by `before`.
    #[inline(always)]
    fn join_regions<S: Sixteen>(&mut self, simd: S, pairs: &CaptionPairs<'_>) {
        if self.last.len() < pairs.tile.stride {
            self.last.resize(pairs.tile.stride, 0);
        }
        let word_stride = gram_stride(pairs.tile.words);
        for cell in 0..self.count {
            let column = self.column[cell];
            let last = self.last[column as usize] as usize;
            self.last[column as usize] = cell as u32;
            self.before[cell] = cell as u32;
            // An entry of an earlier list is no cell of this column.
            if last >= cell || self.column[last] != column {
                continue;
            }
            self.before[cell] = last as u32;
            let gram = &pairs.word_gram[self.word[cell] as usize * word_stride..];
            let mut product = 0.0;
            let (mut other, mut before) = (cell, last);
            while before != other {
                other = before;
                let gram = gram[self.word[other] as usize];
                product = simd.times_plus_one(self.weight[other], gram, product);
                before = self.before[other] as usize;
            }
            let product = 2.0 * self.weight[cell] * product;
            self.by_region.join(last, cell, product);
        }
    }
}

impl Sums {
    /// Adds the sums up to cell `before` to those of `cell`, the next of its query; `product` is
    /// what the products of `cell` with all earlier cells of the query add to Q.
    #[inline(always)]
    fn join(&mut self, before: usize, cell: usize, product: f32) {
        self.is_last[before] = 0.0;
        self.dot[cell] += self.dot[before];
        self.squared[cell] += self.squared[before] + product;
        if self.best[before] > self.best[cell] {
            self.best[cell] = self.best[before];
        }
    }

    /// Writes R of every query to `dot` at its last cell, and zero at its other cells.
    #[inline(always)]
    fn divide<S: Sixteen>(&mut self, simd: S, count: usize) {
        for at in (0..count).step_by(LANES) {
            let best = simd.load_at(&self.best, at);
            let least = simd.mul_f32s(simd.splat_f32s(SMALLEST_SQUARED_LENGTH as f32), best);
            let squared =
                simd.max_f32s(simd.load_at(&self.squared, at), simd.mul_f32s(least, best));
            let answers = simd.div_f32s(simd.load_at(&self.dot, at), simd.sqrt_f32s(squared));
            let answers = simd.mul_f32s(simd.load_at(&self.is_last, at), answers);
            simd.store_at(answers, &mut self.dot, at);
        }
    }
}
