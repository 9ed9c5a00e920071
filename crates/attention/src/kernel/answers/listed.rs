//! The masked rule where few cells survive: only they are touched.
//!
//! Cells are listed by word, then region. Each carries N, Q and the highest weight of its two
//! queries up to itself, so that the last cell of a query has the whole, and all answers of a pair
//! are divided and summed 16 at a time.

use super::Pair;
use super::above::Row;
use super::exponential::exponential;
use super::lanes::{LANES, Lanes, Machine, lanes, larger, sum};
use super::rule::Rule;
use crate::side::SMALLEST_SQUARED_LENGTH;

/// Cells above which matrix products are cheaper.
pub(super) const MOST: usize = 64;

/// No cell.
const NONE: u8 = u8::MAX;

/// The listed cells of a pair.
#[derive(Debug)]
pub(super) struct Cells {
    relevance: [f32; MOST],
    weight: [f32; MOST],
    word: [u32; MOST],
    region: [u32; MOST],
    by_word: Sums,
    by_region: Sums,
    /// The last cell of each region so far.
    last: Vec<u8>,
    /// The cell before, of the same region.
    before: [u8; MOST],
}

/// One side's sums over the cells of a query, up to each cell.
#[derive(Debug)]
struct Sums {
    /// N.
    dot: [f32; MOST],
    /// Q.
    squared: [f32; MOST],
    /// The highest weight.
    best: [f32; MOST],
    /// 1 for the last cell of its query, else 0.
    is_last: [f32; MOST],
}

impl Default for Cells {
    fn default() -> Self {
        let sums = || Sums {
            dot: [0.0; MOST],
            squared: [0.0; MOST],
            best: [1.0; MOST],
            is_last: [0.0; MOST],
        };
        Self {
            relevance: [0.0; MOST],
            weight: [0.0; MOST],
            word: [0; MOST],
            region: [0; MOST],
            by_word: sums(),
            by_region: sums(),
            last: Vec::new(),
            before: [NONE; MOST],
        }
    }
}

/// The similarity of a pair with `MOST` cells at most above the threshold, and one at least.
#[inline(always)]
pub(super) fn answer<M: Machine>(
    (rule, shift): (&Rule, f32),
    pair: &Pair<'_>,
    rows: &[Row],
    cells: &mut Cells,
) -> f32 {
    let count = cells.list(pair, rows);
    cells.weigh::<M>(count, rule.words.inverse_temperature, shift);
    cells.add_words::<M>(count, pair);
    cells.add_regions::<M>(count, pair);
    let words = (cells.by_word.answers(count), pair.tile.words);
    let regions = (cells.by_region.answers(count), pair.image.count);
    rule.similarity(words, regions)
}

impl Cells {
    #[inline(always)]
    fn list(&mut self, pair: &Pair<'_>, rows: &[Row]) -> usize {
        let mut count = 0;
        for row in rows {
            let start = row.word as usize * pair.tile.stride + pair.image.start;
            let mut bits = row.bits;
            while bits != 0 {
                let region = row.region + bits.trailing_zeros();
                self.relevance[count] = pair.tile.cells[start + region as usize];
                self.word[count] = row.word;
                self.region[count] = region;
                count += 1;
                bits &= bits - 1;
            }
        }
        count
    }

    #[inline(always)]
    fn weigh<M: Machine>(&mut self, count: usize, inverse_temperature: f32, shift: f32) {
        let weights = self.weight.chunks_exact_mut(LANES);
        let cells = weights.zip(self.relevance.chunks_exact(LANES));
        for (weights, relevance) in cells.take(count.div_ceil(LANES)) {
            for l in 0..LANES {
                weights[l] = exponential::<M>(inverse_temperature * (relevance[l] - shift));
            }
        }
    }

    /// Sums over the regions of each word: its cells are neighbours in the list.
    #[inline(always)]
    fn add_words<M: Machine>(&mut self, count: usize, pair: &Pair<'_>) {
        let sums = &mut self.by_word;
        let mut first = 0;
        for cell in 0..count {
            let (weight, region) = (self.weight[cell], self.region[cell] as usize);
            let gram = &pair.image.gram[region * pair.region_stride..];
            let mut product = weight * gram[region];
            let mut total = (0.0, 0.0, weight);
            if cell > 0 && self.word[cell - 1] == self.word[cell] {
                for other in first..cell {
                    let gram = gram[self.region[other] as usize];
                    product = M::multiply_add(2.0 * self.weight[other], gram, product);
                }
                total = sums.take(cell - 1);
            } else {
                first = cell;
            }
            sums.put::<M>(cell, (weight, self.relevance[cell], product), total);
        }
    }

    /// Sums over the words of each region: its cells are chained through the list.
    #[inline(always)]
    fn add_regions<M: Machine>(&mut self, count: usize, pair: &Pair<'_>) {
        let sums = &mut self.by_region;
        self.last.clear();
        self.last.resize(pair.image.count, NONE);
        for cell in 0..count {
            let (weight, word) = (self.weight[cell], self.word[cell] as usize);
            let gram = &pair.word_gram[word * pair.word_stride..];
            let mut product = weight * gram[word];
            let mut total = (0.0, 0.0, weight);
            let last = &mut self.last[self.region[cell] as usize];
            self.before[cell] = *last;
            if *last != NONE {
                let mut other = *last;
                while other != NONE {
                    let at = other as usize;
                    let gram = gram[self.word[at] as usize];
                    product = M::multiply_add(2.0 * self.weight[at], gram, product);
                    other = self.before[at];
                }
                total = sums.take(*last as usize);
            }
            *last = cell as u8;
            sums.put::<M>(cell, (weight, self.relevance[cell], product), total);
        }
    }
}

impl Sums {
    /// The sums at a cell that is not the last of its query after all.
    #[inline(always)]
    fn take(&mut self, cell: usize) -> (f32, f32, f32) {
        self.is_last[cell] = 0.0;
        (self.dot[cell], self.squared[cell], self.best[cell])
    }

    #[inline(always)]
    fn put<M: Machine>(
        &mut self,
        cell: usize,
        (weight, relevance, product): (f32, f32, f32),
        (dot, squared, best): (f32, f32, f32),
    ) {
        self.dot[cell] = M::multiply_add(weight, relevance, dot);
        self.squared[cell] = M::multiply_add(weight, product, squared);
        self.best[cell] = larger(best, weight);
        self.is_last[cell] = 1.0;
    }

    /// The sum of R over the queries.
    #[inline(always)]
    fn answers(&mut self, count: usize) -> f32 {
        let whole = count.next_multiple_of(LANES);
        self.is_last[count..whole].fill(0.0);
        let mut total = [0.0; LANES];
        for at in (0..whole).step_by(LANES) {
            let (dot, squared) = (lanes(&self.dot, at), lanes(&self.squared, at));
            let (best, is_last) = (lanes(&self.best, at), lanes(&self.is_last, at));
            add_answers(&mut total, (dot, squared, best), is_last);
        }
        sum(&total)
    }
}

/// Adds `R = N / sqrt(Q)` where `counts` is 1.
#[inline(always)]
fn add_answers(total: &mut Lanes, (dot, squared, best): (&Lanes, &Lanes, &Lanes), counts: &Lanes) {
    for l in 0..LANES {
        let least = SMALLEST_SQUARED_LENGTH as f32 * best[l] * best[l];
        total[l] += counts[l] * (dot[l] / larger(squared[l], least).sqrt());
    }
}
