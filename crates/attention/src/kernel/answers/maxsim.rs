//! The rule `maxsim`: the highest cell of every query, no masks.

use super::CaptionPairs;
use super::lanes::{LANES, Machine, highest, lanes, lanes_mut, larger};
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
        column_maxima(pairs, &mut buffers.columns);
    }
    for (image, out) in pairs.images.iter().zip(out) {
        let cells = image.start..image.start + image.count;
        let mut words = 0.0;
        if rule.words.asks {
            for row in pairs
                .tile
                .cells
                .chunks_exact(pairs.tile.stride)
                .take(pairs.tile.words)
            {
                words += row_maximum(&row[cells.clone()]);
            }
        }
        let mut regions = 0.0;
        if rule.regions.asks {
            regions = total(&buffers.columns[cells]);
        }
        *out = rule.similarity((words, pairs.tile.words), (regions, image.count));
    }
}

/// The highest cell of each column.
#[inline(always)]
fn column_maxima(pairs: &CaptionPairs<'_>, maxima: &mut Vec<f32>) {
    let ends = pairs.images.iter().map(|image| image.start + image.count);
    let vectors = ends.max().unwrap_or(0).div_ceil(LANES);
    maxima.clear();
    maxima.resize(vectors * LANES, f32::NEG_INFINITY);
    for row in pairs
        .tile
        .cells
        .chunks_exact(pairs.tile.stride)
        .take(pairs.tile.words)
    {
        for at in (0..vectors * LANES).step_by(LANES) {
            let (maxima, cells) = (lanes_mut(maxima, at), lanes(row, at));
            for l in 0..LANES {
                maxima[l] = larger(cells[l], maxima[l]);
            }
        }
    }
}

/// The highest of some cells: whole vectors from the front, and the last 16, which may overlap.
#[inline(always)]
fn row_maximum(cells: &[f32]) -> f32 {
    let Some(last) = cells.last_chunk::<LANES>() else {
        return cells.iter().copied().fold(f32::NEG_INFINITY, larger);
    };
    let mut maxima = *last;
    for chunk in cells.chunks_exact(LANES) {
        for l in 0..LANES {
            maxima[l] = larger(chunk[l], maxima[l]);
        }
    }
    highest(&maxima)
}

/// The sum of some numbers in 16 lanes, the last vector filled up with zeros.
#[inline(always)]
fn total(numbers: &[f32]) -> f32 {
    let mut total = [0.0; LANES];
    let chunks = numbers.chunks_exact(LANES);
    for (sum, number) in total.iter_mut().zip(chunks.remainder()) {
        *sum = *number;
    }
    for chunk in chunks {
        for l in 0..LANES {
            total[l] += chunk[l];
        }
    }
    super::lanes::sum(&total)
}
