//! Computes the similarities of all images and captions from packed fragments, in parallel tasks,
//! each for a block of images and a range of captions.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use bytemuck::Pod;
use half::bf16;
use rayon::prelude::*;
use uard_linalg::panels::Element;

use super::tiles::{Fragments, Rows, Task, tasks};
use super::{MatrixOutput, PackedPairs, Progress};
use crate::kernel::answers::{Above, CaptionPairs, Scratch, Tile};
use crate::{Kept, Precision};

/// Buffers that a thread reuses from task to task.
#[derive(Debug)]
pub(super) struct Workspace<V> {
    pub rows: Rows,
    pub scratch: Scratch,
    /// The results of a task's pairs, row-major [captions of the range, images of the block].
    values: Vec<V>,
}

impl<V> Workspace<V> {
    pub fn new() -> Self {
        Self {
            rows: Rows::default(),
            scratch: Scratch::default(),
            values: Vec::new(),
        }
    }
}

/// A caption and its pairs with the images of a block.
#[derive(Debug)]
pub(crate) struct Caption<'a> {
    pub caption: usize,
    pub first_image: usize,
    pub pairs: CaptionPairs<'a>,
}

/// Computes the results of a caption's pairs with the images of a block, and counts what is above the
/// threshold.
pub(crate) type Answer<'a, V> = &'a (dyn Fn(&Caption<'_>, &mut Scratch, &mut [V]) -> Above + Sync);

impl PackedPairs<'_> {
    /// Writes the similarity of every image with every caption to `out`, which has that length; returns
    /// counts of what is above the threshold.
    pub(super) fn similarities_into(&self, out: MatrixOutput<'_>) -> Kept {
        let Fragments { regions, words, .. } = self.fragments;
        let captions = words.captions();
        let mut rest = out.values;
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
        self.answer_all(&write, out.on_progress)
    }

    /// Computes all pairs and calls `on_task` with the similarities of each task, row-major [captions of
    /// the range, images of the block], in any order and from any thread. Returns counts of what is above
    /// the threshold.
    pub(super) fn answer_all(
        &self,
        on_task: &(dyn Fn(&Task, &[f32]) + Sync),
        on_progress: Progress<'_>,
    ) -> Kept {
        let Fragments { regions, words, .. } = self.fragments;
        let (answers, tasks) = (self.answers(), tasks(regions, words));
        let answer = |caption: &Caption<'_>, scratch: &mut Scratch, out: &mut [f32]| {
            answers.match_caption(&caption.pairs, scratch, out)
        };
        let (all, done) = (regions.images() * words.captions(), AtomicUsize::new(0));
        let on_result = |at: usize, values: &[f32]| {
            on_task(&tasks[at], values);
            let pairs = values.len();
            on_progress(done.fetch_add(pairs, Ordering::Relaxed) + pairs, all);
        };
        let above = match self.precision {
            Precision::Bf16 => self
                .fragments
                .answer::<bf16, _>(&tasks, 0.0, &answer, &on_result),
            _ => self
                .fragments
                .answer::<f32, _>(&tasks, 0.0, &answer, &on_result),
        };
        self.kept(above)
    }
}

impl Fragments<'_> {
    /// Computes all pairs of the tasks by `answer` and calls `on_task` with the index of each task and the
    /// results of its pairs, in any order and from any thread. Results are `unwritten` before `answer`
    /// writes them. Returns counts of what is above the threshold.
    pub(crate) fn answer<T: Element + Pod, V: Copy + Send + Sync>(
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
                .map_init(Workspace::new, |workspace, (at, task)| {
                    if self.is_stopped() {
                        return Above::default();
                    }
                    let pairs =
                        task.captions.len() * self.regions.blocks()[task.block].images.len();
                    workspace.values.clear();
                    workspace.values.resize(pairs, unwritten);
                    let above = self.answer_task::<T, V>(task, answer, workspace);
                    on_task(at, &workspace.values);
                    above
                });
        above.reduce(Above::default, |mut total, above| {
            total += above;
            total
        })
    }

    /// Computes one task; its results are in `workspace.values`.
    fn answer_task<T: Element + Pod, V>(
        &self,
        task: &Task,
        answer: Answer<'_, V>,
        workspace: &mut Workspace<V>,
    ) -> Above {
        let block = &self.regions.blocks()[task.block];
        let images = self.columns(block);
        let mut above = Above::default();
        let scratch = &mut workspace.scratch;
        let mut outs = workspace.values.chunks_exact_mut(images.len());
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
        self.stream::<T>(panels, captions, &mut workspace.rows, &mut on_caption);
        above
    }
}

/// Locks a mutex, also if another thread panicked with the lock: its numbers are valid after any write,
/// and rayon passes the panic on to the caller.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
