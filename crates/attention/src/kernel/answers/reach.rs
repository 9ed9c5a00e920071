//! The reach of a pair: an upper bound of its similarity in f32, from its relevance in bf16, as
//! `docs/exactness.md` proves it.
//!
//! Tests compare it with the scalar form in `exact/bound/tests/scalar.rs`.

use uard_linalg::vector::sixteen::{LANES, Sixteen, SixteenLoops};

use super::above::Row;
use super::rule::{Masked, Rule};
use super::{Above, AnswerSums, CaptionPairs, ImageColumns, Pair, Scratch, maxsim};
use crate::exact::bound::{slack, visible_above};

/// The errors of bf16 that bound the pairs of a caption.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'a> {
    /// The most by which relevance in bf16 differs from f32, over all images of the tile (lemma 1).
    pub relevance: f32,
    /// [`crate::exact::bound::gram_error`] for all of them.
    pub gram_error: f32,
    /// [`crate::exact::bound::alone`] for the words.
    pub word_alone: f32,
    /// [`crate::exact::bound::alone`] for the regions of each image.
    pub region_alone: &'a [f32],
}

/// An upper bound of a pair's similarity in f32, and where its cells may be above the threshold in
/// f32; both are computed from relevance in bf16.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reach {
    /// The similarity in f32 does not exceed this.
    pub similarity: f32,
    /// Which words may have a cell above the threshold in which panels.
    pub visible: VisiblePanels,
}

/// A bit for each word and each panel of the image's regions: whether f32 may have a cell above the
/// threshold there. Bits are ordered by word, then panel; where 64 are too few, neighbours share
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VisiblePanels(u64);

/// Which bit of [`VisiblePanels`] belongs to a word and a panel of one pair.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PanelBits {
    panels: usize,
    /// Two to this power neighbours share a bit.
    shared: u32,
}

impl PanelBits {
    /// The bits of a pair: a caption of `words` words and an image, in a tile whose column 0 begins
    /// a panel.
    pub(crate) fn new(words: usize, image: &ImageColumns<'_>) -> Self {
        let panels = (image.start % LANES + image.count).div_ceil(LANES);
        let bits = (words * panels).div_ceil(u64::BITS as usize);
        Self {
            panels,
            shared: bits.next_power_of_two().trailing_zeros(),
        }
    }

    fn bit(&self, word: usize, panel: usize) -> u32 {
        ((word * self.panels + panel) >> self.shared) as u32
    }
}

impl VisiblePanels {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// Whether a word may have a cell above the threshold in a panel; panel 0 holds the first
    /// region of the image.
    pub(crate) fn contains(self, bits: &PanelBits, word: usize, panel: usize) -> bool {
        self.0 >> bits.bit(word, panel) & 1 == 1
    }
}

impl Reach {
    /// No cell can be above the threshold in f32: the similarity is exactly 0.
    pub(crate) const NOTHING: Self = Self {
        similarity: 0.0,
        visible: VisiblePanels::NONE,
    };

    /// Nothing is proven: the similarity is not bounded, and any cell may be above the threshold.
    pub(crate) const UNKNOWN: Self = Self {
        similarity: f32::INFINITY,
        visible: VisiblePanels::ALL,
    };
}

/// The visible cells of one pair: those that may be above the threshold in f32.
#[derive(Debug, Default)]
pub(super) struct VisibleCells {
    /// By word, then region.
    cells: Vec<Cell>,
    /// For each region its last cell in the list, or [`NONE`].
    last: Vec<u32>,
    /// The cells of one region.
    group: Vec<Cell>,
}

/// A visible cell.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// The highest relevance that it can have in f32.
    highest: f32,
    /// Whether it is above the threshold in bf16.
    is_above: bool,
    word: u32,
    region: u32,
    /// The cell of the same region before this one in the list, or [`NONE`].
    before: u32,
}

/// The index of no cell.
const NONE: u32 = u32::MAX;

/// A Gram matrix of one side of a pair.
#[derive(Debug, Clone, Copy)]
struct Gram<'a> {
    products: &'a [f32],
    /// From the beginning of a row to that of the next.
    stride: usize,
}

