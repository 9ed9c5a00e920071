//! What bounds the pairs of two collections? Roundings and stretches, once for each entry.

use rayon::prelude::*;
use uard_core::panels::padded_depth;

use super::bound::{Rounding, relevance_bound, stretches};
use crate::packed::{PackedRegions, PackedWords, gram_stride};

/// What the bounds of all pairs are made of.
#[derive(Debug)]
pub(super) struct Limits {
    pub words: Vec<Limit>,
    pub regions: Vec<Limit>,
    /// Padded depth of the vectors.
    depth: usize,
}

/// One image or caption.
#[derive(Debug)]
pub(super) struct Limit {
    pub rounding: Rounding,
    pub stretches: Vec<f32>,
}

impl Limits {
    pub(super) fn of(regions: &PackedRegions, words: &PackedWords) -> Self {
        Self {
            words: limits(words.counts(), |caption| {
                (words.gram(caption), words.residuals(caption))
            }),
            regions: limits(regions.counts(), |image| {
                (regions.gram(image), regions.residuals(image))
            }),
            depth: padded_depth(words.width()),
        }
    }

    /// How far relevance in bf16 is from f32 at most, for a caption with any of some images.
    pub(super) fn relevance_bound(&self, caption: usize, images: &[Limit]) -> f32 {
        let words = self.words[caption].rounding;
        let bounds = images
            .iter()
            .map(|image| relevance_bound(words, image.rounding, self.depth));
        bounds.fold(0.0, f32::max)
    }
}

fn limits<'a>(counts: &[usize], of: impl Fn(usize) -> (&'a [f32], &'a [f32]) + Sync) -> Vec<Limit> {
    let entries = counts.par_iter().enumerate();
    entries
        .map(|(entry, &count)| {
            let (gram, residuals) = of(entry);
            let stride = gram_stride(count);
            let norms: Vec<f32> = (0..count)
                .map(|at| 1.001 * gram[at * stride + at].sqrt())
                .collect();
            Limit {
                rounding: Rounding::of(&norms, residuals),
                stretches: stretches(gram, stride, count),
            }
        })
        .collect()
}
