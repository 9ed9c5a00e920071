//! What can f32 answer at most, given what bf16 shows? The bound of `docs/exactness.md`, pair by pair.
//!
//! The scalar form, `crate::exact::bound::scalar`, judges this one.

use uard_linalg::vector::sixteen::{LANES, Sixteen, SixteenLoops};

use super::above::Row;
use super::rule::Rule;
use super::{Above, CaptionPairs, Pair, Scratch, maxsim};
use crate::exact::bound::{slack, visible_above};

/// What bounds a caption's pairs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'a> {
    /// How far relevance in bf16 is from f32, at most, over all images of the tile (lemma 1).
    pub relevance: f32,
    /// [`crate::exact::bound::gram_error`] for all of them.
    pub gram_error: f32,
    /// [`crate::exact::bound::alone`] for the words.
    pub word_alone: f32,
    /// The same for the regions of each image.
    pub region_alone: &'a [f32],
}

/// A pair as bf16 shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reach {
    /// What the similarity in f32 does not exceed.
    pub similarity: f32,
    /// Which words may see something in which panels.
    pub seen: Seen,
}

/// A bit for each word and panel of the image's regions, word by word; where there are more than
/// 64, neighbours share a bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(u64);

/// How a pair is cut into words and panels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    panels: usize,
    /// Two to this power words and panels share a bit.
    shared: u32,
}

impl Cut {
    /// A pair whose regions begin at a column of a tile that begins with a panel.
    pub(crate) fn new(words: usize, (start, regions): (usize, usize)) -> Self {
        let panels = (start % LANES + regions).div_ceil(LANES);
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

impl Seen {
    pub(crate) const NOTHING: Self = Self(0);
    pub(crate) const EVERYTHING: Self = Self(u64::MAX);

    /// Whether a word may see a region of a panel, the first of the image being 0.
    pub(crate) fn sees(self, cut: &Cut, word: usize, panel: usize) -> bool {
        self.0 >> cut.bit(word, panel) & 1 == 1
    }
}

impl Reach {
    /// No word sees a region: the similarity in f32 is exactly 0.
    pub(crate) const NOTHING: Self = Self {
        similarity: 0.0,
        seen: Seen::NOTHING,
    };

    /// Nothing is known.
    pub(crate) const UNKNOWN: Self = Self {
        similarity: f32::INFINITY,
        seen: Seen::EVERYTHING,
    };
}

/// The visible cells of the pair at hand.
#[derive(Debug, Default)]
pub(super) struct Cells {
    /// By word, then region.
    cells: Vec<Cell>,
    /// Of each region the cell that was listed last.
    last: Vec<u32>,
    /// The cells of a region.
    group: Vec<Cell>,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    /// The highest possible relevance.
    highest: f32,
    /// Whether it is above the threshold in bf16.
    is_above: bool,
    word: u32,
    region: u32,
    /// The cell before, of the same region.
    before: u32,
}

/// No cell.
const NONE: u32 = u32::MAX;

/// The reach of the pair with each image, for a rule with a threshold; tells what is above it in bf16.
pub(super) struct OfCaption<'a> {
    pub rule: &'a Rule,
    pub threshold: f32,
    /// Whether a query below the threshold answers with its highest cell.
    pub answers_below: bool,
    pub pairs: &'a CaptionPairs<'a>,
    pub bounds: &'a Bounds<'a>,
    pub scratch: &'a mut Scratch,
    pub out: &'a mut [Reach],
}

impl SixteenLoops for OfCaption<'_> {
    type Output = Above;

    #[inline(always)]
    fn run<S: Sixteen>(self, simd: S) -> Above {
        let Self {
            rule,
            threshold,
            answers_below,
            pairs,
            bounds,
            scratch,
            out,
        } = self;
        let lowest = visible_above(threshold, bounds.relevance);
        // Also where nothing is bounded at all.
        if lowest <= 0.0 || lowest.is_nan() {
            out.fill(Reach::UNKNOWN);
            return Above::default();
        }
        scratch.above.compare(simd, pairs, lowest);
        scratch.totals.clear();
        scratch.totals.resize(out.len(), (0.0, 0.0));
        if answers_below {
            maxsim::add_below(simd, (rule, lowest), pairs, scratch);
        }
        let (bitmap, cells) = (&mut scratch.above, &mut scratch.reach);
        let mut above = Above::default();
        for (at, (&region_alone, out)) in bounds.region_alone.iter().zip(out).enumerate() {
            let pair = Pair::new(pairs, at);
            if bitmap.cut(&pair).cells == 0 && !answers_below {
                *out = Reach::NOTHING;
                continue;
            }
            let seen = cells.list(&pair, bitmap.rows(), (threshold, bounds.relevance));
            bitmap.keep(0);
            let limits = |alone| Limits {
                alone,
                error: bounds.gram_error,
                answers_below,
            };
            let words = cells.words(simd, &pair, &limits(region_alone), &mut above);
            let regions = cells.regions(simd, &pair, &limits(bounds.word_alone), &mut above);
            let (count, below) = (pair.image.count, scratch.totals[at]);
            let words = (words + below.0, pair.tile.words);
            let highest = rule.similarity(words, (regions + below.1, count));
            let slack = slack(pair.tile.words, count) as f32;
            *out = if answers_below {
                Reach {
                    similarity: highest + rule.sides() * missed(bounds.relevance, slack),
                    seen: Seen::EVERYTHING,
                }
            } else {
                Reach {
                    similarity: highest * slack,
                    seen,
                }
            };
        }
        above
    }
}

