//! One round of screening: finds the pairs of some captions that may change a list or a rank, and
//! computes them in f32.

use rayon::prelude::*;

use super::Screening;
use super::recomputation::OpenPair;
use super::screening::ScreenedPair;
use crate::kernel::answers::VisiblePanels;
use crate::results::{Ranked, offer};
use crate::search::tiles::Task;

/// To set the bar of a query, this many of its pairs are computed in f32 first for each entry of
/// its list.
const SEEDS: usize = 2;

/// If a round recomputes at least this share of its cells in f32, computing all of them in f32 without
/// screening is cheaper.
const LARGEST_RECOMPUTED_SHARE: f64 = 0.5;

/// How many neighbouring images of a row of pairs one task goes through.
const IMAGES_AT_ONCE: usize = 64;

/// The screened pairs of some captions with all images.
struct Round {
    first_caption: usize,
    images: usize,
    /// Row-major [captions, images].
    pairs: Vec<ScreenedPair>,
}

impl Round {
    /// The pair at an index of `pairs`.
    fn open(&self, at: usize) -> OpenPair {
        OpenPair {
            image: at % self.images,
            caption: self.first_caption + at / self.images,
            visible: self.pairs[at].reach.visible,
        }
    }

    /// The index of a pair in `pairs`.
    fn index(&self, pair: &OpenPair) -> usize {
        (pair.caption - self.first_caption) * self.images + pair.image
    }
}

/// Marks pairs that are decided: a reach below every bar.
const DECIDED: f32 = f32::NEG_INFINITY;

