//! Rules with weights on many cells: every cell of the pair is weighed, regions as lanes.

use super::Pair;
use super::above::Row;
use super::exponential::exponential;
use super::gram::{Weighted, region_answers, word_answers};
use super::lanes::{LANES, Machine, highest, lanes, lanes_mut, larger, sum};
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
    /// A number for each region: its highest logit, or its norm.
    columns: Vec<f32>,
}

/// No cell and no threshold is as low.
const HIDDEN: f32 = f32::MIN;

/// The similarity by the masked rule, for a pair with a cell above the threshold.
#[inline(always)]
pub(super) fn masked<M: Machine>(
    (rule, threshold, shift): (&Rule, f32, Shift),
    pair: &Pair<'_>,
    rows: &[Row],
    buffers: &mut Buffers,
) -> f32 {
    buffers.words.clear();
    buffers.words.extend(rows.iter().map(|row| row.word));
    buffers.words.dedup();
    buffers.copy_cells(pair);
    buffers.hide_below(threshold, pair.image.count);
    let (mut words, mut regions) = (0.0, 0.0);
    if rule.words.asks {
        buffers.weigh_rows::<M>(rule.words.inverse_temperature, shift);
        words = word_answers::<M>(pair, &buffers.weighted());
    }
    if rule.regions.asks {
        let shared = rule.words.asks && matches!(shift, Shift::Constant(_));
        if !shared {
            buffers.weigh_columns::<M>(rule.regions.inverse_temperature, shift);
        }
        regions = region_answers::<M>(pair, &buffers.weighted());
    }
    rule.similarity((words, pair.tile.words), (regions, pair.image.count))
}

