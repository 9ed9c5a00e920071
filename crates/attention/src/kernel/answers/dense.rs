//! Rules with weights on many cells: every cell of the pair is weighed, regions as lanes.

use uard_linalg::vector::sixteen::{LANES, Sixteen};

use super::Pair;
use super::above::Row;
use super::gram::{TOGETHER, Weighted, region_answers, word_answers};
use super::rule::{Rule, Shift};
use crate::side::{SCAN_EPSILON, SCAN_SLOPE};

/// One pair's cells, cut out, every row filled up to whole vectors.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// The words whose rows these are.
    words: Vec<u32>,
    /// Row length.
    stride: usize,
    /// Relevance; zero where no region is.
    cells: Vec<f32>,
    /// What the exponential is taken of; [`HIDDEN`] where there is no weight.
    logits: Vec<f32>,
    /// Weights for the side at hand.
    weights: Vec<f32>,
}

/// No cell and no threshold is as low.
const HIDDEN: f32 = f32::MIN;

/// Sums of R over words and over regions by the masked rule, for a pair with a cell above the
/// threshold.
#[inline(always)]
pub(super) fn masked<S: Sixteen>(
    simd: S,
    (rule, threshold, shift): (&Rule, f32, Shift),
    pair: &Pair<'_>,
    rows: &[Row],
    buffers: &mut Buffers,
) -> (f32, f32) {
    buffers.words.clear();
    buffers.words.extend(rows.iter().map(|row| row.word));
    buffers.words.dedup();
    buffers.copy_cells(simd, pair);
    buffers.hide_below(simd, threshold, pair.image.count);
    let (mut words, mut regions) = (0.0, 0.0);
    if rule.words.asks {
        buffers.weigh_rows(simd, rule.words.inverse_temperature, shift);
        words = word_answers(simd, pair, &buffers.weighted());
    }
    if rule.regions.asks {
        let shared = rule.words.asks && matches!(shift, Shift::Constant(_));
        if !shared {
            buffers.weigh_columns(simd, rule.regions.inverse_temperature, shift);
        }
        regions = region_answers(simd, pair, &buffers.weighted());
    }
    (words, regions)
}

/// Sums of R over words and over regions by the scan rule.
#[inline(always)]
pub(super) fn scan<S: Sixteen>(
    simd: S,
    (rule, shift): (&Rule, Shift),
    pair: &Pair<'_>,
    buffers: &mut Buffers,
) -> (f32, f32) {
    buffers.words.clear();
    buffers.words.extend(0..pair.tile.words as u32);
    buffers.copy_cells(simd, pair);
    let (mut words, mut regions) = (0.0, 0.0);
    if rule.words.asks {
        buffers.normalize_columns(simd, pair.image.count);
        buffers.weigh_rows(simd, rule.words.inverse_temperature, shift);
        words = word_answers(simd, pair, &buffers.weighted());
    }
    if rule.regions.asks {
        buffers.normalize_rows(simd, pair.image.count);
        buffers.weigh_columns(simd, rule.regions.inverse_temperature, shift);
        regions = region_answers(simd, pair, &buffers.weighted());
    }
    (words, regions)
}

