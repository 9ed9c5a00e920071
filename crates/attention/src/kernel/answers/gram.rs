//! R of every query from weights on all its cells: `N / sqrt(Q)`, `Q = e^T G e`.

use super::Pair;
use super::lanes::{LANES, Lanes, Machine, highest, lanes, larger, sum};
use crate::side::SMALLEST_SQUARED_LENGTH;

/// Rows that are multiplied with a Gram matrix together: each of its vectors is loaded once for all.
const TOGETHER: usize = 4;

/// The weighted cells of a pair: rows are words, columns regions, zero beyond the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighted<'a> {
    /// The word of each row; other words have no weight.
    pub words: &'a [u32],
    /// Row length, whole vectors.
    pub stride: usize,
    pub cells: &'a [f32],
    pub weights: &'a [f32],
}

/// N, Q and the highest weight, lane by lane.
#[derive(Debug, Clone, Copy)]
struct Sums {
    dot: Lanes,
    squared: Lanes,
    best: Lanes,
}

const EMPTY: Sums = Sums {
    dot: [0.0; LANES],
    squared: [0.0; LANES],
    best: [0.0; LANES],
};

/// The sum of R over the words.
#[inline(always)]
pub(super) fn word_answers<M: Machine>(pair: &Pair<'_>, weighted: &Weighted<'_>) -> f32 {
    let rows = weighted.words.len();
    let mut total = 0.0;
    let whole = rows - rows % TOGETHER;
    for row in (0..whole).step_by(TOGETHER) {
        total += some_words::<M, TOGETHER>(pair, weighted, row);
    }
    for row in whole..rows {
        total += some_words::<M, 1>(pair, weighted, row);
    }
    total
}

#[inline(always)]
fn some_words<M: Machine, const ROWS: usize>(
    pair: &Pair<'_>,
    weighted: &Weighted<'_>,
    first: usize,
) -> f32 {
    let stride = weighted.stride;
    let mut sums = [EMPTY; ROWS];
    for at in (0..stride).step_by(LANES) {
        let mut product = [[0.0; LANES]; ROWS];
        for region in 0..pair.image.count {
            let gram = lanes(pair.image.gram, region * stride + at);
            for (row, product) in product.iter_mut().enumerate() {
                let weight = weighted.weights[(first + row) * stride + region];
                for l in 0..LANES {
                    product[l] = M::multiply_add(weight, gram[l], product[l]);
                }
            }
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let place = (first + row) * stride + at;
            sums.add::<M>(weighted, place, &product[row]);
        }
    }
    let mut total = 0.0;
    for sums in &sums {
        total += answer(sum(&sums.dot), sum(&sums.squared), highest(&sums.best));
    }
    total
}

/// The sum of R over the regions.
#[inline(always)]
pub(super) fn region_answers<M: Machine>(pair: &Pair<'_>, weighted: &Weighted<'_>) -> f32 {
    let rows = weighted.words.len();
    let whole = rows - rows % TOGETHER;
    let mut total = [0.0; LANES];
    for at in (0..weighted.stride).step_by(LANES) {
        let mut sums = EMPTY;
        for row in (0..whole).step_by(TOGETHER) {
            add_words::<M, TOGETHER>(pair, weighted, (row, at), &mut sums);
        }
        for row in whole..rows {
            add_words::<M, 1>(pair, weighted, (row, at), &mut sums);
        }
        for (l, total) in total.iter_mut().enumerate() {
            *total += answer(sums.dot[l], sums.squared[l], sums.best[l]);
        }
    }
    sum(&total)
}

#[inline(always)]
fn add_words<M: Machine, const ROWS: usize>(
    pair: &Pair<'_>,
    weighted: &Weighted<'_>,
    (first, at): (usize, usize),
    sums: &mut Sums,
) {
    let mut product = [[0.0; LANES]; ROWS];
    for (other, &word) in weighted.words.iter().enumerate() {
        let weights = lanes(weighted.weights, other * weighted.stride + at);
        for (row, product) in product.iter_mut().enumerate() {
            let gram = weighted.words[first + row] as usize * pair.word_stride;
            let gram = pair.word_gram[gram + word as usize];
            for l in 0..LANES {
                product[l] = M::multiply_add(gram, weights[l], product[l]);
            }
        }
    }
    for (row, product) in product.iter().enumerate() {
        sums.add::<M>(weighted, (first + row) * weighted.stride + at, product);
    }
}

impl Sums {
    #[inline(always)]
    fn add<M: Machine>(&mut self, weighted: &Weighted<'_>, place: usize, product: &Lanes) {
        let weights = lanes(weighted.weights, place);
        let cells = lanes(weighted.cells, place);
        for l in 0..LANES {
            self.dot[l] = M::multiply_add(weights[l], cells[l], self.dot[l]);
            self.squared[l] = M::multiply_add(weights[l], product[l], self.squared[l]);
            self.best[l] = larger(weights[l], self.best[l]);
        }
    }
}

/// `R = N / sqrt(Q)`; zero without a weight.
#[inline(always)]
fn answer(dot: f32, squared: f32, best: f32) -> f32 {
    let least = SMALLEST_SQUARED_LENGTH as f32 * best * best;
    dot / larger(squared, larger(least, f32::MIN_POSITIVE)).sqrt()
}
