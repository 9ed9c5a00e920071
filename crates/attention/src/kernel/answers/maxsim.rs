//! The highest cell of every query: all there is to the rule `maxsim`, and what the rule `nearest`
//! adds to the masked one.

use super::CaptionPairs;
use super::lanes::{LANES, Machine};
use super::rule::Rule;

/// Highest cells.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Of each column of the block.
    columns: Vec<f32>,
}

/// The similarity of every pair of a caption.
#[inline(always)]
pub(super) fn answer<M: Machine>(
    rule: &Rule,
    pairs: &CaptionPairs<'_>,
    buffers: &mut Buffers,
    out: &mut [f32],
) {
    if rule.regions.asks {
        column_maxima::<M>(pairs, &mut buffers.columns);
    }
    for (image, out) in pairs.images.iter().zip(out) {
        let mut words = 0.0;
        if rule.words.asks {
            for word in 0..pairs.tile.words {
                let row = &pairs.tile.cells[word * pairs.tile.stride..][..pairs.tile.stride];
                words += row_maximum::<M>(row, (image.start, image.count));
            }
        }
        let mut regions = 0.0;
        if rule.regions.asks {
            regions = total::<M>(&buffers.columns, (image.start, image.count));
        }
        *out = rule.similarity((words, pairs.tile.words), (regions, image.count));
    }
}

/// Adds the highest cell of every query that has none above the threshold to the sums of its image.
#[inline(always)]
pub(super) fn add_below<M: Machine>(
    (rule, threshold): (&Rule, f32),
    pairs: &CaptionPairs<'_>,
    buffers: &mut Buffers,
    totals: &mut [(f32, f32)],
) {
    if rule.words.asks {
        for word in 0..pairs.tile.words {
            let row = &pairs.tile.cells[word * pairs.tile.stride..][..pairs.tile.stride];
            for (image, total) in pairs.images.iter().zip(&mut *totals) {
                let highest = row_maximum::<M>(row, (image.start, image.count));
                total.0 += if highest > threshold { 0.0 } else { highest };
            }
        }
    }
    if rule.regions.asks {
        column_maxima::<M>(pairs, &mut buffers.columns);
        let (threshold, nothing) = (M::splat(threshold), M::splat(0.0));
        for at in (0..pairs.columns()).step_by(LANES) {
            let highest = M::load_at(&buffers.columns, at);
            let below = M::choose((highest, threshold), nothing, highest);
            M::store_at(below, &mut buffers.columns, at);
        }
        for (image, sums) in pairs.images.iter().zip(totals) {
            sums.1 += total::<M>(&buffers.columns, (image.start, image.count));
        }
    }
}

/// The highest cell of each column.
#[inline(always)]
fn column_maxima<M: Machine>(pairs: &CaptionPairs<'_>, maxima: &mut Vec<f32>) {
    let columns = pairs.columns();
    maxima.resize(columns.next_multiple_of(LANES) + LANES, 0.0);
    for at in (0..columns).step_by(LANES) {
        let mut highest = M::load_at(pairs.tile.cells, at);
        for word in 1..pairs.tile.words {
            let cells = M::load_at(pairs.tile.cells, word * pairs.tile.stride + at);
            highest = M::larger(cells, highest);
        }
        M::store_at(highest, maxima, at);
    }
}

/// The highest of `count` cells: whole vectors, and the last 16 cells, which may overlap them.
#[inline(always)]
fn row_maximum<M: Machine>(row: &[f32], (start, count): (usize, usize)) -> f32 {
    let mut highest = M::load_at(row, start);
    if count < LANES {
        return M::highest(M::first(count, highest, f32::NEG_INFINITY));
    }
    for at in (LANES..count - LANES + 1).step_by(LANES) {
        highest = M::larger(M::load_at(row, start + at), highest);
    }
    let last = M::load_at(row, start + count - LANES);
    M::highest(M::larger(last, highest))
}

/// The sum of `count` numbers in 16 lanes.
#[inline(always)]
fn total<M: Machine>(numbers: &[f32], (start, count): (usize, usize)) -> f32 {
    let mut total = M::splat(0.0);
    let whole = count - count % LANES;
    for at in (0..whole).step_by(LANES) {
        total = M::add(M::load_at(numbers, start + at), total);
    }
    let rest = M::load_at(numbers, start + whole);
    M::sum(M::add(M::first(count - whole, rest, 0.0), total))
}