impl Screening<'_> {
    /// Runs a round in bf16, and in f32 for pairs that bf16 leaves open. Returns whether the next round
    /// should be screened too.
    pub(super) fn screened_round(&mut self, tasks: &[Task]) -> bool {
        let Some(first) = tasks.first() else {
            return true;
        };
        let (pairs, above) = self.screened_pairs(tasks);
        self.above += above;
        let mut round = Round {
            first_caption: first.captions.start,
            images: self.fragments.regions.images(),
            pairs,
        };
        self.write(&round);
        let mut work = 0;
        if self.bars.top() > 0 {
            let seeds = self.seeds(&round);
            work += self.decide(&mut round, seeds);
        }
        let rest = self.reaching(&round);
        work += self.decide(&mut round, rest);
        if self.bars.may_list_zero() {
            self.list_zeros(&round);
        }
        let counts = self.fragments.words.counts();
        let captions = round.pairs.len() / round.images.max(1);
        let words: usize = counts[round.first_caption..][..captions].iter().sum();
        let all = words * self.fragments.regions.counts().iter().sum::<usize>();
        (work as f64) < LARGEST_RECOMPUTED_SHARE * all as f64
    }

    /// Runs a round in f32 without screening.
    pub(super) fn plain_round(&mut self, tasks: &[Task]) {
        let images = self.fragments.regions.images();
        let (similarities, above) = self.plain_pairs(tasks);
        self.above += above;
        self.recomputed += similarities.len() as u64;
        for (at, similarity) in similarities.into_iter().enumerate() {
            let (image, caption) = (at % images, tasks[0].captions.start + at / images);
            self.bars.record(image, caption, similarity);
            self.set(image, caption, similarity);
        }
    }

    /// Computes the similarity in f32 of matched pairs (image, caption) and records it in the bars.
    pub(super) fn match_pairs(&mut self, matched: &[(usize, usize)]) -> Vec<(OpenPair, f32)> {
        let mut open: Vec<OpenPair> = matched
            .iter()
            .map(|&(image, caption)| OpenPair {
                image,
                caption,
                visible: VisiblePanels::ALL,
            })
            .collect();
        let (similarities, _) = self.recompute(&mut open);
        for (pair, &similarity) in open.iter().zip(&similarities) {
            self.bars.record_match(pair.image, pair.caption, similarity);
        }
        open.into_iter().zip(similarities).collect()
    }

    /// Writes similarities in bf16 to the matrix; those in f32 replace them later.
    fn write(&mut self, round: &Round) {
        let Some(matrix) = &mut self.matrix else {
            return;
        };
        let captions = matrix.captions;
        let rows = matrix.values.par_chunks_exact_mut(captions).enumerate();
        rows.for_each(|(image, row)| {
            let own = &mut row[round.first_caption..];
            let column = round.pairs.iter().skip(image).step_by(round.images);
            for (out, pair) in own.iter_mut().zip(column) {
                *out = pair.similarity;
            }
        });
    }

    /// The pairs of the highest reach of each query, as many as its bar needs.
    fn seeds(&self, round: &Round) -> Vec<usize> {
        let most = SEEDS.saturating_mul(self.bars.top());
        let rows = round.pairs.par_chunks_exact(round.images).enumerate();
        let seeds_of_captions = rows.flat_map_iter(|(row, pairs)| {
            let bar = self
                .bars
                .bar(&self.bars.captions[round.first_caption + row]);
            let best = highest_reach(pairs.iter().enumerate(), most, bar);
            best.into_iter().map(move |at| row * round.images + at)
        });
        let mut seeds: Vec<usize> = seeds_of_captions.collect();
        let blocks = self.bars.images.par_chunks(IMAGES_AT_ONCE).enumerate();
        let seeds_of_images = blocks.flat_map_iter(|(block, queries)| {
            let first = block * IMAGES_AT_ONCE;
            let mut lists = vec![Vec::new(); queries.len()];
            for (row, pairs) in round.pairs.chunks_exact(round.images).enumerate() {
                let own = &pairs[first..][..queries.len()];
                for ((pair, query), list) in own.iter().zip(queries).zip(&mut lists) {
                    if may_reach(pair, self.bars.bar(query)) {
                        offer(list, most, candidate(row, pair));
                    }
                }
            }
            let lists = lists.into_iter().enumerate();
            lists.flat_map(move |(image, list)| {
                let rows = list.into_iter().map(|held| held.index);
                rows.map(move |row| row * round.images + first + image)
            })
        });
        seeds.par_extend(seeds_of_images);
        seeds.par_sort_unstable();
        seeds.dedup();
        seeds
    }

    /// The pairs whose reach is not below the bar of their image or of their caption.
    fn reaching(&self, round: &Round) -> Vec<usize> {
        let images = self.bars.images.iter();
        let bars_of_images: Vec<f32> = images.map(|query| self.bars.bar(query)).collect();
        let rows = round.pairs.par_chunks_exact(round.images).enumerate();
        let reaching = rows.flat_map_iter(|(row, pairs)| {
            let bar = self
                .bars
                .bar(&self.bars.captions[round.first_caption + row]);
            let pairs = pairs.iter().zip(&bars_of_images).enumerate();
            let reaching =
                pairs.filter(move |(_, (pair, of_image))| may_reach(pair, bar.min(**of_image)));
            reaching.map(move |(at, _)| row * round.images + at)
        });
        reaching.collect()
    }

    /// Computes pairs, by their indices, in f32 and records them. Returns how many cells were multiplied.
    fn decide(&mut self, round: &mut Round, pairs: Vec<usize>) -> usize {
        let mut open: Vec<OpenPair> = pairs.into_iter().map(|at| round.open(at)).collect();
        let (similarities, cells) = self.recompute(&mut open);
        self.recomputed += open.len() as u64;
        for (pair, similarity) in open.iter().zip(similarities) {
            let at = round.index(pair);
            round.pairs[at].reach.similarity = DECIDED;
            self.bars.record(pair.image, pair.caption, similarity);
            self.set(pair.image, pair.caption, similarity);
        }
        cells
    }

    /// Records pairs without any cell above the threshold: they are exactly zero in f32, and may enter a
    /// list.
    fn list_zeros(&mut self, round: &Round) {
        for (at, pair) in round.pairs.iter().enumerate() {
            if pair.reach.visible == VisiblePanels::NONE {
                let open = round.open(at);
                self.bars.record(open.image, open.caption, 0.0);
            }
        }
    }
}

/// Whether a pair is not decided yet and its reach is not below a bar. A reach of NaN counts as not below.
fn may_reach(pair: &ScreenedPair, bar: f32) -> bool {
    let is_below = pair.reach.similarity < bar;
    pair.reach.visible != VisiblePanels::NONE && pair.reach.similarity != DECIDED && !is_below
}

/// A pair as an entry of a list, with its reach in place of its similarity.
fn candidate(index: usize, pair: &ScreenedPair) -> Ranked {
    Ranked {
        index,
        similarity: pair.reach.similarity,
    }
}

/// The `most` pairs of the highest reach among those that may reach a bar.
fn highest_reach<'a>(
    pairs: impl Iterator<Item = (usize, &'a ScreenedPair)>,
    most: usize,
    bar: f32,
) -> Vec<usize> {
    let mut list = Vec::new();
    for (at, pair) in pairs.filter(|(_, pair)| may_reach(pair, bar)) {
        offer(&mut list, most, candidate(at, pair));
    }
    list.into_iter().map(|held| held.index).collect()
}