impl Buffers {
    fn weighted(&self) -> Weighted<'_> {
        Weighted {
            words: &self.words,
            stride: self.stride,
            cells: &self.cells,
            weights: &self.weights,
        }
    }

    /// Numbers in the rows of all words.
    fn end(&self) -> usize {
        self.words.len() * self.stride
    }

    #[inline(always)]
    fn copy_cells<S: Sixteen>(&mut self, simd: S, pair: &Pair<'_>) {
        self.stride = pair.region_stride;
        let (end, whole) = (
            self.end(),
            self.words.len().next_multiple_of(TOGETHER) * self.stride,
        );
        for buffer in [&mut self.cells, &mut self.logits, &mut self.weights] {
            if buffer.len() < whole {
                buffer.resize(whole, 0.0);
            }
            buffer[end..whole].fill(0.0);
        }
        for (row, &word) in self.cells.chunks_exact_mut(self.stride).zip(&self.words) {
            let start = word as usize * pair.tile.stride + pair.image.start;
            for at in (0..self.stride).step_by(LANES) {
                let cells = simd.load_at(pair.tile.cells, start + at);
                simd.store_at(
                    simd.first(pair.image.count.saturating_sub(at), cells, 0.0),
                    row,
                    at,
                );
            }
        }
    }

    /// Logits are the cells above the threshold.
    #[inline(always)]
    fn hide_below<S: Sixteen>(&mut self, simd: S, threshold: f32, regions: usize) {
        let (threshold, hidden) = (simd.splat(threshold), simd.splat(HIDDEN));
        for row in (0..self.end()).step_by(self.stride) {
            for at in (0..self.stride).step_by(LANES) {
                let cells = simd.load_at(&self.cells, row + at);
                let logits = simd.choose((cells, threshold), cells, hidden);
                let logits = simd.first(regions.saturating_sub(at), logits, HIDDEN);
                simd.store_at(logits, &mut self.logits, row + at);
            }
        }
    }

    /// Logits are the leaky cells of a region over their norm along the words.
    #[inline(always)]
    fn normalize_columns<S: Sixteen>(&mut self, simd: S, regions: usize) {
        for at in (0..self.stride).step_by(LANES) {
            let mut squares = simd.splat(0.0);
            for row in (0..self.end()).step_by(self.stride) {
                let cells = leaky(simd, simd.load_at(&self.cells, row + at));
                squares = simd.times_plus(cells, cells, squares);
            }
            let norm = simd.plus(simd.root(squares), simd.splat(SCAN_EPSILON as f32));
            for row in (0..self.end()).step_by(self.stride) {
                let cells = leaky(simd, simd.load_at(&self.cells, row + at));
                let logits = simd.over(cells, norm);
                let logits = simd.first(regions.saturating_sub(at), logits, HIDDEN);
                simd.store_at(logits, &mut self.logits, row + at);
            }
        }
    }

    /// Logits are the leaky cells of a word over their norm along the regions.
    #[inline(always)]
    fn normalize_rows<S: Sixteen>(&mut self, simd: S, regions: usize) {
        for row in (0..self.end()).step_by(self.stride) {
            let mut squares = simd.splat(0.0);
            for at in (0..self.stride).step_by(LANES) {
                let cells = leaky(simd, simd.load_at(&self.cells, row + at));
                squares = simd.times_plus(cells, cells, squares);
            }
            let norm = simd.splat(simd.total(squares).sqrt() + SCAN_EPSILON as f32);
            for at in (0..self.stride).step_by(LANES) {
                let cells = leaky(simd, simd.load_at(&self.cells, row + at));
                let logits = simd.over(cells, norm);
                let logits = simd.first(regions.saturating_sub(at), logits, HIDDEN);
                simd.store_at(logits, &mut self.logits, row + at);
            }
        }
    }

    /// Weights for words asking.
    #[inline(always)]
    fn weigh_rows<S: Sixteen>(&mut self, simd: S, inverse_temperature: f32, shift: Shift) {
        for row in (0..self.end()).step_by(self.stride) {
            let shift = match shift {
                Shift::Constant(shift) => shift,
                Shift::Best => {
                    let mut best = simd.splat(HIDDEN);
                    for at in (0..self.stride).step_by(LANES) {
                        best = simd.larger(simd.load_at(&self.logits, row + at), best);
                    }
                    simd.highest(best)
                }
            };
            for at in (0..self.stride).step_by(LANES) {
                self.weigh(simd, row + at, inverse_temperature, simd.splat(shift));
            }
        }
    }

    /// Weights for regions asking.
    #[inline(always)]
    fn weigh_columns<S: Sixteen>(&mut self, simd: S, inverse_temperature: f32, shift: Shift) {
        for at in (0..self.stride).step_by(LANES) {
            let shifts = match shift {
                Shift::Constant(shift) => simd.splat(shift),
                Shift::Best => {
                    let mut best = simd.splat(HIDDEN);
                    for row in (0..self.end()).step_by(self.stride) {
                        best = simd.larger(simd.load_at(&self.logits, row + at), best);
                    }
                    best
                }
            };
            for row in (0..self.end()).step_by(self.stride) {
                self.weigh(simd, row + at, inverse_temperature, shifts);
            }
        }
    }

    /// The weights of 16 cells.
    #[inline(always)]
    fn weigh<S: Sixteen>(
        &mut self,
        simd: S,
        place: usize,
        inverse_temperature: f32,
        shifts: S::Vector,
    ) {
        let logits = simd.load_at(&self.logits, place);
        let shifted = simd.minus(logits, shifts);
        let weights = simd.exponential(simd.times(simd.splat(inverse_temperature), shifted));
        let is_seen = (logits, simd.splat(HIDDEN));
        let weights = simd.choose(is_seen, weights, simd.splat(0.0));
        simd.store_at(weights, &mut self.weights, place);
    }
}

#[inline(always)]
fn leaky<S: Sixteen>(simd: S, cells: S::Vector) -> S::Vector {
    let below = simd.times(cells, simd.splat(SCAN_SLOPE as f32));
    simd.choose((cells, simd.splat(0.0)), cells, below)
}
