//! The sums of the answers R of one pair, over its words and over its regions, for the rule `scan`
//! and for pairs with many cells above the threshold. All cells of a row are computed, those
//! without weight too; a vector holds the cells of 16 neighbouring regions.

use uard_linalg::vector::sixteen::{LANES, Sixteen, f32x16};

use super::above::Row;
use super::gram::{TOGETHER, Weighted, region_answers, word_answers};
use super::rule::{Masked, Rule, Shift};
use super::{AnswerSums, Pair};
use crate::side::{SCAN_EPSILON, SCAN_SLOPE};

/// The cells of one pair, each row padded to whole vectors.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// The word of each row.
    words: Vec<u32>,
    /// Row length.
    stride: usize,
    /// Relevance; zero in the padding.
    cells: Vec<f32>,
    /// What the exponential is taken of; [`HIDDEN`] where the weight is zero.
    logits: Vec<f32>,
    /// Weights of the side whose sum is being computed.
    weights: Vec<f32>,
}

/// The logit of a cell without weight: below every cell and every threshold.
const HIDDEN: f32 = f32::MIN;

/// The sums of R under the masked rule, for a pair with a cell above the threshold, over the words
/// that were selected.
#[inline(always)]
pub(super) fn masked<S: Sixteen>(
    simd: S,
    rule: &Rule,
    masked: Masked,
    pair: &Pair<'_>,
    buffers: &mut Buffers,
) -> AnswerSums {
    buffers.copy_cells(simd, pair);
    buffers.hide_below(simd, masked.threshold, pair.image.count);
    let mut sums = AnswerSums::default();
    if rule.words.is_query {
        buffers.weigh_rows(simd, rule.words.inverse_temperature, masked.shift);
        sums.words = word_answers(simd, &buffers.weighted(pair));
    }
    if rule.regions.is_query {
        let is_shared = rule.words.is_query && matches!(masked.shift, Shift::Constant(_));
        if !is_shared {
            buffers.weigh_columns(simd, rule.regions.inverse_temperature, masked.shift);
        }
        sums.regions = region_answers(simd, &buffers.weighted(pair));
    }
    sums
}

/// The sums of R under the scan rule.
#[inline(always)]
pub(super) fn scan<S: Sixteen>(
    simd: S,
    rule: &Rule,
    shift: Shift,
    pair: &Pair<'_>,
    buffers: &mut Buffers,
) -> AnswerSums {
    buffers.words.clear();
    buffers.words.extend(0..pair.tile.words as u32);
    buffers.copy_cells(simd, pair);
    let mut sums = AnswerSums::default();
    if rule.words.is_query {
        buffers.normalize_columns(simd, pair.image.count);
        buffers.weigh_rows(simd, rule.words.inverse_temperature, shift);
        sums.words = word_answers(simd, &buffers.weighted(pair));
    }
    if rule.regions.is_query {
        buffers.normalize_rows(simd, pair.image.count);
        buffers.weigh_columns(simd, rule.regions.inverse_temperature, shift);
        sums.regions = region_answers(simd, &buffers.weighted(pair));
    }
    sums
}

impl Buffers {
    /// Selects the words that have a cell above the threshold in these rows.
    #[inline(always)]
    pub(super) fn select_words(&mut self, rows: &[Row]) {
        self.words.clear();
        self.words.extend(rows.iter().map(|row| row.word));
        self.words.dedup();
    }

