//! What is seen of every pair of some captions? Relevance streams by once, in bf16 or in f32.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::bf16;
use rayon::prelude::*;

use super::Course;
use super::bound::slack;
use super::limits::Limits;
use crate::kernel::answers::{Above, CaptionPairs, Reach, Scratch, Seen, Tile, missed};
use crate::search::similarities::lock;
use crate::search::tiles::{Numbers, Rows, Task};

/// What a task writes for each of its pairs.
pub(super) trait Shown: Copy + Send {
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

/// A caption with the images of a block.
#[derive(Debug)]
pub(super) struct Caption<'a> {
    caption: usize,
    first_image: usize,
    pairs: CaptionPairs<'a>,
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
        let blocks = fragments.regions.blocks().len();
        let above = tasks.par_iter().enumerate().map_init(
            <(Rows, Scratch)>::default,
            |(rows_of_words, scratch), (at, task)| {
                let (own, above) = self.show_task::<T>(task, rows_of_words, scratch);
                let block = fragments.regions.blocks()[task.block].images.clone();
                let mut rows = lock(&rows[at / blocks]);
                for (row, own) in rows
                    .chunks_exact_mut(images)
                    .zip(own.chunks_exact(block.len()))
                {
                    row[block.clone()].copy_from_slice(own);
                }
                self.tell(own.len());
                above
            },
        );
        let above = above.reduce(Above::default, |mut total, above| {
            total += above;
            total
        });
        drop(rows);
        (shown, above)
    }

    fn show_task<T: Shown>(
        &self,
        task: &Task,
        rows: &mut Rows,
        scratch: &mut Scratch,
    ) -> (Vec<T>, Above) {
        let block = &self.fragments.regions.blocks()[task.block];
        let images = self.fragments.columns(block);
        let mut own = vec![T::UNWRITTEN; task.captions.len() * images.len()];
        let mut above = Above::default();
        let mut outs = own.chunks_exact_mut(images.len());
        let mut on_caption = |caption, tile: Tile<'_>| {
            let pairs = CaptionPairs {
                tile,
                word_gram: self.fragments.words.gram(caption),
                images: &images,
            };
            let caption = Caption {
                caption,
                first_image: block.images.start,
                pairs,
            };
            if let Some(out) = outs.next() {
                above += T::of_caption(self, &caption, scratch, out);
            }
        };
        let captions = task.captions.clone();
        let panels = block.panels.clone();
        self.fragments
            .stream::<T::Numbers>(panels, captions, rows, &mut on_caption);
        (own, above)
    }

    fn tell(&self, pairs: usize) {
        let done = self.done.fetch_add(pairs, Ordering::Relaxed) + pairs;
        let all = self.fragments.regions.images() * self.fragments.words.captions();
        (self.on_progress)(done, all);
    }
}

/// Pairs that have passed.
pub(super) type Done = AtomicUsize;
