//! The error bounds from which the reach of each pair is computed (an upper bound of its similarity in
//! f32). They are prepared once for each packed image and caption, and combined for pairs.

use std::ops::Range;

use uard_linalg::panels::padded_depth;

use super::bound::{Rounding, alone, gram_error, relevance_bound};
use crate::kernel::answers::Bounds;
use crate::packed::{PackedRegions, PackedWords, gram_stride};

/// The bounds of all entries, from which those of every pair follow.
#[derive(Debug)]
pub(super) struct Limits {
    words: SideLimits,
    regions: SideLimits,
    /// [`gram_error()`] for the entry with the most fragments.
    gram_error: f32,
    /// Padded depth of the vectors.
    depth: usize,
}

/// The bounds of all images, or of all captions.
#[derive(Debug)]
struct SideLimits {
    roundings: Vec<Rounding>,
    /// [`alone()`] of each entry.
    alone: Vec<f32>,
}

impl Limits {
    pub(super) fn new(regions: &PackedRegions, words: &PackedWords) -> Self {
        let depth = padded_depth(words.width());
        let counts = regions.counts().iter().chain(words.counts());
        let gram_error = gram_error(depth, counts.copied().max().unwrap_or(0));
        let alone = |gram: &[f32], count: usize| {
            let stride = gram_stride(count);
            alone((0..count).map(|at| gram[at * stride + at]), gram_error)
        };
        let captions = words.counts().iter().enumerate();
        let images = regions.counts().iter().enumerate();
        Self {
            words: SideLimits {
                roundings: (0..words.captions())
                    .map(|at| Rounding::new(words.norms(at), words.residuals(at)))
                    .collect(),
                alone: captions
                    .map(|(at, &count)| alone(words.gram(at), count))
                    .collect(),
            },
            regions: SideLimits {
                roundings: (0..regions.images())
                    .map(|at| Rounding::new(regions.norms(at), regions.residuals(at)))
                    .collect(),
                alone: images
                    .map(|(at, &count)| alone(regions.gram(at), count))
                    .collect(),
            },
            gram_error,
            depth,
        }
    }

    /// Bounds that hold for all pairs of a caption with a range of images.
    pub(super) fn bounds(&self, caption: usize, images: Range<usize>) -> Bounds<'_> {
        let words = self.words.roundings[caption];
        let regions = self.regions.roundings[images.clone()].iter();
        let bounds = regions.map(|regions| relevance_bound(words, *regions, self.depth));
        Bounds {
            relevance: bounds.fold(0.0, f32::max),
            gram_error: self.gram_error,
            word_alone: self.words.alone[caption],
            region_alone: &self.regions.alone[images],
        }
    }
}
