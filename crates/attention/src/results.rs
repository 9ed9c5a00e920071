//! The results of a search: similarities of all pairs, lists of the best, and which of them must be
//! those of f32.

use crate::Kept;
use serde::{Deserialize, Serialize};

/// Called from any thread with the number of pairs that are done, and of all pairs.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// For calls without progress.
pub(crate) const NO_PROGRESS: Progress<'static> = &|_, _| ();

/// The similarity of every pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AllPairs {
    /// Row-major [I, C].
    pub values: Vec<f32>,
    /// How much was above the threshold, over all pairs.
    pub kept: Kept,
}

/// A matrix of similarities to be filled in. A slice converts to one without progress.
pub struct MatrixOutput<'a> {
    /// Row-major [I, C], every number of it written.
    pub values: &'a mut [f32],
    /// Called while it is filled.
    pub on_progress: Progress<'a>,
}

impl<'a> From<&'a mut [f32]> for MatrixOutput<'a> {
    fn from(values: &'a mut [f32]) -> Self {
        Self {
            values,
            on_progress: NO_PROGRESS,
        }
    }
}

impl<'a> From<&'a mut Vec<f32>> for MatrixOutput<'a> {
    fn from(values: &'a mut Vec<f32>) -> Self {
        Self::from(values.as_mut_slice())
    }
}

/// Which values and ranks of a matrix of similarities must be those of f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preserve<'a> {
    /// How many of the most similar, of each image and of each caption, must have the order and the
    /// values of f32.
    pub top: usize,
    /// Matched pairs (image, caption), whose values must be those of f32. So must, for each image
    /// and for each caption, the rank of its most similar match; ties count against it.
    pub matched: &'a [(usize, usize)],
}

/// What was counted while a matrix of similarities was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Preserved {
    /// How much was above the threshold; with `Precision::Exact` counted in bf16.
    pub kept: Kept,
    /// Pairs that were computed again in f32, because bf16 did not decide them; 0 with any
    /// precision but `Precision::Exact`.
    pub recomputed: u64,
}

/// One entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// The image or caption.
    pub index: usize,
    /// Its similarity.
    pub similarity: f32,
}

/// Lists of the best, best first; of equal similarities the lower index comes first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TopK {
    /// For each image its best captions.
    pub captions_of_images: Vec<Vec<Ranked>>,
    /// For each caption its best images.
    pub images_of_captions: Vec<Vec<Ranked>>,
    /// How much was above the threshold, over all pairs; with `Precision::Exact` counted in bf16.
    pub kept: Kept,
    /// Pairs that were computed again in f32, because bf16 did not decide them; 0 with any
    /// precision but `Precision::Exact`.
    pub recomputed: u64,
}

impl Ranked {
    /// Whether it comes before another in a list: a total order, so that the best K of a union are
    /// the same in whatever order its parts arrive.
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

impl AllPairs {
    /// The `k` best of each image and of each caption; `captions` is C.
    pub(crate) fn top_k(&self, captions: usize, k: usize) -> TopK {
        let images = self.values.len() / captions.max(1);
        let mut lists = TopK {
            captions_of_images: vec![Vec::new(); images],
            images_of_captions: vec![Vec::new(); captions],
            kept: self.kept,
            recomputed: 0,
        };
        for (at, &similarity) in self.values.iter().enumerate() {
            let (image, caption) = (at / captions, at % captions);
            let ranked = |index| Ranked { index, similarity };
            offer(&mut lists.captions_of_images[image], k, ranked(caption));
            offer(&mut lists.images_of_captions[caption], k, ranked(image));
        }
        lists
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(indices: &[usize], k: usize) -> Vec<usize> {
        let mut list = Vec::new();
        for &index in indices {
            let similarity = 0.5;
            offer(&mut list, k, Ranked { index, similarity });
        }
        list.iter().map(|held| held.index).collect()
    }

    #[test]
    fn of_equals_the_lower_index_comes_first_whenever_it_arrives() {
        for order in [[2, 0, 1], [1, 2, 0], [0, 1, 2]] {
            assert_eq!(offered(&order, 2), [0, 1]);
        }
    }

    #[test]
    fn a_list_of_none_stays_empty() {
        assert!(offered(&[0], 0).is_empty());
    }
}
