//! The similarity of every pair: tasks in parallel, each a small matrix of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use half::bf16;
use rayon::prelude::*;

use super::tiles::{Fragments, Numbers, Rows, Task, tasks};
use super::{PackedPairs, Progress};
use crate::kernel::answers::{Above, CaptionPairs, Scratch, Tile};
use crate::{Kept, Precision};

/// What a thread reuses from task to task.
#[derive(Debug)]
pub(super) struct Workplace<V> {
    pub rows: Rows,
    pub scratch: Scratch,
    /// What was found of a task's pairs, row-major [captions of the range, images of the block].
    values: Vec<V>,
}

impl<V> Workplace<V> {
    pub fn new() -> Self {
        Self {
            rows: Rows::default(),
            scratch: Scratch::default(),
            values: Vec::new(),
        }
    }
}

/// A caption with the images of a block.
#[derive(Debug)]
pub(crate) struct Caption<'a> {
    pub caption: usize,
    pub first_image: usize,
    pub pairs: CaptionPairs<'a>,
}

/// Fills in what is found of a caption's pairs with the images of a block.
pub(crate) type Answer<'a, V> = &'a (dyn Fn(&Caption<'_>, &mut Scratch, &mut [V]) -> Above + Sync);

impl PackedPairs<'_> {
    /// The similarity of every image with every caption, into `out` [I, C] of that length; returns
    /// what was above the threshold.
    pub(super) fn similarities_into(&self, out: &mut [f32], on_progress: Progress<'_>) -> Kept {
        let Fragments { regions, words, .. } = self.fragments;
        let captions = words.captions();
        let mut rest = out;
        let mut rows_of_blocks = Vec::with_capacity(regions.blocks().len());
        for block in regions.blocks() {
            let (rows, others) = rest.split_at_mut(block.images.len() * captions);
            rows_of_blocks.push(Mutex::new(rows));
            rest = others;
        }
        let write = |task: &Task, values: &[f32]| {
            let images = regions.blocks()[task.block].images.len();
            let mut rows = lock(&rows_of_blocks[task.block]);
            for (image, row) in rows.chunks_exact_mut(captions).enumerate() {
                let found = values.iter().skip(image).step_by(images);
                for (out, found) in row[task.captions.clone()].iter_mut().zip(found) {
                    *out = *found;
                }
            }
        };
        self.answer_all(&write, on_progress)
    }

    /// Tells every task's similarities, row-major [captions of the range, images of the block], in
    /// any order and from any thread; returns what was above the threshold.
    pub(super) fn answer_all(
        &self,
        on_task: &(dyn Fn(&Task, &[f32]) + Sync),
        on_progress: Progress<'_>,
    ) -> Kept {
        let Fragments { regions, words, .. } = self.fragments;
        let (answers, tasks) = (self.answers(), tasks(regions, words));
        let answer = |caption: &Caption<'_>, scratch: &mut Scratch, out: &mut [f32]| {
            answers.of_caption(&caption.pairs, scratch, out)
        };
        let (all, done) = (regions.images() * words.captions(), AtomicUsize::new(0));
        let told = |at: usize, values: &[f32]| {
            on_task(&tasks[at], values);
            let pairs = values.len();
            on_progress(done.fetch_add(pairs, Ordering::Relaxed) + pairs, all);
        };
        let above = match self.precision {
            Precision::Bf16 => self
                .fragments
                .answer::<bf16, _>(&tasks, 0.0, &answer, &told),
            _ => self.fragments.answer::<f32, _>(&tasks, 0.0, &answer, &told),
        };
        self.kept(above)
    }
}

impl Fragments<'_> {
    /// Tells what was found of every task's pairs, by the task's place in the list, in any order and
    /// from any thread; `unwritten` stands where nothing was found yet. Returns what was above the
    /// threshold.
    pub(crate) fn answer<T: Numbers, V: Copy + Send + Sync>(
        &self,
        tasks: &[Task],
        unwritten: V,
        answer: Answer<'_, V>,
        on_task: &(dyn Fn(usize, &[V]) + Sync),
    ) -> Above {
        let above =
            tasks
                .par_iter()
                .enumerate()
                .map_init(Workplace::new, |workplace, (at, task)| {
                    let pairs =
                        task.captions.len() * self.regions.blocks()[task.block].images.len();
                    workplace.values.clear();
                    workplace.values.resize(pairs, unwritten);
                    let above = self.answer_task::<T, V>(task, answer, workplace);
                    on_task(at, &workplace.values);
                    above
                });
        above.reduce(Above::default, |mut total, above| {
            total += above;
            total
        })
    }

    fn answer_task<T: Numbers, V>(
        &self,
        task: &Task,
        answer: Answer<'_, V>,
        workplace: &mut Workplace<V>,
    ) -> Above {
        let block = &self.regions.blocks()[task.block];
        let images = self.columns(block);
        let mut above = Above::default();
        let scratch = &mut workplace.scratch;
        let mut outs = workplace.values.chunks_exact_mut(images.len());
        let mut on_caption = |caption, tile: Tile<'_>| {
            let pairs = CaptionPairs {
                tile,
                word_gram: self.words.gram(caption),
                images: &images,
            };
            let caption = Caption {
                caption,
                first_image: block.images.start,
                pairs,
            };
            if let Some(out) = outs.next() {
                above += answer(&caption, scratch, out);
            }
        };
        let (panels, captions) = (block.panels.clone(), task.captions.clone());
        self.stream::<T>(panels, captions, &mut workplace.rows, &mut on_caption);
        above
    }
}

/// A lock whose content is whole even if a thread that held it panicked: numbers are written one by
/// one, and the panic goes on to the caller anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
