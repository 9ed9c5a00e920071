//! The masked rule where few cells survive: only they are touched.
//!
//! The surviving cells of a caption with many images are listed, pair by pair, by word, then region,
//! and every step is one loop over the list: a branch is guessed wrong once a caption, not once a
//! pair, and exponentials, roots and divisions run 16 at a time. Each cell carries N, Q and the
//! highest weight of its two queries up to itself: the last cell of a query has the whole.
//!
//! A fragment's product with itself is taken as 1: it is a unit vector, or zero and then not above
//! any threshold of at least 0. Lower thresholds are not for this list.

use uard_linalg::vector::sixteen::{LANES, Sixteen};

use super::CaptionPairs;
use super::above::Row;
use crate::packed::gram_stride;
use crate::side::SMALLEST_SQUARED_LENGTH;

/// Cells of a pair above which matrix products are cheaper.
pub(super) const MOST: usize = 40;

/// Cells that are listed together.
pub(super) const ROOM: usize = 256;

/// Listed cells.
#[derive(Debug)]
pub(super) struct Cells {
    count: usize,
    relevance: [f32; ROOM],
    weight: [f32; ROOM],
    word: [u32; ROOM],
    /// The tile's column.
    column: [u32; ROOM],
    /// The image, counted in the caption's pairs.
    at: [u32; ROOM],
    by_word: Sums,
    by_region: Sums,
    /// The last cell of each column, if that cell says so.
    last: Vec<u32>,
    /// The cell before, of the same column; itself if there is none.
    before: [u32; ROOM],
}

/// What is listed together.
pub(super) struct Listed<'a> {
    pub pairs: &'a CaptionPairs<'a>,
    pub rows: &'a [Row],
    /// Cells in the rows, [`ROOM`] at most.
    pub count: usize,
}

/// One side's sums over the cells of a query, up to each cell.
#[derive(Debug)]
struct Sums {
    /// N, and R in the end.
    dot: [f32; ROOM],
    /// Q.
    squared: [f32; ROOM],
    /// The highest weight.
    best: [f32; ROOM],
    /// 1 for the last cell of its query, else 0.
    is_last: [f32; ROOM],
}

impl Default for Cells {
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

impl Cells {
    /// Adds R of every query with a listed cell to the sums of its image: words asking first, then
    /// regions.
    #[inline(always)]
    pub(super) fn answer<S: Sixteen>(
        &mut self,
        simd: S,
        (inverse_temperature, shift): (f32, f32),
        listed: &Listed<'_>,
        totals: &mut [(f32, f32)],
    ) {
        let pairs = listed.pairs;
        self.list(listed);
        self.weigh(simd, inverse_temperature, shift);
        self.join_words(simd, pairs);
        self.join_regions(simd, pairs);
        self.by_word.divide(simd, self.count);
        self.by_region.divide(simd, self.count);
        for cell in 0..self.count {
            let total = &mut totals[self.at[cell] as usize];
            total.0 += self.by_word.dot[cell];
            total.1 += self.by_region.dot[cell];
        }
    }

    #[inline(always)]
    fn list(&mut self, &Listed { pairs, rows, count }: &Listed<'_>) {
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
            // The next bit of the row, or the first of the next row: no branch to guess.
            bits &= bits - 1;
            at_row = last.min(at_row + usize::from(bits == 0));
            bits = if bits == 0 { rows[at_row].bits } else { bits };
        }
        self.count = count;
    }

    /// Weights, and the sums of queries with one cell.
    #[inline(always)]
    fn weigh<S: Sixteen>(&mut self, simd: S, inverse_temperature: f32, shift: f32) {
        let (steepness, shift) = (simd.splat(inverse_temperature), simd.splat(shift));
        for at in (0..self.count).step_by(LANES) {
            let relevance = simd.load_at(&self.relevance, at);
            let shifted = simd.minus(relevance, shift);
            let weights = simd.exponential(simd.times(steepness, shifted));
            simd.store_at(weights, &mut self.weight, at);
            for sums in [&mut self.by_word, &mut self.by_region] {
                simd.store_at(simd.times(weights, relevance), &mut sums.dot, at);
                simd.store_at(simd.times(weights, weights), &mut sums.squared, at);
                simd.store_at(weights, &mut sums.best, at);
                simd.store_at(simd.splat(1.0), &mut sums.is_last, at);
            }
        }
    }

    /// Sums over the regions of each word: its cells are neighbours in the list.
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

    /// Sums over the words of each region: its cells are chained through the list.
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
            // What an earlier list left behind is no cell of this column.
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
    /// Adds the sums up to `before` to those of the next cell of its query, whose products with all
    /// before it are given.
    #[inline(always)]
    fn join(&mut self, before: usize, cell: usize, product: f32) {
        self.is_last[before] = 0.0;
        self.dot[cell] += self.dot[before];
        self.squared[cell] += self.squared[before] + product;
        if self.best[before] > self.best[cell] {
            self.best[cell] = self.best[before];
        }
    }

    /// R of every query at its last cell, and zero at the others.
    #[inline(always)]
    fn divide<S: Sixteen>(&mut self, simd: S, count: usize) {
        for at in (0..count).step_by(LANES) {
            let best = simd.load_at(&self.best, at);
            let least = simd.times(simd.splat(SMALLEST_SQUARED_LENGTH as f32), best);
            let squared = simd.larger(simd.load_at(&self.squared, at), simd.times(least, best));
            let answers = simd.over(simd.load_at(&self.dot, at), simd.root(squared));
            let answers = simd.times(simd.load_at(&self.is_last, at), answers);
            simd.store_at(answers, &mut self.dot, at);
        }
    }
}
