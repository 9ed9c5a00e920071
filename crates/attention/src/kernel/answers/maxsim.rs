//! The highest relevance of every query (a word or a region). It is the answer R of the query under
//! the rule `maxsim`, and under the rule `nearest` if nothing is above the threshold.

use uard_linalg::vector::sixteen::{LANES, Sixteen};

use super::rule::Rule;
use super::{CaptionPairs, ImageColumns, Scratch};

/// Adds the highest cell of every query that has none above the threshold to the sums of its image.
#[inline(always)]
pub(super) fn add_below<S: Sixteen>(
    simd: S,
    rule: &Rule,
    threshold: f32,
    pairs: &CaptionPairs<'_>,
    scratch: &mut Scratch,
) {
    let Scratch {
        totals, highest, ..
    } = scratch;
    if rule.words.is_query {
        for word in 0..pairs.tile.words {
            let row = &pairs.tile.cells[word * pairs.tile.stride..][..pairs.tile.stride];
            for (image, total) in pairs.images.iter().zip(&mut *totals) {
                let best = row_maximum(simd, row, image);
                total.words += if best > threshold { 0.0 } else { best };
            }
        }
    }
    if rule.regions.is_query {
        column_maxima(simd, pairs, highest);
        let (threshold, nothing) = (simd.splat_f32s(threshold), simd.splat_f32s(0.0));
        for at in (0..pairs.columns()).step_by(LANES) {
            let best = simd.load_at(highest, at);
            let below = simd.where_greater(best, threshold, nothing, best);
            simd.store_at(below, highest, at);
        }
        for (image, sums) in pairs.images.iter().zip(totals) {
            sums.regions += total(simd, highest, image);
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
            highest = simd.max_f32s(cells, highest);
        }
        simd.store_at(highest, maxima, at);
    }
}

/// The highest cell of a row in the columns of an image. Reads whole vectors, and then the last 16
/// cells, which may overlap them.
#[inline(always)]
fn row_maximum<S: Sixteen>(simd: S, row: &[f32], image: &ImageColumns<'_>) -> f32 {
    let (start, count) = (image.start, image.count);
    let mut highest = simd.load_at(row, start);
    if count < LANES {
        return simd.reduce_max_f32s(simd.first(count, highest, f32::NEG_INFINITY));
    }
    for at in (LANES..count - LANES + 1).step_by(LANES) {
        highest = simd.max_f32s(simd.load_at(row, start + at), highest);
    }
    let last = simd.load_at(row, start + count - LANES);
    simd.reduce_max_f32s(simd.max_f32s(last, highest))
}

/// The sum of a row's numbers in the columns of an image, in 16 lanes.
#[inline(always)]
fn total<S: Sixteen>(simd: S, numbers: &[f32], image: &ImageColumns<'_>) -> f32 {
    let (start, count) = (image.start, image.count);
    let mut total = simd.splat_f32s(0.0);
    let whole = count - count % LANES;
    for at in (0..whole).step_by(LANES) {
        total = simd.add_f32s(simd.load_at(numbers, start + at), total);
    }
    let rest = simd.load_at(numbers, start + whole);
    simd.reduce_sum_f32s(simd.add_f32s(simd.first(count - whole, rest, 0.0), total))
}
