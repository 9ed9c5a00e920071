//! What does one pair add under the masked rule, and how does that change with its inputs?
//!
//! ```text
//! R = N / sqrt(Q)    N = sum_j e_j s_j    Q = e^T G e    e_j = 1[s_j > t] exp(λ (s_j - max s))
//! ```
//!
//! Both sides read the same cells [words, regions] with the regions in the lanes of vectors: words
//! asking walk along a row, regions asking down all rows at once. Nothing is transposed.

use uard_core::vector::Loops;

use super::lanes::{LANES, Lanes, highest, total, zip};
use super::tiles::Place;
use crate::side::{Real, SMALLEST_SQUARED_LENGTH};

/// Below every cosine: what padding lanes hold, and where maxima begin.
pub(super) const LOWEST: f64 = -4.0;

/// The masked rule with its numbers in the precision of the tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Masked<T> {
    pub threshold: T,
    /// Inverse temperature of words asking, if they ask.
    pub words: Option<T>,
    /// Inverse temperature of regions asking, if they ask.
    pub regions: Option<T>,
}

/// One pair's relevance, a row for each word, padded with [`LOWEST`] to whole lanes.
#[derive(Debug, Default)]
pub(super) struct Cells<T> {
    values: Vec<Lanes<T>>,
    pub words: usize,
    pub regions: usize,
    /// Vectors of a row.
    chunks: usize,
}

/// The Gram matrices that a pair's queries look through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grams<'a, T> {
    /// Of the image's regions: rows of as many vectors as a row of cells has, padded with zeros.
    pub regions: &'a [Lanes<T>],
    /// Of the caption's words, `word_stride` apart from row to row.
    pub words: &'a [T],
    pub word_stride: usize,
}

/// What a pair answers, and how much of it is above the threshold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers<T> {
    /// Sum of R over the words, if they ask.
    pub words: T,
    /// Sum of R over the regions, if they ask.
    pub regions: T,
    pub word_queries: u64,
    pub region_queries: u64,
    pub cells: u64,
}

/// Where the gradients of a pair go.
#[derive(Debug)]
pub(super) struct PairGradients<'a, T> {
    /// Of the cells, laid out as they are; overwritten.
    pub cells: &'a mut Vec<Lanes<T>>,
    /// `dG + dG^T` of the regions, laid out as their Gram matrix; added to.
    pub regions: &'a mut [Lanes<T>],
    /// `dH + dH^T` of the words, laid out as their Gram matrix; added to.
    pub words: &'a mut [T],
}

/// Buffers that are reused from pair to pair.
#[derive(Debug, Default)]
pub(super) struct Scratch<T> {
    best: Vec<T>,
    weights: Vec<Lanes<T>>,
    products: Vec<Lanes<T>>,
}

impl<T: Real> Cells<T> {
    /// Numbers from row to row.
    pub(super) fn stride(&self) -> usize {
        self.chunks * LANES
    }

    /// Vectors in all.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn row(&self, word: usize) -> &[Lanes<T>] {
        &self.values[word * self.chunks..][..self.chunks]
    }

    /// Copies a pair's cells out of a tile whose rows are `stride` apart; each row becomes `chunks`
    /// vectors.
    pub(super) fn load(&mut self, tile: &[T], stride: usize, place: &Place, chunks: usize) {
        let (words, regions) = (place.words, place.regions);
        (self.words, self.regions, self.chunks) = (words, regions, chunks);
        self.values.clear();
        self.values
            .resize(words * self.chunks, [T::from_f64(LOWEST); LANES]);
        let rows = self.values.chunks_exact_mut(chunks.max(1));
        for (to, from) in rows.zip(tile[place.start..].chunks(stride)) {
            to.as_flattened_mut()[..regions].copy_from_slice(&from[..regions]);
        }
    }
}

/// The forward pass of one pair.
pub(super) struct Forward<'a, T> {
    pub rule: Masked<T>,
    pub cells: &'a Cells<T>,
    pub grams: Grams<'a, T>,
    pub scratch: &'a mut Scratch<T>,
}

