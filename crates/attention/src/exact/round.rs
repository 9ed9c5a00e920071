//! Which pairs of some captions matter to a list or a rank, and what are they in f32?

use rayon::prelude::*;

use super::Course;
use super::recomputation::Open;
use super::screening::{Known, Screened};
use crate::kernel::answers::Seen;
use crate::results::{Ranked, offer};
use crate::search::tiles::Task;

/// Pairs that set the first bars, for each place of a list.
const SEEDS: usize = 2;

/// The share of a round's cells, computed again in f32, from which on f32 without screening is the
/// cheaper way.
const IN_VAIN: f64 = 0.5;

/// Images that a thread goes through at once: neighbours in a row of pairs.
const IMAGES_AT_ONCE: usize = 64;

/// What is known of the pairs of some captions.
struct Round {
    first_caption: usize,
    images: usize,
    /// Row-major [captions, images].
    pairs: Vec<Screened>,
}

impl Round {
    fn open(&self, at: usize) -> Open {
        Open {
            image: at % self.images,
            caption: self.first_caption + at / self.images,
            seen: self.pairs[at].reach.seen,
        }
    }

    fn at(&self, pair: &Open) -> usize {
        (pair.caption - self.first_caption) * self.images + pair.image
    }
}

/// The reach of what needs no second look.
const DECIDED: f32 = f32::NEG_INFINITY;

impl Course<'_> {
    /// A round in bf16, with f32 where that is open; whether the next should be like it.
    pub(super) fn screened_round(&mut self, tasks: &[Task]) -> bool {
        let Some(first) = tasks.first() else {
            return true;
        };
        let (pairs, above) = self.show::<Screened>(tasks);
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
        (work as f64) < IN_VAIN * all as f64
    }

    /// A round in f32.
    pub(super) fn plain_round(&mut self, tasks: &[Task]) {
        let images = self.fragments.regions.images();
        let (pairs, above) = self.show::<Known>(tasks);
        self.above += above;
        self.recomputed += pairs.len() as u64;
        for (at, known) in pairs.iter().enumerate() {
            let pair = (at % images, tasks[0].captions.start + at / images);
            self.bars.record(pair, known.0);
            self.set(pair, known.0);
        }
    }

    /// The similarity in f32 of matched pairs, which sets bars.
    pub(super) fn match_pairs(&mut self, matched: &[(usize, usize)]) -> Vec<((usize, usize), f32)> {
        let mut open: Vec<Open> = matched
            .iter()
            .map(|&(image, caption)| Open {
                image,
                caption,
                seen: Seen::EVERYTHING,
            })
            .collect();
        let (similarities, _) = self.recompute(&mut open);
        let known = open.iter().zip(similarities);
        let known: Vec<_> = known
            .map(|(pair, similarity)| ((pair.image, pair.caption), similarity))
            .collect();
        for &(pair, similarity) in &known {
            self.bars.record_match(pair, similarity);
        }
        known
    }

    /// What bf16 says goes into the matrix; what f32 says will replace it.
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

    /// The pairs of each query that reach furthest, as many as set its bar.
    fn seeds(&self, round: &Round) -> Vec<usize> {
        let most = SEEDS.saturating_mul(self.bars.top());
        let rows = round.pairs.par_chunks_exact(round.images).enumerate();
        let of_captions = rows.flat_map_iter(|(row, pairs)| {
            let bar = self.bars.of(&self.bars.captions[round.first_caption + row]);
            let best = furthest(pairs.iter().enumerate(), most, bar);
            best.into_iter().map(move |at| row * round.images + at)
        });
        let mut seeds: Vec<usize> = of_captions.collect();
        let blocks = self.bars.images.par_chunks(IMAGES_AT_ONCE).enumerate();
        let of_images = blocks.flat_map_iter(|(block, queries)| {
            let first = block * IMAGES_AT_ONCE;
            let mut lists = vec![Vec::new(); queries.len()];
            for (row, pairs) in round.pairs.chunks_exact(round.images).enumerate() {
                let own = &pairs[first..][..queries.len()];
                for ((pair, query), list) in own.iter().zip(queries).zip(&mut lists) {
                    if may_reach(pair, self.bars.of(query)) {
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
        seeds.par_extend(of_images);
        seeds.par_sort_unstable();
        seeds.dedup();
        seeds
    }

    /// The pairs that reach the bar of their image or of their caption.
    fn reaching(&self, round: &Round) -> Vec<usize> {
        let of_images = self.bars.images.iter();
        let of_images: Vec<f32> = of_images.map(|query| self.bars.of(query)).collect();
        let rows = round.pairs.par_chunks_exact(round.images).enumerate();
        let reaching = rows.flat_map_iter(|(row, pairs)| {
            let bar = self.bars.of(&self.bars.captions[round.first_caption + row]);
            let pairs = pairs.iter().zip(&of_images).enumerate();
            let reaching =
                pairs.filter(move |(_, (pair, of_image))| may_reach(pair, bar.min(**of_image)));
            reaching.map(move |(at, _)| row * round.images + at)
        });
        reaching.collect()
    }

    /// Computes pairs in f32 and records them; returns the cells that were multiplied.
    fn decide(&mut self, round: &mut Round, pairs: Vec<usize>) -> usize {
        let mut open: Vec<Open> = pairs.into_iter().map(|at| round.open(at)).collect();
        let (similarities, cells) = self.recompute(&mut open);
        self.recomputed += open.len() as u64;
        for (pair, similarity) in open.iter().zip(similarities) {
            let at = round.at(pair);
            round.pairs[at].reach.similarity = DECIDED;
            self.bars.record((pair.image, pair.caption), similarity);
            self.set((pair.image, pair.caption), similarity);
        }
        cells
    }

    /// Pairs in which no word sees a region are exactly zero in f32, and may stand in a list.
    fn list_zeros(&mut self, round: &Round) {
        for (at, pair) in round.pairs.iter().enumerate() {
            if pair.reach.seen == Seen::NOTHING {
                let open = round.open(at);
                self.bars.record((open.image, open.caption), 0.0);
            }
        }
    }
}

/// Whether a pair that is not decided yet may reach a bar; what is no number may.
fn may_reach(pair: &Screened, bar: f32) -> bool {
    let is_below = pair.reach.similarity < bar;
    pair.reach.seen != Seen::NOTHING && pair.reach.similarity != DECIDED && !is_below
}

fn candidate(index: usize, pair: &Screened) -> Ranked {
    Ranked {
        index,
        similarity: pair.reach.similarity,
    }
}

/// The pairs that reach furthest, at most so many, and a bar at least.
fn furthest<'a>(
    pairs: impl Iterator<Item = (usize, &'a Screened)>,
    most: usize,
    bar: f32,
) -> Vec<usize> {
    let mut list = Vec::new();
    for (at, pair) in pairs.filter(|(_, pair)| may_reach(pair, bar)) {
        offer(&mut list, most, candidate(at, pair));
    }
    list.into_iter().map(|held| held.index).collect()
}
