//! How can products in bf16 give the lists and ranks of f32? With a reach for every pair.
//!
//! `docs/exactness.md` derives what is used here. bf16 shows every relevance to within a proven
//! bound; from that follows a *reach* for every pair, which its similarity in f32 does not exceed.
//! A pair whose reach stays below the *bar* of its image and of its caption is done; any other is
//! computed in f32, by the kernel that computes all pairs in f32, to the same bits.
//!
//! Captions come in rounds, each with all images. What is held of a round is 24 bytes a pair: some
//! 24 MB, or as much as [`crate::search`]'s shortest range of captions needs.

mod bars;
pub(crate) mod bound;
mod limits;
mod recomputation;
mod round;
mod screening;

use crate::kernel::answers::{Above, Answers};
use crate::results::{Preserve, Preserved, Progress, TopK};
use crate::search::PackedPairs;
use crate::search::tiles::{Fragments, Task, tasks};
use bars::{Bars, Query};
use limits::Limits;
use screening::Done;

/// Pairs of a round, if no single range of captions has more.
const PAIRS_IN_A_ROUND: usize = 1 << 20;

/// One run over all pairs.
struct Course<'a> {
    pairs: &'a PackedPairs<'a>,
    fragments: &'a Fragments<'a>,
    answers: Answers,
    limits: Limits,
    on_progress: Progress<'a>,
    done: Done,
    matrix: Option<Matrix<'a>>,
    bars: Bars,
    above: Above,
    recomputed: u64,
}

/// Where similarities go, row-major [I, C].
struct Matrix<'a> {
    values: &'a mut [f32],
    captions: usize,
}

impl Matrix<'_> {
    fn set(&mut self, (image, caption): (usize, usize), similarity: f32) {
        self.values[image * self.captions + caption] = similarity;
    }
}

impl PackedPairs<'_> {
    /// The similarity of every pair into `out` [I, C] of that length: what `preserve` names as in
    /// f32, to the last bit, other values as in bf16.
    pub(crate) fn similarities_exactly(
        &self,
        preserve: &Preserve<'_>,
        out: &mut [f32],
        on_progress: Progress<'_>,
    ) -> Preserved {
        let mut course = Course::new(self, preserve.top, on_progress);
        course.matrix = Some(Matrix {
            values: out,
            captions: self.fragments.words.captions(),
        });
        let matched = course.match_pairs(preserve.matched);
        course.run();
        for (pair, similarity) in matched {
            course.set(pair, similarity);
        }
        Preserved {
            kept: self.kept(course.above),
            recomputed: course.recomputed,
        }
    }

    /// The lists of f32.
    pub(crate) fn lists_exactly(&self, k: usize, on_progress: Progress<'_>) -> TopK {
        let mut course = Course::new(self, k, on_progress);
        course.run();
        let lists = |queries: Vec<Query>| queries.into_iter().map(|query| query.list).collect();
        TopK {
            captions_of_images: lists(course.bars.images),
            images_of_captions: lists(course.bars.captions),
            kept: self.kept(course.above),
            recomputed: course.recomputed,
        }
    }
}

impl<'a> Course<'a> {
    fn new(pairs: &'a PackedPairs<'a>, top: usize, on_progress: Progress<'a>) -> Self {
        let Fragments { regions, words, .. } = pairs.fragments;
        Self {
            pairs,
            fragments: &pairs.fragments,
            answers: pairs.answers(),
            limits: Limits::of(regions, words),
            on_progress,
            done: Done::new(0),
            matrix: None,
            bars: Bars::new(regions.images(), words.captions(), top),
            above: Above::default(),
            recomputed: 0,
        }
    }

    /// Round after round; in f32 once a round shows that screening is in vain.
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

    /// Whole ranges of captions, as many as a round may have.
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

    /// Whether bf16's own similarity is of use: in a matrix, and where the reach follows from it.
    fn wants_similarities(&self) -> bool {
        self.matrix.is_some() || !self.pairs.config.has_masks()
    }

    fn set(&mut self, pair: (usize, usize), similarity: f32) {
        if let Some(matrix) = &mut self.matrix {
            matrix.set(pair, similarity);
        }
    }
}
