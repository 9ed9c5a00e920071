//! What bounds the pairs of two collections? The roundings of each entry.

use uard_core::panels::padded_depth;

use super::bound::{Rounding, gram_error, relevance_bound};
use crate::kernel::answers::Bounds;
use crate::packed::{PackedRegions, PackedWords};

/// What the bounds of all pairs are made of.
#[derive(Debug)]
pub(super) struct Limits {
    words: Vec<Rounding>,
    regions: Vec<Rounding>,
    gram_error: f32,
    /// Padded depth of the vectors.
    depth: usize,
}

impl Limits {
    pub(super) fn of(regions: &PackedRegions, words: &PackedWords) -> Self {
        let depth = padded_depth(words.width());
        let counts = regions.counts().iter().chain(words.counts());
        let captions = 0..words.captions();
        let images = 0..regions.images();
        Self {
            words: captions
                .map(|caption| Rounding::of(words.norms(caption), words.residuals(caption)))
                .collect(),
            regions: images
                .map(|image| Rounding::of(regions.norms(image), regions.residuals(image)))
                .collect(),
            gram_error: gram_error(depth, counts.copied().max().unwrap_or(0)),
            depth,
        }
    }

    /// The bounds of a caption's pairs with some images.
    pub(super) fn of_caption(&self, caption: usize, images: std::ops::Range<usize>) -> Bounds {
        let words = self.words[caption];
        let regions = self.regions[images].iter();
        let bounds = regions.map(|regions| relevance_bound(words, *regions, self.depth));
        Bounds {
            relevance: bounds.fold(0.0, f32::max),
            gram_error: self.gram_error,
        }
    }
}