    fn weighted<'a>(&'a self, pair: &'a Pair<'a>) -> Weighted<'a> {
        Weighted {
            pair,
            words: &self.words,
            stride: self.stride,
            cells: &self.cells,
            weights: &self.weights,
        }
    }

    /// The number of cells, padding after a row included.
    fn end(&self) -> usize {
        self.words.len() * self.stride
    }

    /// Copies the cells of the selected words.
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

    /// Writes the logits of the masked rule: cells above the threshold, and [`HIDDEN`] for others.
    #[inline(always)]
    fn hide_below<S: Sixteen>(&mut self, simd: S, threshold: f32, regions: usize) {
        let (threshold, hidden) = (simd.splat_f32s(threshold), simd.splat_f32s(HIDDEN));
        for row in (0..self.end()).step_by(self.stride) {
            for at in (0..self.stride).step_by(LANES) {
                let cells = simd.load_at(&self.cells, row + at);
                let logits = simd.where_greater(cells, threshold, cells, hidden);
                let logits = simd.first(regions.saturating_sub(at), logits, HIDDEN);
                simd.store_at(logits, &mut self.logits, row + at);
            }
        }
    }

    /// Writes the logits of the scan rule where words are the queries: LeakyReLU of the cells,
    /// each divided by the norm of its region's cells over the words.
    #[inline(always)]
    fn normalize_columns<S: Sixteen>(&mut self, simd: S, regions: usize) {
        for at in (0..self.stride).step_by(LANES) {
            let mut squares = simd.splat_f32s(0.0);
            for row in (0..self.end()).step_by(self.stride) {
                let cells = leaky(simd, simd.load_at(&self.cells, row + at));
                squares = simd.times_plus(cells, cells, squares);
            }
            let norm = simd.add_f32s(
                simd.sqrt_f32s(squares),
                simd.splat_f32s(SCAN_EPSILON as f32),
            );
            for row in (0..self.end()).step_by(self.stride) {
                let cells = leaky(simd, simd.load_at(&self.cells, row + at));
                let logits = simd.div_f32s(cells, norm);
                let logits = simd.first(regions.saturating_sub(at), logits, HIDDEN);
                simd.store_at(logits, &mut self.logits, row + at);
            }
        }
    }

    /// Writes the logits of the scan rule where regions are the queries: LeakyReLU of the cells,
    /// each divided by the norm of its word's cells over the regions.
    #[inline(always)]
    fn normalize_rows<S: Sixteen>(&mut self, simd: S, regions: usize) {
        for row in (0..self.end()).step_by(self.stride) {
            let mut squares = simd.splat_f32s(0.0);
            for at in (0..self.stride).step_by(LANES) {
                let cells = leaky(simd, simd.load_at(&self.cells, row + at));
                squares = simd.times_plus(cells, cells, squares);
            }
            let norm = simd.splat_f32s(simd.reduce_sum_f32s(squares).sqrt() + SCAN_EPSILON as f32);
            for at in (0..self.stride).step_by(LANES) {
                let cells = leaky(simd, simd.load_at(&self.cells, row + at));
                let logits = simd.div_f32s(cells, norm);
                let logits = simd.first(regions.saturating_sub(at), logits, HIDDEN);
                simd.store_at(logits, &mut self.logits, row + at);
            }
        }
    }

    /// Writes the weights where words are the queries.
    #[inline(always)]
    fn weigh_rows<S: Sixteen>(&mut self, simd: S, inverse_temperature: f32, shift: Shift) {
        for row in (0..self.end()).step_by(self.stride) {
            let shift = match shift {
                Shift::Constant(shift) => shift,
                Shift::Best => {
                    let mut best = simd.splat_f32s(HIDDEN);
                    for at in (0..self.stride).step_by(LANES) {
                        best = simd.max_f32s(simd.load_at(&self.logits, row + at), best);
                    }
                    simd.reduce_max_f32s(best)
                }
            };
            for at in (0..self.stride).step_by(LANES) {
                self.weigh(simd, row + at, inverse_temperature, simd.splat_f32s(shift));
            }
        }
    }

    /// Writes the weights where regions are the queries.
    #[inline(always)]
    fn weigh_columns<S: Sixteen>(&mut self, simd: S, inverse_temperature: f32, shift: Shift) {
        for at in (0..self.stride).step_by(LANES) {
            let shifts = match shift {
                Shift::Constant(shift) => simd.splat_f32s(shift),
                Shift::Best => {
                    let mut best = simd.splat_f32s(HIDDEN);
                    for row in (0..self.end()).step_by(self.stride) {
                        best = simd.max_f32s(simd.load_at(&self.logits, row + at), best);
                    }
                    best
                }
            };
            for row in (0..self.end()).step_by(self.stride) {
                self.weigh(simd, row + at, inverse_temperature, shifts);
            }
        }
    }

    /// Writes the weights of the 16 cells from index `at` on.
    #[inline(always)]
    fn weigh<S: Sixteen>(&mut self, simd: S, at: usize, inverse_temperature: f32, shifts: f32x16) {
        let logits = simd.load_at(&self.logits, at);
        let shifted = simd.sub_f32s(logits, shifts);
        let weights =
            simd.exponential(simd.mul_f32s(simd.splat_f32s(inverse_temperature), shifted));
        let hidden = simd.splat_f32s(HIDDEN);
        let weights = simd.where_greater(logits, hidden, weights, simd.splat_f32s(0.0));
        simd.store_at(weights, &mut self.weights, at);
    }
}

/// LeakyReLU.
#[inline(always)]
fn leaky<S: Sixteen>(simd: S, cells: f32x16) -> f32x16 {
    let below = simd.mul_f32s(cells, simd.splat_f32s(SCAN_SLOPE as f32));
    simd.where_greater(cells, simd.splat_f32s(0.0), cells, below)
}
