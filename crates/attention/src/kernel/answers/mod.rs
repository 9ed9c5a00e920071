//! What is the similarity of a caption with each image of a block, given their relevance in cache?
//!
//! The formulas of [`crate::side`], f32, written once as loops over vectors of 16 numbers and compiled
//! for each instruction set. Per pair, for the masked rule:
//!
//! 1. One compare a cell gives a bitmap; a pair without a bit is exactly 0 (lemma 5), a query
//!    without a bit is skipped (lemma 1). No maximum is computed, but by the rule nearest, which adds
//!    the highest cell of what was skipped.
//! 2. Few bits: the cells are listed, and only pairs of cells that share a query touch a Gram
//!    matrix ([`listed`]). Many bits: matrix products with the Gram matrices ([`dense`]).
//!
//! `R = N / sqrt(Q)` does not change when all weights of a query are scaled, so one exponential a
//! cell serves both sides as long as it stays within f32 ([`rule::Shift`]).
//!
//! The similarity of a pair depends on its relevance and Gram matrices alone, to the last bit: not
//! on its place in the tile, nor on the pairs around it.

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
use listed::Listed;
pub(crate) use reach::{Bounds, Cut, Reach, Seen, missed};
use rule::Rule;

/// Numbers after the last column of a row that may be read, and count for nothing.
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

/// Where one image's regions lie in a tile, and their products with each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImageColumns<'a> {
    /// The first region's column.
    pub start: usize,
    /// Regions.
    pub count: usize,
    /// Gram matrix, rows of [`crate::packed::gram_stride`] of the count.
    pub gram: &'a [f32],
}

/// A caption and the images that it is matched with.
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
    /// Columns up to the last image's end.
    fn columns(&self) -> usize {
        let ends = self.images.iter().map(|image| image.start + image.count);
        ends.max().unwrap_or(0)
    }

    fn check(&self) {
        let columns = self.columns();
        assert!(columns + SLACK <= self.tile.stride, "slack after a row");
        assert!(self.tile.stride.is_multiple_of(LANES), "whole vectors");
        let numbers = self.tile.words * self.tile.stride;
        assert!(self.tile.words > 0 && self.tile.cells.len() >= numbers);
    }
}

/// What is above the threshold, both sides, whichever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Above {
    pub word_queries: u64,
    pub region_queries: u64,
    pub cells: u64,
}

impl std::ops::AddAssign for Above {
    fn add_assign(&mut self, other: Self) {
        self.word_queries += other.word_queries;
        self.region_queries += other.region_queries;
        self.cells += other.cells;
    }
}

/// Answers captions for one rule, threshold and instruction set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answers {
    rule: Rule,
    instructions: Instructions,
}

/// Buffers that are reused from caption to caption.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    above: above::Bitmap,
    listed: listed::Cells,
    dense: dense::Buffers,
    /// Sums of R over an image's words and over its regions.
    totals: Vec<(f32, f32)>,
    /// The highest cell of each column of the block.
    highest: Vec<f32>,
    reach: reach::Cells,
}

impl Answers {
    pub(crate) fn new(config: &MatcherConfig, threshold: f64, instructions: Instructions) -> Self {
        Self {
            rule: Rule::new(config, threshold),
            instructions,
        }
    }

    /// Writes the similarity with each image into `out`; returns what is above the threshold
    /// (nothing for rules without one).
    ///
    /// # Panics
    /// When tile, images and `out` do not fit each other.
    pub(crate) fn of_caption(
        &self,
        pairs: &CaptionPairs<'_>,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Above {
        assert_eq!(out.len(), pairs.images.len(), "a similarity for each image");
        pairs.check();
        self.instructions.run(OfCaption {
            rule: &self.rule,
            pairs,
            scratch,
            out,
        })
    }