/// What is added for each side that asks where queries below the threshold answer: the bound, as if
/// none of them were visible, and roundings of terms that may cancel. No relevance of what is
/// screened is above 2.25.
pub(crate) fn missed(bound: f32, slack: f32) -> f32 {
    1.01 * bound + 2.25 * (slack - 1.0)
}

impl Cells {
    #[inline(always)]
    fn list(&mut self, pair: &Pair<'_>, rows: &[Row], (threshold, bound): (f32, f32)) -> Seen {
        let cut = Cut::new(pair.tile.words, (pair.image.start, pair.image.count));
        let within = pair.image.start % LANES;
        self.cells.clear();
        self.last.clear();
        self.last.resize(pair.image.count, NONE);
        let mut seen = 0;
        for row in rows {
            let first = row.column as usize - pair.image.start;
            let start = row.word as usize * pair.tile.stride + pair.image.start;
            let mut bits = row.bits;
            while bits != 0 {
                let at = first + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let last = &mut self.last[at];
                seen |= 1 << cut.bit(row.word as usize, (within + at) / LANES);
                let before = std::mem::replace(last, self.cells.len() as u32);
                let s = pair.tile.cells[start + at];
                self.cells.push(Cell {
                    highest: s + bound,
                    is_above: s > threshold,
                    word: row.word,
                    region: at as u32,
                    before,
                });
            }
        }
        Seen(seen)
    }

    /// The sum over the words of what each answers at most.
    #[inline(always)]
    fn words<S: Sixteen>(
        &self,
        simd: S,
        pair: &Pair<'_>,
        limits: &Limits,
        above: &mut Above,
    ) -> f32 {
        let gram = (pair.image.gram, pair.region_stride);
        let mut total = 0.0;
        for cells in self.cells.chunk_by(|a, b| a.word == b.word) {
            let own = cells.iter().filter(|cell| cell.is_above).count();
            above.cells += own as u64;
            above.word_queries += u64::from(own > 0);
            total += answer(simd, cells, |cell| cell.region as usize, gram, limits);
        }
        total
    }

    /// The sum over the regions of what each answers at most.
    #[inline(always)]
    fn regions<S: Sixteen>(
        &mut self,
        simd: S,
        pair: &Pair<'_>,
        limits: &Limits,
        above: &mut Above,
    ) -> f32 {
        let gram = (pair.word_gram, pair.word_stride);
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
            total += answer(simd, &self.group, |cell| cell.word as usize, gram, limits);
        }
        total
    }
}

/// What bounds the answers of one side.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// [`crate::exact::bound::alone`] for what is looked at.
    alone: f32,
    /// [`crate::exact::bound::gram_error`].
    error: f32,
    /// Whether a query may answer with its highest cell alone, whatever the length of what it sees.
    answers_below: bool,
}

/// What a query answers at most that sees these cells, though f32 may see none of them.
#[inline(always)]
fn answer<S: Sixteen>(
    simd: S,
    cells: &[Cell],
    fragment: impl Fn(&Cell) -> usize,
    gram: (&[f32], usize),
    limits: &Limits,
) -> f32 {
    let attended = attended(simd, cells, fragment, gram, (limits.alone, limits.error));
    if !limits.answers_below {
        return attended;
    }
    let highest = cells.iter().map(|cell| cell.highest);
    highest.fold(attended, |most, x| if x > most { x } else { most })
}

/// Lemmas 3 and 4: what a query answers at most that attends to these cells.
///
/// The attended vector a' of the highest relevances as weights, made so long that it has at least
/// the highest relevance with every fragment seen: no other attended vector answers more than |a'|.
#[inline(always)]
fn attended<S: Sixteen>(
    simd: S,
    cells: &[Cell],
    fragment: impl Fn(&Cell) -> usize,
    (gram, stride): (&[f32], usize),
    (alone, error): (f32, f32),
) -> f32 {
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
        let row = &gram[fragment(cell) * stride..];
        let mut product = 0.0;
        for other in cells {
            product = simd.times_plus_one(row[fragment(other)], other.highest, product);
        }
        // What is no number is not greater either.
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
