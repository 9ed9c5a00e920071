//! What can f32 answer at most, given what bf16 shows? The bound of `docs/exactness.md`, pair by pair.
//!
//! The scalar form, `crate::exact::bound::scalar`, judges this one.

use super::above::Row;
use super::lanes::{Machine, larger};
use super::rule::Rule;
use super::{Above, CaptionPairs, Pair, Scratch};
use crate::exact::bound::{slack, visible_above};

/// The bit that stands for all words from this one on.
const LAST_WORD: u32 = u64::BITS - 1;

/// What bounds a caption's pairs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'a> {
    /// How far relevance in bf16 is from f32, at most, over all images of the tile (lemma 1).
    pub relevance: f32,
    /// Stretches of the words (lemma 3).
    pub words: &'a [f32],
    /// Stretches of each image's regions.
    pub regions: &'a [&'a [f32]],
}

/// A pair as bf16 shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reach {
    /// What the similarity in f32 does not exceed.
    pub similarity: f32,
    /// Words that may see a region: bit i for word i, the last for all others.
    pub words: u64,
}

impl Reach {
    /// No word sees a region: the similarity in f32 is exactly 0.
    pub(crate) const NOTHING: Self = Self {
        similarity: 0.0,
        words: 0,
    };

    /// Whether a word may see a region.
    pub(crate) fn sees(&self, word: usize) -> bool {
        self.words >> word.min(LAST_WORD as usize) & 1 == 1
    }
}

/// Sums of the pair at hand, region by region.
#[derive(Debug, Default)]
pub(super) struct Sums {
    regions: Vec<Region>,
}

/// What a region sees.
#[derive(Debug, Clone, Copy, Default)]
struct Region {
    /// Squares of the highest possible relevance, over the visible words.
    squares: f32,
    /// Visible words.
    visible: u32,
    /// Words above the threshold in bf16.
    above: u32,
}

/// Writes the reach of the pair with each image; returns what is above the threshold in bf16.
#[inline(always)]
pub(super) fn reach<M: Machine>(
    (rule, threshold): (&Rule, f32),
    (pairs, bounds): (&CaptionPairs<'_>, &Bounds<'_>),
    (scratch, out): (&mut Scratch, &mut [Reach]),
) -> Above {
    let (bitmap, sums) = (&mut scratch.above, &mut scratch.reach);
    let lowest = visible_above(threshold, bounds.relevance);
    bitmap.compare::<M>(pairs, lowest);
    let mut above = Above::default();
    let images = pairs.images.iter().zip(bounds.regions);
    for ((image, stretches), out) in images.zip(out) {
        let pair = Pair::new(pairs, *image);
        if bitmap.cut(&pair) == 0 {
            *out = Reach::NOTHING;
            continue;
        }
        let limits = (threshold, bounds.relevance, *stretches);
        let (words, seeing) = sums.add_words(&pair, bitmap.rows(), limits, &mut above);
        let regions = sums.add_regions(bitmap.columns(), bounds.words, &mut above);
        let highest = rule.similarity((words, pair.tile.words), (regions, image.count));
        *out = Reach {
            similarity: highest * slack(pair.tile.words, image.count) as f32,
            words: seeing,
        };
    }
    above
}

impl Sums {
    /// The sum over the words of what each answers at most, and the words that see a region.
    #[inline(always)]
    fn add_words(
        &mut self,
        pair: &Pair<'_>,
        rows: &[Row],
        (threshold, bound, stretches): (f32, f32, &[f32]),
        above: &mut Above,
    ) -> (f32, u64) {
        self.regions.clear();
        self.regions.resize(pair.image.count, Region::default());
        let (mut total, mut seeing) = (0.0, 0);
        for rows in rows.chunk_by(|a, b| a.word == b.word) {
            let (mut squares, mut visible, mut cells) = (0.0, 0, 0);
            for row in rows {
                let start = row.word as usize * pair.tile.stride + pair.image.start;
                let mut bits = row.bits;
                visible += bits.count_ones();
                while bits != 0 {
                    let at = (row.region + bits.trailing_zeros()) as usize;
                    bits &= bits - 1;
                    let s = pair.tile.cells[start + at];
                    let highest = larger(s + bound, 0.0);
                    let is_above = u32::from(s > threshold);
                    let region = &mut self.regions[at];
                    region.squares += highest * highest;
                    region.visible += 1;
                    region.above += is_above;
                    squares += highest * highest;
                    cells += is_above;
                }
            }
            total += answer(squares, stretches[visible as usize]);
            seeing |= 1 << rows[0].word.min(LAST_WORD);
            above.cells += u64::from(cells);
            above.word_queries += u64::from(cells > 0);
        }
        (total, seeing)
    }

    /// The sum over the regions of what each answers at most.
    #[inline(always)]
    fn add_regions(
        &self,
        columns: impl Iterator<Item = usize>,
        stretches: &[f32],
        above: &mut Above,
    ) -> f32 {
        let mut total = 0.0;
        for at in columns {
            let region = &self.regions[at];
            total += answer(region.squares, stretches[region.visible as usize]);
            above.region_queries += u64::from(region.above > 0);
        }
        total
    }
}

/// What a query answers at most; nothing where nothing is above zero, whatever may cancel.
#[inline(always)]
fn answer(squares: f32, stretch: f32) -> f32 {
    if squares > 0.0 {
        squares.sqrt() * stretch
    } else {
        0.0
    }
}
