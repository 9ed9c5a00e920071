//! Lists of the K best of packed fragments, kept while pairs are computed, without the whole matrix.

use std::sync::Mutex;

use super::similarities::lock;
use super::tiles::{Fragments, Task};
use super::{PackedPairs, Ranked, TopK};
use crate::results::NO_PROGRESS;
use crate::results::offer;

impl PackedPairs<'_> {
    /// The lists of the best, by similarities in the precision of the search; `Exact` counts as f32.
    pub(super) fn lists(&self, k: usize) -> TopK {
        let Fragments { regions, words, .. } = self.fragments;
        let empty = |count| {
            (0..count)
                .map(|_| Mutex::new(Vec::new()))
                .collect::<Vec<_>>()
        };
        let captions_of_images = empty(regions.images());
        let images_of_captions = empty(words.captions());
        let offer_all = |task: &Task, values: &[f32]| {
            let images = regions.blocks()[task.block].images.clone();
            for (caption, row) in task.captions.clone().zip(values.chunks_exact(images.len())) {
                let mut list = lock(&images_of_captions[caption]);
                for (index, &similarity) in images.clone().zip(row) {
                    offer(&mut list, k, Ranked { index, similarity });
                }
            }
            for (at, image) in images.clone().enumerate() {
                let mut list = lock(&captions_of_images[image]);
                let column = values.iter().skip(at).step_by(images.len());
                for (index, &similarity) in task.captions.clone().zip(column) {
                    offer(&mut list, k, Ranked { index, similarity });
                }
            }
        };
        let kept = self.answer_all(&offer_all, NO_PROGRESS);
        TopK {
            captions_of_images: into_lists(captions_of_images),
            images_of_captions: into_lists(images_of_captions),
            kept,
            recomputed: 0,
        }
    }
}

fn into_lists(lists: Vec<Mutex<Vec<Ranked>>>) -> Vec<Vec<Ranked>> {
    let lists = lists.into_iter();
    lists
        .map(|list| std::mem::take(&mut *lock(&list)))
        .collect()
}