/// The similarity by the scan rule.
#[inline(always)]
pub(super) fn scan<M: Machine>(
    (rule, shift): (&Rule, Shift),
    pair: &Pair<'_>,
    buffers: &mut Buffers,
) -> f32 {
    buffers.words.clear();
    buffers.words.extend(0..pair.tile.words as u32);
    buffers.copy_cells(pair);
    let (mut words, mut regions) = (0.0, 0.0);
    if rule.words.asks {
        buffers.normalize_columns::<M>(pair.image.count);
        buffers.weigh_rows::<M>(rule.words.inverse_temperature, shift);
        words = word_answers::<M>(pair, &buffers.weighted());
    }
    if rule.regions.asks {
        buffers.normalize_rows::<M>(pair.image.count);
        buffers.weigh_columns::<M>(rule.regions.inverse_temperature, shift);
        regions = region_answers::<M>(pair, &buffers.weighted());
    }
    rule.similarity((words, pair.tile.words), (regions, pair.image.count))
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

    #[inline(always)]
    fn copy_cells(&mut self, pair: &Pair<'_>) {
        self.stride = pair.region_stride;
        let numbers = self.words.len() * self.stride;
        for buffer in [&mut self.cells, &mut self.logits, &mut self.weights] {
            if buffer.len() < numbers {
                buffer.resize(numbers, 0.0);
            }
        }
        for (row, &word) in self.cells.chunks_exact_mut(self.stride).zip(&self.words) {
            let start = word as usize * pair.tile.stride + pair.image.start;
            for at in (0..self.stride).step_by(LANES) {
                *lanes_mut(row, at) = *lanes(pair.tile.cells, start + at);
            }
            row[pair.image.count..].fill(0.0);
        }
    }

    /// Logits are the cells above the threshold.
    #[inline(always)]
    fn hide_below(&mut self, threshold: f32, regions: usize) {
        let cells = self.cells.chunks_exact(self.stride);
        let logits = self.logits.chunks_exact_mut(self.stride).zip(cells);
        for (logits, cells) in logits.take(self.words.len()) {
            for at in (0..self.stride).step_by(LANES) {
                let (logits, cells) = (lanes_mut(logits, at), lanes(cells, at));
                for l in 0..LANES {
                    logits[l] = if cells[l] > threshold {
                        cells[l]
                    } else {
                        HIDDEN
                    };
                }
            }
            logits[regions..].fill(HIDDEN);
        }
    }

    /// Logits are the leaky cells of a region over their norm along the words.
    #[inline(always)]
    fn normalize_columns<M: Machine>(&mut self, regions: usize) {
        self.columns.clear();
        self.columns.resize(self.stride, 0.0);
        let rows = self.words.len();
        for row in self.cells.chunks_exact(self.stride).take(rows) {
            for at in (0..self.stride).step_by(LANES) {
                let (norms, cells) = (lanes_mut(&mut self.columns, at), lanes(row, at));
                for l in 0..LANES {
                    let leaky = leaky(cells[l]);
                    norms[l] = M::multiply_add(leaky, leaky, norms[l]);
                }
            }
        }
        for norm in &mut self.columns {
            *norm = norm.sqrt() + SCAN_EPSILON as f32;
        }
        let cells = self.cells.chunks_exact(self.stride);
        let logits = self.logits.chunks_exact_mut(self.stride).zip(cells);
        for (logits, cells) in logits.take(rows) {
            for at in (0..self.stride).step_by(LANES) {
                let (norms, cells) = (lanes(&self.columns, at), lanes(cells, at));
                let logits = lanes_mut(logits, at);
                for l in 0..LANES {
                    logits[l] = leaky(cells[l]) / norms[l];
                }
            }
            logits[regions..].fill(HIDDEN);
        }
    }

    /// Logits are the leaky cells of a word over their norm along the regions.
    #[inline(always)]
    fn normalize_rows<M: Machine>(&mut self, regions: usize) {
        let cells = self.cells.chunks_exact(self.stride);
        let logits = self.logits.chunks_exact_mut(self.stride).zip(cells);
        for (logits, cells) in logits.take(self.words.len()) {
            let mut squares = [0.0; LANES];
            for at in (0..self.stride).step_by(LANES) {
                let (logits, cells) = (lanes_mut(logits, at), lanes(cells, at));
                for l in 0..LANES {
                    logits[l] = leaky(cells[l]);
                    squares[l] = M::multiply_add(logits[l], logits[l], squares[l]);
                }
            }
            let norm = sum(&squares).sqrt() + SCAN_EPSILON as f32;
            for logit in &mut *logits {
                *logit /= norm;
            }
            logits[regions..].fill(HIDDEN);
        }
    }

    /// Weights for words asking.
    #[inline(always)]
    fn weigh_rows<M: Machine>(&mut self, inverse_temperature: f32, shift: Shift) {
        let logits = self.logits.chunks_exact(self.stride);
        let weights = self.weights.chunks_exact_mut(self.stride).zip(logits);
        for (weights, logits) in weights.take(self.words.len()) {
            let shift = match shift {
                Shift::Constant(shift) => shift,
                Shift::Best => {
                    let mut best = [HIDDEN; LANES];
                    for at in (0..self.stride).step_by(LANES) {
                        raise(&mut best, lanes(logits, at));
                    }
                    highest(&best)
                }
            };
            for at in (0..self.stride).step_by(LANES) {
                let weights = lanes_mut(weights, at);
                weigh::<M>(
                    weights,
                    lanes(logits, at),
                    (inverse_temperature, &[shift; LANES]),
                );
            }
        }
    }

    /// Weights for regions asking.
    #[inline(always)]
    fn weigh_columns<M: Machine>(&mut self, inverse_temperature: f32, shift: Shift) {
        self.columns.clear();
        let rows = self.words.len();
        match shift {
            Shift::Constant(shift) => self.columns.resize(self.stride, shift),
            Shift::Best => {
                self.columns.resize(self.stride, HIDDEN);
                for row in self.logits.chunks_exact(self.stride).take(rows) {
                    for at in (0..self.stride).step_by(LANES) {
                        raise(lanes_mut(&mut self.columns, at), lanes(row, at));
                    }
                }
            }
        }
        let logits = self.logits.chunks_exact(self.stride);
        let weights = self.weights.chunks_exact_mut(self.stride).zip(logits);
        for (weights, logits) in weights.take(rows) {
            for at in (0..self.stride).step_by(LANES) {
                let shifts = lanes(&self.columns, at);
                let weights = lanes_mut(weights, at);
                weigh::<M>(weights, lanes(logits, at), (inverse_temperature, shifts));
            }
        }
    }
}

type Vector = [f32; LANES];

#[inline(always)]
fn weigh<M: Machine>(
    weights: &mut Vector,
    logits: &Vector,
    (inverse_temperature, shifts): (f32, &Vector),
) {
    for l in 0..LANES {
        let weight = exponential::<M>(inverse_temperature * (logits[l] - shifts[l]));
        weights[l] = if logits[l] > HIDDEN { weight } else { 0.0 };
    }
}

#[inline(always)]
fn raise(best: &mut Vector, numbers: &Vector) {
    for l in 0..LANES {
        best[l] = larger(numbers[l], best[l]);
    }
}

#[inline(always)]
fn leaky(s: f32) -> f32 {
    if s > 0.0 { s } else { SCAN_SLOPE as f32 * s }
}