/// Writes the reach of a caption's pair with each image, for a rule with a threshold; counts what
/// is above the threshold in bf16.
pub(super) struct BoundCaption<'a> {
    pub rule: &'a Rule,
    pub masked: Masked,
    pub pairs: &'a CaptionPairs<'a>,
    pub bounds: &'a Bounds<'a>,
    pub scratch: &'a mut Scratch,
    pub out: &'a mut [Reach],
}

impl SixteenLoops for BoundCaption<'_> {
    type Output = Above;

    #[inline(always)]
    fn run<S: Sixteen>(self, simd: S) -> Above {
        let Self {
            rule,
            masked,
            pairs,
            bounds,
            scratch,
            out,
        } = self;
        let Masked {
            threshold,
            answers_below,
            ..
        } = masked;
        let lowest = visible_above(threshold, bounds.relevance);
        // NaN where there is no bound.
        if lowest <= 0.0 || lowest.is_nan() {
            out.fill(Reach::UNKNOWN);
            return Above::default();
        }
        scratch.above.compare(simd, pairs, lowest);
        scratch.clear_totals(out.len());
        if answers_below {
            maxsim::add_below(simd, rule, lowest, pairs, scratch);
        }
        let (bitmap, cells) = (&mut scratch.above, &mut scratch.reach);
        let mut above = Above::default();
        for (at, (&region_alone, out)) in bounds.region_alone.iter().zip(out).enumerate() {
            let pair = Pair::new(pairs, at);
            if bitmap.cut(&pair).cells == 0 && !answers_below {
                *out = Reach::NOTHING;
                continue;
            }
            let visible = cells.list(&pair, bitmap.rows(), threshold, bounds.relevance);
            bitmap.truncate(0);
            let limits = |alone| Limits {
                alone,
                error: bounds.gram_error,
                answers_below,
            };
            let words = cells.bound_words(simd, &pair, &limits(region_alone), &mut above);
            let regions = cells.bound_regions(simd, &pair, &limits(bounds.word_alone), &mut above);
            let (word_count, region_count) = (pair.tile.words, pair.image.count);
            let below = scratch.totals[at];
            let sums = AnswerSums {
                words: words + below.words,
                regions: regions + below.regions,
            };
            let highest = rule.similarity(sums, word_count, region_count);
            let slack = slack(word_count, region_count) as f32;
            *out = if answers_below {
                Reach {
                    similarity: highest + rule.sides() * missed(bounds.relevance, slack),
                    visible: VisiblePanels::ALL,
                }
            } else {
                Reach {
                    similarity: highest * slack,
                    visible,
                }
            };
        }
        above
    }
}

/// What each side with queries adds to the reach under the rules `nearest` and `maxsim`: the error
/// of relevance, as if every query added its highest relevance, and the rounding errors. These are
/// added, not multiplied, because terms of either sign may cancel; |R| is below 2.25.
pub(crate) fn missed(bound: f32, slack: f32) -> f32 {
    1.01 * bound + 2.25 * (slack - 1.0)
}

impl VisibleCells {
    /// Lists the cells of these rows; `error` is that of relevance in bf16.
    #[inline(always)]
    fn list(&mut self, pair: &Pair<'_>, rows: &[Row], threshold: f32, error: f32) -> VisiblePanels {
        let panel_bits = PanelBits::new(pair.tile.words, &pair.image);
        let within = pair.image.start % LANES;
        self.cells.clear();
        self.last.clear();
        self.last.resize(pair.image.count, NONE);
        let mut visible = 0;
        for row in rows {
            let first = row.column as usize - pair.image.start;
            let start = row.word as usize * pair.tile.stride + pair.image.start;
            let mut bits = row.bits;
            while bits != 0 {
                let at = first + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let last = &mut self.last[at];
                visible |= 1 << panel_bits.bit(row.word as usize, (within + at) / LANES);
                let before = std::mem::replace(last, self.cells.len() as u32);
                let s = pair.tile.cells[start + at];
                self.cells.push(Cell {
                    highest: s + error,
                    is_above: s > threshold,
                    word: row.word,
                    region: at as u32,
                    before,
                });
            }
        }
        VisiblePanels(visible)
    }