    /// Writes into `out` what the similarity with each image may reach in f32, given its relevance
    /// in bf16; returns what is above the threshold in bf16. For rules with a threshold only.
    ///
    /// # Panics
    /// When tile, images, bounds and `out` do not fit each other, or the rule has no threshold.
    pub(crate) fn reach_of_caption(
        &self,
        (pairs, bounds): (&CaptionPairs<'_>, &Bounds<'_>),
        scratch: &mut Scratch,
        out: &mut [Reach],
    ) -> Above {
        let rule::Weights::Masked {
            threshold,
            answers_below,
            ..
        } = self.rule.weights
        else {
            panic!("a rule with a threshold");
        };
        assert_eq!(out.len(), pairs.images.len(), "a reach for each image");
        assert_eq!(bounds.region_alone.len(), out.len(), "and what bounds it");
        pairs.check();
        self.instructions.run(reach::OfCaption {
            rule: &self.rule,
            threshold,
            answers_below,
            pairs,
            bounds,
            scratch,
            out,
        })
    }
}

/// The similarity of a caption with each of its images.
struct OfCaption<'a> {
    rule: &'a Rule,
    pairs: &'a CaptionPairs<'a>,
    scratch: &'a mut Scratch,
    out: &'a mut [f32],
}

impl SixteenLoops for OfCaption<'_> {
    type Output = Above;

    #[inline(always)]
    fn run<S: Sixteen>(self, simd: S) -> Above {
        let Self {
            rule,
            pairs,
            scratch,
            out,
        } = self;
        scratch.totals.clear();
        scratch.totals.resize(out.len(), (0.0, 0.0));
        let mut above = Above::default();
        match rule.weights {
            // Nothing is above infinity: every query answers with its highest cell.
            rule::Weights::MaxSim => {
                let threshold = f32::INFINITY;
                maxsim::add_below(simd, (rule, threshold), pairs, scratch);
            }
            rule::Weights::Scan { shift } => {
                for (at, total) in scratch.totals.iter_mut().enumerate() {
                    let pair = Pair::new(pairs, at);
                    *total = dense::scan(simd, (rule, shift), &pair, &mut scratch.dense);
                }
            }
            rule::Weights::Masked {
                threshold,
                shift,
                answers_below,
            } => {
                above = masked(simd, (rule, threshold, shift), pairs, scratch);
                if answers_below {
                    maxsim::add_below(simd, (rule, threshold), pairs, scratch);
                }
            }
        }
        for ((total, image), out) in scratch.totals.iter().zip(pairs.images).zip(out) {
            *out = rule.similarity((total.0, pairs.tile.words), (total.1, image.count));
        }
        above
    }
}

/// The masked rule, to the sums of each image: pairs with few cells are listed and answered
/// together, others one by one.
#[inline(always)]
fn masked<S: Sixteen>(
    simd: S,
    (rule, threshold, shift): (&Rule, f32, rule::Shift),
    pairs: &CaptionPairs<'_>,
    scratch: &mut Scratch,
) -> Above {
    // Where nothing may be listed, every pair is weighed in full.
    let (most, listed_shift) = match shift {
        rule::Shift::Constant(shift) if threshold >= 0.0 => (listed::MOST, shift),
        _ => (0, 0.0),
    };
    let weigh = (rule.words.inverse_temperature, listed_shift);
    let (rows, totals) = (&mut scratch.above, &mut scratch.totals);
    rows.compare(simd, pairs, threshold);
    let (mut above, mut listed) = (Above::default(), 0);
    for at in 0..pairs.images.len() {
        let (begin, pair) = (rows.found(), Pair::new(pairs, at));
        let found = rows.cut(&pair);
        above += found;
        let cells = found.cells as usize;
        if cells > most {
            let its = &rows.rows()[begin..];
            let rule = (rule, threshold, shift);
            totals[at] = dense::masked(simd, rule, &pair, its, &mut scratch.dense);
            rows.keep(begin);
        } else if listed + cells > listed::ROOM {
            let before = Listed {
                pairs,
                rows: &rows.rows()[..begin],
                count: listed,
            };
            scratch.listed.answer(simd, weigh, &before, totals);
            rows.forget(begin);
            listed = cells;
        } else {
            listed += cells;
        }
    }
    let last = Listed {
        pairs,
        rows: rows.rows(),
        count: listed,
    };
    scratch.listed.answer(simd, weigh, &last, totals);
    above
}

/// One pair cut out of a caption's pairs.
#[derive(Debug, Clone, Copy)]
struct Pair<'a> {
    tile: Tile<'a>,
    word_gram: &'a [f32],
    word_stride: usize,
    image: ImageColumns<'a>,
    /// The image, counted in the caption's pairs.
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
