//! What is seen of every pair of some captions? Relevance streams by once, in bf16 or in f32.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::bf16;

use super::Course;
use super::bound::slack;
use super::limits::Limits;
use crate::kernel::answers::{Above, Reach, Scratch, Seen, missed};
use crate::search::similarities::{Caption, lock};
use crate::search::tiles::{Numbers, Task};

/// What a task writes for each of its pairs.
pub(super) trait Shown: Copy + Send + Sync {
    /// Relevance is computed in these numbers.
    type Numbers: Numbers;
    /// Of a pair that no task has written yet.
    const UNWRITTEN: Self;

    /// Fills in a caption's pairs with the images of a block.
    fn of_caption(
        course: &Course<'_>,
        caption: &Caption<'_>,
        scratch: &mut Scratch,
        out: &mut [Self],
    ) -> Above;
}

/// A pair in bf16: its similarity, if that is wanted, and what it may reach in f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screened {
    pub similarity: f32,
    pub reach: Reach,
}

/// The similarity in f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known(pub f32);

impl Shown for Known {
    type Numbers = f32;
    const UNWRITTEN: Self = Self(0.0);

    fn of_caption(
        course: &Course<'_>,
        caption: &Caption<'_>,
        scratch: &mut Scratch,
        out: &mut [Self],
    ) -> Above {
        let mut similarities = vec![0.0; out.len()];
        let above = course
            .answers
            .of_caption(&caption.pairs, scratch, &mut similarities);
        for (out, similarity) in out.iter_mut().zip(similarities) {
            *out = Self(similarity);
        }
        above
    }
}

impl Shown for Screened {
    type Numbers = bf16;
    const UNWRITTEN: Self = Self {
        similarity: 0.0,
        reach: Reach::NOTHING,
    };

    fn of_caption(
        course: &Course<'_>,
        caption: &Caption<'_>,
        scratch: &mut Scratch,
        out: &mut [Self],
    ) -> Above {
        let pairs = &caption.pairs;
        let mut similarities = vec![0.0; out.len()];
        if course.wants_similarities() {
            course.answers.of_caption(pairs, scratch, &mut similarities);
        }
        let mut reach = vec![Reach::NOTHING; out.len()];
        let above = course
            .limits
            .reach(course, caption, scratch, (&similarities, &mut reach));
        for ((out, similarity), reach) in out.iter_mut().zip(similarities).zip(reach) {
            *out = Self { similarity, reach };
        }
        above
    }
}

impl Limits {
    fn reach(
        &self,
        course: &Course<'_>,
        caption: &Caption<'_>,
        scratch: &mut Scratch,
        (similarities, out): (&[f32], &mut [Reach]),
    ) -> Above {
        let pairs = &caption.pairs;
        let images = caption.first_image..caption.first_image + out.len();
        let bounds = self.of_caption(caption.caption, images);
        if course.pairs.config.has_masks() {
            return course
                .answers
                .reach_of_caption((pairs, &bounds), scratch, out);
        }
        // Maxsim: each side's mean of maxima moves by the bound at most.
        let sides = course.pairs.config.sides.asking().len() as f32;
        for ((out, image), similarity) in out.iter_mut().zip(pairs.images).zip(similarities) {
            let slack = slack(pairs.tile.words, image.count) as f32;
            *out = Reach {
                similarity: similarity + sides * missed(bounds.relevance, slack),
                seen: Seen::EVERYTHING,
            };
        }
        Above::default()
    }
}

impl Course<'_> {
    /// What is shown of every pair of some tasks, row-major [captions of the tasks, images]; counts
    /// what is above the threshold.
    pub(super) fn show<T: Shown>(&self, tasks: &[Task]) -> (Vec<T>, Above) {
        let fragments = self.fragments;
        let images = fragments.regions.images();
        let mut shown = Vec::new();
        let mut rows = Vec::new();
        let ranges = tasks.chunk_by(|a, b| a.captions == b.captions);
        let captions: usize = ranges.clone().map(|range| range[0].captions.len()).sum();
        shown.resize(captions * images, T::UNWRITTEN);
        let mut rest = &mut shown[..];
        for range in ranges {
            let (own, others) = rest.split_at_mut(range[0].captions.len() * images);
            rows.push(Mutex::new(own));
            rest = others;
        }
        let blocks = fragments.regions.blocks();
        let answer = |caption: &Caption<'_>, scratch: &mut Scratch, out: &mut [T]| {
            T::of_caption(self, caption, scratch, out)
        };
        let told = |at: usize, own: &[T]| {
            let block = blocks[tasks[at].block].images.clone();
            let mut rows = lock(&rows[at / blocks.len()]);
            let rows = rows.chunks_exact_mut(images);
            for (row, own) in rows.zip(own.chunks_exact(block.len())) {
                row[block.clone()].copy_from_slice(own);
            }
            self.tell(own.len());
        };
        let above = fragments.answer::<T::Numbers, T>(tasks, T::UNWRITTEN, &answer, &told);
        drop(rows);
        (shown, above)
    }

    fn tell(&self, pairs: usize) {
        let done = self.done.fetch_add(pairs, Ordering::Relaxed) + pairs;
        let all = self.fragments.regions.images() * self.fragments.words.captions();
        (self.on_progress)(done, all);
    }
}

/// Pairs that have passed.
pub(super) type Done = AtomicUsize;