impl<T: Real> Loops for Forward<'_, T> {
    type Output = Answers<T>;

    #[inline(always)]
    fn run(self) -> Answers<T> {
        let Self {
            rule,
            cells,
            grams,
            scratch,
        } = self;
        scratch.fit(cells);
        let mut answers = Answers::default();
        for word in 0..cells.words {
            let row = cells.row(word);
            let best = best_of(row);
            scratch.best[word] = best;
            if best > rule.threshold {
                answers.word_queries += 1;
                answers.cells += count_above(row, rule.threshold);
                if let Some(sharpness) = rule.words {
                    let (dot, squared) = rule.ask_word(row, best, sharpness, &grams, scratch);
                    answers.words += dot / squared.sqrt();
                }
            }
        }
        if answers.word_queries == 0 {
            return answers;
        }
        let mut sums = [T::zero(); LANES];
        for chunk in 0..cells.chunks {
            let best = best_down(cells, chunk);
            let above = count_above(&[best], rule.threshold);
            answers.region_queries += above;
            if let (Some(sharpness), 1..) = (rule.regions, above) {
                let asked = rule.ask_regions(cells, chunk, (&best, sharpness), &grams, scratch);
                for lane in 0..LANES {
                    let answer = asked.dot[lane] / asked.squared[lane].sqrt();
                    sums[lane] += if best[lane] > rule.threshold {
                        answer
                    } else {
                        T::zero()
                    };
                }
            }
        }
        answers.regions = total(sums);
        answers
    }
}

/// The backward pass of one pair: adds `each` times the gradient of each query's R.
pub(super) struct Backward<'a, T> {
    pub rule: Masked<T>,
    pub cells: &'a Cells<T>,
    pub grams: Grams<'a, T>,
    /// Upstream of a word's answer and of a region's.
    pub each: (T, T),
    pub gradients: PairGradients<'a, T>,
    pub scratch: &'a mut Scratch<T>,
}

impl<T: Real> Loops for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            rule,
            cells,
            grams,
            each,
            gradients,
            scratch,
        } = self;
        scratch.fit(cells);
        gradients.cells.clear();
        gradients
            .cells
            .resize(cells.values.len(), [T::zero(); LANES]);
        if let Some(sharpness) = rule.words {
            for word in 0..cells.words {
                let best = best_of(cells.row(word));
                if best > rule.threshold {
                    let query = (word, best, sharpness, each.0);
                    let to = (&mut gradients.cells[..], &mut gradients.regions[..]);
                    rule.word_gradient(cells, query, &grams, scratch, to);
                }
            }
        }
        if let Some(sharpness) = rule.regions {
            for chunk in 0..cells.chunks {
                let best = best_down(cells, chunk);
                if count_above(&[best], rule.threshold) > 0 {
                    let asked = rule.ask_regions(cells, chunk, (&best, sharpness), &grams, scratch);
                    let slopes = rule.slopes(&asked, &best, each.1);
                    add_region_cells(cells, chunk, (sharpness, &slopes), scratch, gradients.cells);
                    add_word_gram(
                        &slopes.squared,
                        scratch,
                        (&mut *gradients.words, grams.word_stride),
                    );
                }
            }
        }
    }
}

/// N and Q of the regions in one chunk of lanes.
struct Asked<T> {
    dot: Lanes<T>,
    /// At least [`SMALLEST_SQUARED_LENGTH`].
    squared: Lanes<T>,
}

/// Upstream times the derivatives of R by N, and twice that by Q.
struct Slopes<T> {
    dot: Lanes<T>,
    squared: Lanes<T>,
}

impl<T: Real> Masked<T> {
    /// A rule that keeps nothing: all it finds are the maxima of words.
    pub(super) fn maxima_only() -> Self {
        Self {
            threshold: T::infinity(),
            words: None,
            regions: None,
        }
    }

