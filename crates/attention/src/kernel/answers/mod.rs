//! The similarity of a caption with each image of a block, from their relevance and Gram matrices
//! in f32.
//!
//! The formulas of [`crate::side`], written once as loops over vectors of 16 numbers and compiled
//! for each instruction set. Under the masked rule:
//!
//! 1. Every cell is compared with the threshold, which gives a bitmap. The similarity of a pair without
//!    a bit is exactly 0 (lemma 5), and a query without a bit is skipped (lemma 1). Maxima are computed
//!    only under the rule `nearest`, which adds the highest cell of each skipped query.
//! 2. In a pair with few bits the cells are listed, and the Gram matrices are read only where two cells
//!    share a query ([`listed`]). A pair with many bits is multiplied with its Gram matrices
//!    ([`dense`]).
//!
//! `R = N / sqrt(Q)` does not change when all weights of a query are scaled. So one exponential of
//! a cell serves both sides, as long as it stays within f32 ([`rule::Shift`]).
//!
//! The similarity of a pair depends on its relevance and Gram matrices alone, to the last bit: not
//! on its place in the tile, nor on the other pairs.

mod above;
mod dense;
mod gram;
mod listed;
mod maxsim;
mod reach;
mod rule;
#[cfg(test)]
mod tests;

use uard_linalg::panels::Instructions;
use uard_linalg::vector::sixteen::{LANES, Sixteen, SixteenLoops};

use crate::MatcherConfig;
pub(crate) use crate::kept::Above;
use listed::{ListedRows, SharedWeight};
pub(crate) use reach::{Bounds, PanelBits, Reach, VisiblePanels, missed};
use rule::{Masked, Rule};

/// Numbers after the last column of a row, which are read and have no effect on the result.
pub(crate) const SLACK: usize = LANES;

/// Relevance of one caption with a block of images.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile<'a> {
    /// Row-major [words, stride]: a row for each word, the block's regions as its columns.
    pub cells: &'a [f32],
    /// Row length: whole vectors, at least the columns and [`SLACK`].
    pub stride: usize,
    /// Words of the caption.
    pub words: usize,
}

/// The columns of one image's regions in a tile, and the regions' Gram matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImageColumns<'a> {
    /// The column of the first region.
    pub start: usize,
    /// The number of regions.
    pub count: usize,
    /// Gram matrix, rows of [`crate::packed::gram_stride`] of the count.
    pub gram: &'a [f32],
}

/// A caption with the images that it is compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CaptionPairs<'a> {
    /// Their relevance.
    pub tile: Tile<'a>,
    /// Gram matrix of the words, rows of [`crate::packed::gram_stride`] of their count.
    pub word_gram: &'a [f32],
    /// The images, in the order of the results.
    pub images: &'a [ImageColumns<'a>],
}

impl CaptionPairs<'_> {
    /// Columns of the tile up to the end of the last image.
    fn columns(&self) -> usize {
        let ends = self.images.iter().map(|image| image.start + image.count);
        ends.max().unwrap_or(0)
    }

    /// # Panics
    /// When the tile is smaller than these images and words, or has no slack after a row.
    fn check(&self) {
        let columns = self.columns();
        assert!(columns + SLACK <= self.tile.stride, "slack after a row");
        assert!(self.tile.stride.is_multiple_of(LANES), "whole vectors");
        let numbers = self.tile.words * self.tile.stride;
        assert!(self.tile.words > 0 && self.tile.cells.len() >= numbers);
    }
}

/// Computes similarities by one rule, threshold and instruction set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answers {
    rule: Rule,
    instructions: Instructions,
}

/// Buffers that are reused from caption to caption.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    above: above::Bitmap,
    listed: listed::ListedCells,
    dense: dense::Buffers,
    /// For each image.
    totals: Vec<AnswerSums>,
    /// The highest cell of each column of the block.
    highest: Vec<f32>,
    reach: reach::VisibleCells,
}

/// The sums of R over the words of a pair, and over its regions.
#[derive(Debug, Clone, Copy, Default)]
struct AnswerSums {
    words: f32,
    regions: f32,
}

impl Scratch {
    /// Makes the sums of this many images zero.
    fn clear_totals(&mut self, images: usize) {
        self.totals.clear();
        self.totals.resize(images, AnswerSums::default());
    }
}

impl Answers {
    pub(crate) fn new(config: &MatcherConfig, threshold: f64, instructions: Instructions) -> Self {
        Self {
            rule: Rule::new(config, threshold),
            instructions,
        }
    }

    /// Writes the similarity with each image to `out`; counts what is above the threshold (zero for
    /// rules without one).
    ///
    /// # Panics
    /// When tile, images and `out` do not fit each other.
    pub(crate) fn match_caption(
        &self,
        pairs: &CaptionPairs<'_>,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Above {
        assert_eq!(out.len(), pairs.images.len(), "a similarity for each image");
        pairs.check();
        self.instructions.run(MatchCaption {
            rule: &self.rule,
            pairs,
            scratch,
            out,
        })
    }

