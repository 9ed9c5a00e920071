//! The similarity of every pair: tasks in parallel, each a small matrix of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use half::bf16;
use rayon::prelude::*;

use super::tiles::{Fragments, Numbers, Rows, Task, tasks};
use super::{PackedPairs, Progress};
use crate::kernel::answers::{Above, Answers, CaptionPairs, Scratch, Tile};
use crate::{Kept, Precision};

/// What a thread reuses from task to task.
#[derive(Debug, Default)]
pub(super) struct Workplace {
    pub rows: Rows,
    pub scratch: Scratch,
    /// Similarities of a task, row-major [captions of the range, images of the block].
    values: Vec<f32>,
}

/// A finished task.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered<'a> {
    pub task: &'a Task,
    /// Row-major [captions of the range, images of the block].
    pub values: &'a [f32],
}

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
        let write = |answered: Answered<'_>| {
            let Answered { task, values } = answered;
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

    /// Tells every task's similarities, in any order and from any thread; returns what was above
    /// the threshold.
    pub(super) fn answer_all(
        &self,
        on_task: &(dyn Fn(Answered<'_>) + Sync),
        on_progress: Progress<'_>,
    ) -> Kept {
        match self.precision {
            Precision::Bf16 => self.answer_tasks::<bf16>(on_task, on_progress),
            _ => self.answer_tasks::<f32>(on_task, on_progress),
        }
    }

    fn answer_tasks<T: Numbers>(
        &self,
        on_task: &(dyn Fn(Answered<'_>) + Sync),
        on_progress: Progress<'_>,
    ) -> Kept {
        let Fragments { regions, words, .. } = self.fragments;
        let answers = self.answers();
        let all = regions.images() * words.captions();
        let done = AtomicUsize::new(0);
        let above = tasks(regions, words)
            .into_par_iter()
            .map_init(Workplace::default, |workplace, task| {
                let above = workplace.answer::<T>(&self.fragments, &answers, &task);
                on_task(Answered {
                    task: &task,
                    values: &workplace.values,
                });
                let pairs = workplace.values.len();
                on_progress(done.fetch_add(pairs, Ordering::Relaxed) + pairs, all);
                above
            })
            .reduce(Above::default, |mut total, above| {
                total += above;
                total
            });
        self.kept(above)
    }
}

impl Workplace {
    fn answer<T: Numbers>(
        &mut self,
        fragments: &Fragments<'_>,
        answers: &Answers,
        task: &Task,
    ) -> Above {
        let block = &fragments.regions.blocks()[task.block];
        let images = fragments.columns(block);
        let mut above = Above::default();
        let (values, scratch) = (&mut self.values, &mut self.scratch);
        values.clear();
        values.resize(task.captions.len() * images.len(), 0.0);
        let mut rows = values.chunks_exact_mut(images.len());
        let mut on_caption = |caption, tile: Tile<'_>| {
            let pairs = CaptionPairs {
                tile,
                word_gram: fragments.words.gram(caption),
                images: &images,
            };
            if let Some(out) = rows.next() {
                above += answers.of_caption(&pairs, scratch, out);
            }
        };
        let panels = block.panels.clone();
        fragments.stream::<T>(
            panels,
            task.captions.clone(),
            &mut self.rows,
            &mut on_caption,
        );
        above
    }
}

/// A lock whose content is whole even if a thread that held it panicked: numbers are written one by
/// one, and the panic goes on to the caller anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
