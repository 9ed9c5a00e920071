//! The highest cell of every query: all there is to the rule `maxsim`, and what the rule `nearest`
//! adds to the masked one.

use uard_linalg::vector::sixteen::{LANES, Sixteen};

use super::rule::Rule;
use super::{CaptionPairs, Scratch};

/// Adds the highest cell of every query that has none above the threshold to the sums of its image.
#[inline(always)]
pub(super) fn add_below<S: Sixteen>(
    simd: S,
    (rule, threshold): (&Rule, f32),
    pairs: &CaptionPairs<'_>,
    scratch: &mut Scratch,
) {
    let Scratch {
        totals, highest, ..
    } = scratch;
    if rule.words.asks {
        for word in 0..pairs.tile.words {
            let row = &pairs.tile.cells[word * pairs.tile.stride..][..pairs.tile.stride];
            for (image, total) in pairs.images.iter().zip(&mut *totals) {
                let best = row_maximum(simd, row, (image.start, image.count));
                total.0 += if best > threshold { 0.0 } else { best };
            }
        }
    }
    if rule.regions.asks {
        column_maxima(simd, pairs, highest);
        let (threshold, nothing) = (simd.splat(threshold), simd.splat(0.0));
        for at in (0..pairs.columns()).step_by(LANES) {
            let best = simd.load_at(highest, at);
            let below = simd.choose((best, threshold), nothing, best);
            simd.store_at(below, highest, at);
        }
        for (image, sums) in pairs.images.iter().zip(totals) {
            sums.1 += total(simd, highest, (image.start, image.count));
        }
    }
}

/// The highest cell of each column.
#[inline(always)]
fn column_maxima<S: Sixteen>(simd: S, pairs: &CaptionPairs<'_>, maxima: &mut Vec<f32>) {
    let columns = pairs.columns();
    maxima.resize(columns.next_multiple_of(LANES) + LANES, 0.0);
    for at in (0..columns).step_by(LANES) {
        let mut highest = simd.load_at(pairs.tile.cells, at);
        for word in 1..pairs.tile.words {
            let cells = simd.load_at(pairs.tile.cells, word * pairs.tile.stride + at);
            highest = simd.larger(cells, highest);
        }
        simd.store_at(highest, maxima, at);
    }
}

/// The highest of `count` cells: whole vectors, and the last 16 cells, which may overlap them.
#[inline(always)]
fn row_maximum<S: Sixteen>(simd: S, row: &[f32], (start, count): (usize, usize)) -> f32 {
    let mut highest = simd.load_at(row, start);
    if count < LANES {
        return simd.highest(simd.first(count, highest, f32::NEG_INFINITY));
    }
    for at in (LANES..count - LANES + 1).step_by(LANES) {
        highest = simd.larger(simd.load_at(row, start + at), highest);
    }
    let last = simd.load_at(row, start + count - LANES);
    simd.highest(simd.larger(last, highest))
}

/// The sum of `count` numbers in 16 lanes.
#[inline(always)]
fn total<S: Sixteen>(simd: S, numbers: &[f32], (start, count): (usize, usize)) -> f32 {
    let mut total = simd.splat(0.0);
    let whole = count - count % LANES;
    for at in (0..whole).step_by(LANES) {
        total = simd.plus(simd.load_at(numbers, start + at), total);
    }
    let rest = simd.load_at(numbers, start + whole);
    simd.total(simd.plus(simd.first(count - whole, rest, 0.0), total))
}