    /// N and Q of a word, its weights left in the first row of the scratch, `G e` in the products.
    #[inline(always)]
    fn ask_word(
        &self,
        row: &[Lanes<T>],
        best: T,
        sharpness: T,
        grams: &Grams<'_, T>,
        scratch: &mut Scratch<T>,
    ) -> (T, T) {
        let chunks = row.len();
        let weights = &mut scratch.weights[..chunks];
        let products = &mut scratch.products[..chunks];
        products.fill([T::zero(); LANES]);
        let mut dots = [T::zero(); LANES];
        for (weights, cells) in weights.iter_mut().zip(row) {
            *weights = self.weights(cells, &[best; LANES], sharpness);
            for lane in 0..LANES {
                dots[lane] += weights[lane] * cells[lane];
            }
        }
        let gram_rows = grams.regions.chunks_exact(chunks);
        for (&weight, gram_row) in weights.as_flattened().iter().zip(gram_rows) {
            if weight != T::zero() {
                add_scaled(products, weight, gram_row);
            }
        }
        let mut squares = [T::zero(); LANES];
        for (weights, products) in weights.iter().zip(&*products) {
            for lane in 0..LANES {
                squares[lane] += weights[lane] * products[lane];
            }
        }
        let smallest = T::from_f64(SMALLEST_SQUARED_LENGTH);
        (total(dots), at_least(total(squares), smallest))
    }

    #[inline(always)]
    fn word_gradient(
        &self,
        cells: &Cells<T>,
        (word, best, sharpness, each): (usize, T, T, T),
        grams: &Grams<'_, T>,
        scratch: &mut Scratch<T>,
        (to_cells, to_gram): (&mut [Lanes<T>], &mut [Lanes<T>]),
    ) {
        let row = cells.row(word);
        let (dot, squared) = self.ask_word(row, best, sharpness, grams, scratch);
        let (by_dot, by_squared) = slopes_of(dot, squared, each);
        let weights = &scratch.weights[..cells.chunks];
        let to_row = &mut to_cells[word * cells.chunks..][..cells.chunks];
        for (chunk, to_row) in to_row.iter_mut().enumerate() {
            let (e, p, s) = (&weights[chunk], &scratch.products[chunk], &row[chunk]);
            for lane in 0..LANES {
                let by_weight = s[lane] * by_dot + p[lane] * by_squared;
                to_row[lane] += e[lane] * (by_dot + sharpness * by_weight);
            }
        }
        let to_rows = to_gram.chunks_exact_mut(cells.chunks);
        for (&weight, to_row) in weights.as_flattened().iter().zip(to_rows) {
            if weight != T::zero() {
                add_scaled(to_row, weight * by_squared, weights);
            }
        }
    }

    /// N and Q of a chunk of regions; their weights and `H e`, a row a word, stay in the scratch.
    #[inline(always)]
    fn ask_regions(
        &self,
        cells: &Cells<T>,
        chunk: usize,
        (best, sharpness): (&Lanes<T>, T),
        grams: &Grams<'_, T>,
        scratch: &mut Scratch<T>,
    ) -> Asked<T> {
        let words = cells.words;
        let weights = &mut scratch.weights[..words];
        let products = &mut scratch.products[..words];
        let mut dot = [T::zero(); LANES];
        for (word, weights) in weights.iter_mut().enumerate() {
            let cells = &cells.row(word)[chunk];
            *weights = self.weights(cells, best, sharpness);
            for lane in 0..LANES {
                dot[lane] += weights[lane] * cells[lane];
            }
        }
        let mut squared = [T::zero(); LANES];
        for (word, products) in products.iter_mut().enumerate() {
            let gram_row = &grams.words[word * grams.word_stride..][..words];
            let mut sum = [T::zero(); LANES];
            for (weights, &g) in weights.iter().zip(gram_row) {
                for lane in 0..LANES {
                    sum[lane] += g * weights[lane];
                }
            }
            for lane in 0..LANES {
                squared[lane] += weights[word][lane] * sum[lane];
            }
            *products = sum;
        }
        let smallest = T::from_f64(SMALLEST_SQUARED_LENGTH);
        for squared in &mut squared {
            *squared = at_least(*squared, smallest);
        }
        Asked { dot, squared }
    }

    /// Zero for regions that nothing answers.
    #[inline(always)]
    fn slopes(&self, asked: &Asked<T>, best: &Lanes<T>, each: T) -> Slopes<T> {
        let mut slopes = Slopes {
            dot: [T::zero(); LANES],
            squared: [T::zero(); LANES],
        };
        for lane in 0..LANES {
            let each = if best[lane] > self.threshold {
                each
            } else {
                T::zero()
            };
            (slopes.dot[lane], slopes.squared[lane]) =
                slopes_of(asked.dot[lane], asked.squared[lane], each);
        }
        slopes
    }