    /// Writes to `out` an upper bound of the similarity in f32 with each image, from its relevance
    /// in bf16; counts what is above the threshold in bf16. For rules with a threshold only.
    ///
    /// # Panics
    /// When tile, images, bounds and `out` do not fit each other, or the rule has no threshold.
    pub(crate) fn bound_caption(
        &self,
        pairs: &CaptionPairs<'_>,
        bounds: &Bounds<'_>,
        scratch: &mut Scratch,
        out: &mut [Reach],
    ) -> Above {
        let rule::Weights::Masked(masked) = self.rule.weights else {
            panic!("only rules with a threshold have a reach");
        };
        assert_eq!(out.len(), pairs.images.len(), "a reach for each image");
        assert_eq!(
            bounds.region_alone.len(),
            out.len(),
            "a bound for each image"
        );
        pairs.check();
        self.instructions.run(reach::BoundCaption {
            rule: &self.rule,
            masked,
            pairs,
            bounds,
            scratch,
            out,
        })
    }
}

/// Writes the similarity of a caption with each of its images; counts what is above the threshold.
struct MatchCaption<'a> {
    rule: &'a Rule,
    pairs: &'a CaptionPairs<'a>,
    scratch: &'a mut Scratch,
    out: &'a mut [f32],
}

impl SixteenLoops for MatchCaption<'_> {
    type Output = Above;

    #[inline(always)]
    fn run<S: Sixteen>(self, simd: S) -> Above {
        let Self {
            rule,
            pairs,
            scratch,
            out,
        } = self;
        scratch.clear_totals(out.len());
        let mut above = Above::default();
        match rule.weights {
            // Nothing is above infinity, so R of every query is its highest cell.
            rule::Weights::MaxSim => {
                let threshold = f32::INFINITY;
                maxsim::add_below(simd, rule, threshold, pairs, scratch);
            }
            rule::Weights::Scan { shift } => {
                for (at, total) in scratch.totals.iter_mut().enumerate() {
                    let pair = Pair::new(pairs, at);
                    *total = dense::scan(simd, rule, shift, &pair, &mut scratch.dense);
                }
            }
            rule::Weights::Masked(masked) => {
                above = add_masked(simd, rule, masked, pairs, scratch);
                if masked.answers_below {
                    maxsim::add_below(simd, rule, masked.threshold, pairs, scratch);
                }
            }
        }
        for ((total, image), out) in scratch.totals.iter().zip(pairs.images).zip(out) {
            *out = rule.similarity(*total, pairs.tile.words, image.count);
        }
        above
    }
}

/// Adds R of queries with a cell above the threshold to the sums of each image. Pairs with few
/// cells are listed and summed together, others one by one.
#[inline(always)]
fn add_masked<S: Sixteen>(
    simd: S,
    rule: &Rule,
    masked: Masked,
    pairs: &CaptionPairs<'_>,
    scratch: &mut Scratch,
) -> Above {
    // Without a shared weight, or with a threshold below 0, no pair may be listed.
    let (most, shift) = match masked.shift {
        rule::Shift::Constant(shift) if masked.threshold >= 0.0 => (listed::MOST, shift),
        _ => (0, 0.0),
    };
    let weight = SharedWeight {
        inverse_temperature: rule.words.inverse_temperature,
        shift,
    };
    let (rows, totals) = (&mut scratch.above, &mut scratch.totals);
    rows.compare(simd, pairs, masked.threshold);
    let (mut above, mut listed) = (Above::default(), 0);
    for at in 0..pairs.images.len() {
        let (begin, pair) = (rows.found(), Pair::new(pairs, at));
        let found = rows.cut(&pair);
        above += found;
        let cells = found.cells as usize;
        if cells > most {
            scratch.dense.select_words(&rows.rows()[begin..]);
            totals[at] = dense::masked(simd, rule, masked, &pair, &mut scratch.dense);
            rows.truncate(begin);
        } else if listed + cells > listed::ROOM {
            let before = ListedRows {
                pairs,
                rows: &rows.rows()[..begin],
                count: listed,
            };
            scratch.listed.add_answers(simd, weight, &before, totals);
            rows.drop_before(begin);
            listed = cells;
        } else {
            listed += cells;
        }
    }
    let last = ListedRows {
        pairs,
        rows: rows.rows(),
        count: listed,
    };
    scratch.listed.add_answers(simd, weight, &last, totals);
    above
}

/// One pair of a caption's pairs.
#[derive(Debug, Clone, Copy)]
struct Pair<'a> {
    tile: Tile<'a>,
    word_gram: &'a [f32],
    word_stride: usize,
    image: ImageColumns<'a>,
    /// The image: its index among those of the [`CaptionPairs`].
    at: usize,
    region_stride: usize,
}

impl<'a> Pair<'a> {
    #[inline(always)]
    fn new(pairs: &CaptionPairs<'a>, at: usize) -> Self {
        let image = pairs.images[at];
        Self {
            tile: pairs.tile,
            word_gram: pairs.word_gram,
            word_stride: crate::packed::gram_stride(pairs.tile.words),
            image,
            at,
            region_stride: crate::packed::gram_stride(image.count),
        }
    }
}
