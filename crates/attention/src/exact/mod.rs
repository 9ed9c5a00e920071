//! Exact screening: computes all pairs in bf16 and only some again in f32, and gives the lists and ranks
//! of f32.
//!
//! `docs/exactness.md` has the proofs. Relevance in bf16 differs from that in f32 by at most a proven
//! bound. From it follows the *reach* of every pair, which its similarity in f32 does not exceed. A
//! pair whose reach is below the *bar* of its image and of its caption cannot change a list or a
//! rank, and is decided. Any other pair is computed in f32, by the kernel that computes all pairs
//! in f32, to the same bits.
//!
//! Captions are screened in rounds, each with all images. A round keeps 24 bytes a pair in memory: some
//! 24 MB, or more if a single range of captions of [`crate::search`] needs more.

mod bars;
pub(crate) mod bound;
mod limits;
mod recomputation;
mod round;
mod screening;

use std::sync::atomic::AtomicUsize;

use crate::kernel::answers::{Above, Answers};
use crate::results::{MatrixOutput, NO_PROGRESS, Preserve, Preserved, Progress, TopK};
use crate::search::PackedPairs;
use crate::search::tiles::{Fragments, Task, tasks};
use bars::{Bars, Query};
use limits::Limits;

/// The most pairs of a round, unless a single range of captions has more.
const PAIRS_IN_A_ROUND: usize = 1 << 20;

/// The state of one run over all pairs.
struct Screening<'a> {
    pairs: &'a PackedPairs<'a>,
    fragments: &'a Fragments<'a>,
    answers: Answers,
    limits: Limits,
    on_progress: Progress<'a>,
    /// Pairs that have been screened.
    done: AtomicUsize,
    /// The output, where all similarities are wanted.
    matrix: Option<Matrix<'a>>,
    bars: Bars,
    above: Above,
    /// Pairs that were computed in f32 to decide them.
    recomputed: u64,
}

/// The similarities of all pairs, row-major [I, C].
struct Matrix<'a> {
    values: &'a mut [f32],
    captions: usize,
}

impl Matrix<'_> {
    fn set(&mut self, image: usize, caption: usize, similarity: f32) {
        self.values[image * self.captions + caption] = similarity;
    }
}

impl PackedPairs<'_> {
    /// Writes the similarity of every pair to `out`, which has that length. What `preserve` names has
    /// the bits of f32, other values those of bf16.
    pub(crate) fn similarities_exactly(
        &self,
        preserve: &Preserve<'_>,
        out: MatrixOutput<'_>,
    ) -> Preserved {
        let MatrixOutput {
            values,
            on_progress,
        } = out;
        let mut screening = Screening::new(self, preserve.top, on_progress);
        screening.matrix = Some(Matrix {
            values,
            captions: self.fragments.words.captions(),
        });
        let matched = screening.match_pairs(preserve.matched);
        screening.run();
        for (pair, similarity) in matched {
            screening.set(pair.image, pair.caption, similarity);
        }
        Preserved {
            kept: self.kept(screening.above),
            recomputed: screening.recomputed,
        }
    }

    /// The lists of the best, as in f32.
    pub(crate) fn lists_exactly(&self, k: usize) -> TopK {
        let mut screening = Screening::new(self, k, NO_PROGRESS);
        screening.run();
        let lists = |queries: Vec<Query>| queries.into_iter().map(|query| query.list).collect();
        TopK {
            captions_of_images: lists(screening.bars.images),
            images_of_captions: lists(screening.bars.captions),
            kept: self.kept(screening.above),
            recomputed: screening.recomputed,
        }
    }
}

impl<'a> Screening<'a> {
    fn new(pairs: &'a PackedPairs<'a>, top: usize, on_progress: Progress<'a>) -> Self {
        let Fragments { regions, words, .. } = pairs.fragments;
        Self {
            pairs,
            fragments: &pairs.fragments,
            answers: pairs.answers(),
            limits: Limits::new(regions, words),
            on_progress,
            done: AtomicUsize::new(0),
            matrix: None,
            bars: Bars::new(regions.images(), words.captions(), top),
            above: Above::default(),
            recomputed: 0,
        }
    }

    /// Runs all rounds: by screening, until a round shows that computing all in f32 is cheaper.
    fn run(&mut self) {
        let tasks = tasks(self.fragments.regions, self.fragments.words);
        let mut screens = true;
        for round in self.rounds(&tasks) {
            if screens {
                screens = self.screened_round(round);
            } else {
                self.plain_round(round);
            }
        }
    }

    /// Cuts the tasks into rounds of whole ranges of captions.
    fn rounds<'t>(&self, tasks: &'t [Task]) -> Vec<&'t [Task]> {
        let images = self.fragments.regions.images();
        let blocks = self.fragments.regions.blocks().len();
        let (mut rounds, mut first, mut pairs) = (Vec::new(), 0, 0);
        for (range, tasks_of_range) in tasks.chunks(blocks.max(1)).enumerate() {
            let more = images * tasks_of_range[0].captions.len();
            if pairs > 0 && pairs + more > PAIRS_IN_A_ROUND {
                rounds.push(&tasks[first..range * blocks]);
                (first, pairs) = (range * blocks, 0);
            }
            pairs += more;
        }
        rounds.push(&tasks[first..]);
        rounds
    }

    /// Whether similarities in bf16 are needed: for the output matrix, or because the rule has no
    /// masks, so that the reach is computed from them.
    fn wants_similarities(&self) -> bool {
        self.matrix.is_some() || !self.pairs.config.has_masks()
    }

    /// Writes the similarity of a pair to the matrix, if there is one.
    fn set(&mut self, image: usize, caption: usize, similarity: f32) {
        if let Some(matrix) = &mut self.matrix {
            matrix.set(image, caption, similarity);
        }
    }
}