    /// The sum of upper bounds of R over the words.
    #[inline(always)]
    fn bound_words<S: Sixteen>(
        &self,
        simd: S,
        pair: &Pair<'_>,
        limits: &Limits,
        above: &mut Above,
    ) -> f32 {
        let gram = Gram {
            products: pair.image.gram,
            stride: pair.region_stride,
        };
        let mut total = 0.0;
        for cells in self.cells.chunk_by(|a, b| a.word == b.word) {
            let own = cells.iter().filter(|cell| cell.is_above).count();
            above.cells += own as u64;
            above.word_queries += u64::from(own > 0);
            total += bound_answer(simd, cells, |cell| cell.region as usize, gram, limits);
        }
        total
    }

    /// The sum of upper bounds of R over the regions.
    #[inline(always)]
    fn bound_regions<S: Sixteen>(
        &mut self,
        simd: S,
        pair: &Pair<'_>,
        limits: &Limits,
        above: &mut Above,
    ) -> f32 {
        let gram = Gram {
            products: pair.word_gram,
            stride: pair.word_stride,
        };
        let mut total = 0.0;
        for (cell, found) in self.cells.iter().enumerate() {
            let mut at = cell as u32;
            if self.last[found.region as usize] != at {
                continue;
            }
            self.group.clear();
            while at != NONE {
                let cell = self.cells[at as usize];
                self.group.push(cell);
                at = cell.before;
            }
            above.region_queries += u64::from(self.group.iter().any(|cell| cell.is_above));
            total += bound_answer(simd, &self.group, |cell| cell.word as usize, gram, limits);
        }
        total
    }
}

/// The numbers that bound the answers of one side.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// [`crate::exact::bound::alone`] for the fragments of the other side.
    alone: f32,
    /// [`crate::exact::bound::gram_error`].
    error: f32,
    /// Whether R of a query may be its highest cell, whatever the length of the attended vector.
    answers_below: bool,
}

/// An upper bound of R in f32 of a query with these visible cells, whichever of them f32 has above
/// the threshold.
#[inline(always)]
fn bound_answer<S: Sixteen>(
    simd: S,
    cells: &[Cell],
    fragment: impl Fn(&Cell) -> usize,
    gram: Gram<'_>,
    limits: &Limits,
) -> f32 {
    let attended = bound_attended(simd, cells, fragment, gram, limits);
    if !limits.answers_below {
        return attended;
    }
    let highest = cells.iter().map(|cell| cell.highest);
    highest.fold(attended, |most, x| if x > most { x } else { most })
}

/// An upper bound of R in f32 of a query that attends to some of these cells (lemmas 3 and 4).
///
/// It is the length of a', the sum of the fragments weighted by their highest relevance, scaled
/// until its product with each fragment is at least the highest relevance there.
#[inline(always)]
fn bound_attended<S: Sixteen>(
    simd: S,
    cells: &[Cell],
    fragment: impl Fn(&Cell) -> usize,
    gram: Gram<'_>,
    limits: &Limits,
) -> f32 {
    let Limits { alone, error, .. } = *limits;
    if let [cell] = cells {
        return cell.highest * alone;
    }
    let (mut total, mut least) = (0.0, f32::INFINITY);
    for cell in cells {
        total += cell.highest;
        least = if cell.highest < least {
            cell.highest
        } else {
            least
        };
    }
    let lost = error * total;
    let (mut scale, mut squared) = (0.0, lost * total);
    for cell in cells {
        let row = &gram.products[fragment(cell) * gram.stride..];
        let mut product = 0.0;
        for other in cells {
            product = simd.times_plus_one(row[fragment(other)], other.highest, product);
        }
        // NaN is not greater either.
        if product.partial_cmp(&lost) != Some(std::cmp::Ordering::Greater) {
            return f32::INFINITY;
        }
        squared = simd.times_plus_one(cell.highest, product, squared);
        let needed = cell.highest / (product - lost);
        scale = if needed > scale { needed } else { scale };
    }
    let length = scale * squared.sqrt();
    let ratio = length / least;
    let lost = error * ratio * ratio;
    if lost <= 0.5 {
        length * (1.0 + lost)
    } else {
        f32::INFINITY
    }
}
