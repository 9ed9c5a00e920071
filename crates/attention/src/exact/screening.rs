//! Computes every pair of some captions once: its reach from bf16, or its similarity in f32.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use bytemuck::Pod;
use half::bf16;
use uard_linalg::panels::Element;

use super::Screening;
use super::bound::slack;
use crate::kernel::answers::{Above, Reach, Scratch, VisiblePanels, missed};
use crate::search::similarities::{Answer, Caption, lock};
use crate::search::tiles::Task;

/// A pair as bf16 shows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScreenedPair {
    /// Its similarity in bf16; zero if [`Screening::wants_similarities`] is false.
    pub similarity: f32,
    pub reach: Reach,
}

impl Screening<'_> {
    /// Every pair of some tasks as bf16 shows it, row-major [captions of the tasks, images], and the
    /// counts of what is above the threshold.
    pub(super) fn screened_pairs(&self, tasks: &[Task]) -> (Vec<ScreenedPair>, Above) {
        let unwritten = ScreenedPair {
            similarity: 0.0,
            reach: Reach::NOTHING,
        };
        let answer = |caption: &Caption<'_>, scratch: &mut Scratch, out: &mut [ScreenedPair]| {
            let mut similarities = vec![0.0; out.len()];
            if self.wants_similarities() {
                self.answers
                    .match_caption(&caption.pairs, scratch, &mut similarities);
            }
            let mut reach = vec![Reach::NOTHING; out.len()];
            let above = self.reach(caption, scratch, &similarities, &mut reach);
            for ((out, similarity), reach) in out.iter_mut().zip(similarities).zip(reach) {
                *out = ScreenedPair { similarity, reach };
            }
            above
        };
        self.compute::<bf16, _>(tasks, unwritten, &answer)
    }

    /// The similarities in f32 of every pair of some tasks, without screening; row-major [captions of
    /// the tasks, images]. Also the counts of what is above the threshold.
    pub(super) fn plain_pairs(&self, tasks: &[Task]) -> (Vec<f32>, Above) {
        let answer = |caption: &Caption<'_>, scratch: &mut Scratch, out: &mut [f32]| {
            self.answers.match_caption(&caption.pairs, scratch, out)
        };
        self.compute::<f32, _>(tasks, 0.0, &answer)
    }

    /// The reach of a caption's pairs with the images of a block. `similarities` are those in bf16, which
    /// a rule without masks needs.
    fn reach(
        &self,
        caption: &Caption<'_>,
        scratch: &mut Scratch,
        similarities: &[f32],
        out: &mut [Reach],
    ) -> Above {
        let pairs = &caption.pairs;
        let images = caption.first_image..caption.first_image + out.len();
        let bounds = self.limits.bounds(caption.caption, images);
        if self.pairs.config.has_masks() {
            return self.answers.bound_caption(pairs, &bounds, scratch, out);
        }
        // Maxsim: each side adds a mean of maxima, which differ from those of f32 by at most the
        // bound.
        let sides = self.pairs.config.sides.asking().len() as f32;
        for ((out, image), similarity) in out.iter_mut().zip(pairs.images).zip(similarities) {
            let slack = slack(pairs.tile.words, image.count) as f32;
            *out = Reach {
                similarity: similarity + sides * missed(bounds.relevance, slack),
                visible: VisiblePanels::ALL,
            };
        }
        Above::default()
    }

    /// The results of every pair of some tasks, from relevance in `E`. Results are `unwritten` before
    /// `answer` writes them.
    fn compute<E: Element + Pod, V: Copy + Send + Sync>(
        &self,
        tasks: &[Task],
        unwritten: V,
        answer: Answer<'_, V>,
    ) -> (Vec<V>, Above) {
        let fragments = self.fragments;
        let images = fragments.regions.images();
        let mut results = Vec::new();
        let mut rows = Vec::new();
        let ranges = tasks.chunk_by(|a, b| a.captions == b.captions);
        let captions: usize = ranges.clone().map(|range| range[0].captions.len()).sum();
        results.resize(captions * images, unwritten);
        let mut rest = &mut results[..];
        for range in ranges {
            let (own, others) = rest.split_at_mut(range[0].captions.len() * images);
            rows.push(Mutex::new(own));
            rest = others;
        }
        let blocks = fragments.regions.blocks();
        let on_task = |at: usize, own: &[V]| {
            let block = blocks[tasks[at].block].images.clone();
            let mut rows = lock(&rows[at / blocks.len()]);
            let rows = rows.chunks_exact_mut(images);
            for (row, own) in rows.zip(own.chunks_exact(block.len())) {
                row[block.clone()].copy_from_slice(own);
            }
            self.report(own.len());
        };
        let above = fragments.answer::<E, V>(tasks, unwritten, answer, &on_task);
        drop(rows);
        (results, above)
    }

    /// Reports progress after more pairs were computed.
    fn report(&self, pairs: usize) {
        let done = self.done.fetch_add(pairs, Ordering::Relaxed) + pairs;
        let all = self.fragments.regions.images() * self.fragments.words.captions();
        (self.on_progress)(done, all);
    }
}