    #[inline(always)]
    fn weights(&self, cells: &Lanes<T>, best: &Lanes<T>, sharpness: T) -> Lanes<T> {
        zip(cells, best, |s, best| {
            let weight = (sharpness * (s - best)).exponential();
            if s > self.threshold {
                weight
            } else {
                T::zero()
            }
        })
    }
}

impl<T: Real> Scratch<T> {
    /// Highest relevance of each word of the pair last asked.
    pub(super) fn best(&self) -> &[T] {
        &self.best
    }

    fn fit(&mut self, cells: &Cells<T>) {
        let rows = cells.words.max(cells.chunks);
        self.best.resize(cells.words, T::zero());
        self.weights.resize(rows, [T::zero(); LANES]);
        self.products.resize(rows, [T::zero(); LANES]);
    }
}

/// `each / sqrt(Q)` and `-each N / Q^(3/2)`: the derivative by Q, times two because Q is quadratic
/// in e. The latter is zero where Q was bounded.
#[inline(always)]
fn slopes_of<T: Real>(dot: T, squared: T, each: T) -> (T, T) {
    let by_dot = each / squared.sqrt();
    let by_squared = if squared > T::from_f64(SMALLEST_SQUARED_LENGTH) {
        -(dot / squared) * by_dot
    } else {
        T::zero()
    };
    (by_dot, by_squared)
}

#[inline(always)]
fn add_region_cells<T: Real>(
    cells: &Cells<T>,
    chunk: usize,
    (sharpness, slopes): (T, &Slopes<T>),
    scratch: &Scratch<T>,
    to_cells: &mut [Lanes<T>],
) {
    for word in 0..cells.words {
        let s = &cells.row(word)[chunk];
        let (e, p) = (&scratch.weights[word], &scratch.products[word]);
        let to = &mut to_cells[word * cells.chunks + chunk];
        for lane in 0..LANES {
            let by_weight = s[lane] * slopes.dot[lane] + p[lane] * slopes.squared[lane];
            to[lane] += e[lane] * (slopes.dot[lane] + sharpness * by_weight);
        }
    }
}

/// Adds `sum_j slope_j e_j e_j^T` of a chunk of regions.
#[inline(always)]
fn add_word_gram<T: Real>(
    slopes: &Lanes<T>,
    scratch: &Scratch<T>,
    (to_gram, stride): (&mut [T], usize),
) {
    let words = scratch.best.len();
    for row in 0..words {
        let scaled = zip(&scratch.weights[row], slopes, |e, slope| e * slope);
        for column in 0..=row {
            let sum = total(zip(&scaled, &scratch.weights[column], |a, b| a * b));
            to_gram[row * stride + column] += sum;
            if column < row {
                to_gram[column * stride + row] += sum;
            }
        }
    }
}

#[inline(always)]
fn add_scaled<T: Real>(sums: &mut [Lanes<T>], factor: T, row: &[Lanes<T>]) {
    for (sums, row) in sums.iter_mut().zip(row) {
        for lane in 0..LANES {
            sums[lane] += factor * row[lane];
        }
    }
}

#[inline(always)]
fn best_of<T: Real>(row: &[Lanes<T>]) -> T {
    let mut best = [T::from_f64(LOWEST); LANES];
    for cells in row {
        best = zip(cells, &best, |s, best| if s > best { s } else { best });
    }
    highest(best)
}

#[inline(always)]
fn best_down<T: Real>(cells: &Cells<T>, chunk: usize) -> Lanes<T> {
    let mut best = [T::from_f64(LOWEST); LANES];
    for word in 0..cells.words {
        let cells = &cells.row(word)[chunk];
        best = zip(cells, &best, |s, best| if s > best { s } else { best });
    }
    best
}

#[inline(always)]
fn count_above<T: Real>(row: &[Lanes<T>], threshold: T) -> u64 {
    let mut counts = [0u32; LANES];
    for cells in row {
        for lane in 0..LANES {
            counts[lane] += u32::from(cells[lane] > threshold);
        }
    }
    counts.iter().copied().map(u64::from).sum()
}

#[inline(always)]
fn at_least<T: Real>(x: T, least: T) -> T {
    if x < least { least } else { x }
}
