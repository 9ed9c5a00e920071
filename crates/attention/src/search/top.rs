//! The best of each: lists of K while pairs stream by, never the whole matrix.
//!
//! Better is the higher similarity, and of equals the lower index: a total order, so that the best
//! K of a union are the same in whatever order its parts arrive.

use std::sync::Mutex;

use super::similarities::{Answered, lock};
use super::{Progress, Search};
use crate::{Kept, PackedRegions, PackedWords, Precision, Result};

/// One entry of a list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// The image or caption.
    pub index: usize,
    /// Its similarity.
    pub similarity: f32,
}

/// Lists of the best, best first; of equal similarities the lower index comes first.
#[derive(Debug, Clone, PartialEq)]
pub struct TopK {
    /// For each image its best captions.
    pub captions_of_images: Vec<Vec<Ranked>>,
    /// For each caption its best images.
    pub images_of_captions: Vec<Vec<Ranked>>,
    /// How much was above the threshold, over all pairs; with `Precision::Exact` as bf16 shows it.
    pub kept: Kept,
    /// Pairs that bf16 left open and f32 decided; 0 with any precision but `Precision::Exact`.
    pub recomputed: u64,
}

impl Ranked {
    /// Whether it comes before another in a list.
    pub(crate) fn precedes(&self, other: &Self) -> bool {
        self.similarity > other.similarity
            || (self.similarity == other.similarity && self.index < other.index)
    }
}

/// Puts a candidate in its place among the best `k`, if it has one.
pub(crate) fn offer(list: &mut Vec<Ranked>, k: usize, candidate: Ranked) {
    if list.len() == k && !list.last().is_some_and(|last| candidate.precedes(last)) {
        return;
    }
    let place = list.partition_point(|held| held.precedes(&candidate));
    list.insert(place, candidate);
    list.truncate(k);
}

impl Search {
    /// The `k` best captions of each image and the `k` best images of each caption; fewer where
    /// there are fewer.
    ///
    /// Memory beside the fragments is that of the lists, `k (I + C)` entries.
    ///
    /// # Errors
    /// When the widths differ or the fragments are not packed for the precision.
    pub fn top_k(
        &self,
        regions: &PackedRegions,
        words: &PackedWords,
        k: usize,
        on_progress: Progress<'_>,
    ) -> Result<TopK> {
        let fragments = self.fragments(regions, words)?;
        if self.precision() == Precision::Exact && self.can_screen() {
            return Ok(self.top_k_exactly(&fragments, k, on_progress));
        }
        let empty = |count| {
            (0..count)
                .map(|_| Mutex::new(Vec::new()))
                .collect::<Vec<_>>()
        };
        let captions_of_images = empty(regions.images());
        let images_of_captions = empty(words.captions());
        let offer_all = |answered: Answered<'_>| {
            let Answered { task, values } = answered;
            let images = regions.blocks()[task.block].images.clone();
            for (caption, row) in task.captions.clone().zip(values.chunks_exact(images.len())) {
                let mut list = lock(&images_of_captions[caption]);
                for (image, &similarity) in images.clone().zip(row) {
                    offer(
                        &mut list,
                        k,
                        Ranked {
                            index: image,
                            similarity,
                        },
                    );
                }
            }
            for (at, image) in images.clone().enumerate() {
                let mut list = lock(&captions_of_images[image]);
                let column = values.iter().skip(at).step_by(images.len());
                for (caption, &similarity) in task.captions.clone().zip(column) {
                    offer(
                        &mut list,
                        k,
                        Ranked {
                            index: caption,
                            similarity,
                        },
                    );
                }
            }
        };
        let kept = self.answer_all(&fragments, &offer_all, on_progress);
        Ok(TopK {
            captions_of_images: taken(captions_of_images),
            images_of_captions: taken(images_of_captions),
            kept,
            recomputed: 0,
        })
    }
}

fn taken(lists: Vec<Mutex<Vec<Ranked>>>) -> Vec<Vec<Ranked>> {
    let lists = lists.into_iter();
    lists
        .map(|list| std::mem::take(&mut *lock(&list)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equals_the_lower_index_comes_first_whenever_it_arrives() {
        for order in [[2, 0, 1], [1, 2, 0], [0, 1, 2]] {
            let mut list = Vec::new();
            for index in order {
                offer(
                    &mut list,
                    2,
                    Ranked {
                        index,
                        similarity: 0.5,
                    },
                );
            }
            assert_eq!(
                list.iter().map(|held| held.index).collect::<Vec<_>>(),
                [0, 1]
            );
        }
    }

    #[test]
    fn a_list_of_none_stays_empty() {
        let mut list = Vec::new();
        offer(
            &mut list,
            0,
            Ranked {
                index: 0,
                similarity: 1.0,
            },
        );
        assert!(list.is_empty());
    }
}
