//! The similarity of a batch on the CPU: one operator with an analytic gradient.
//!
//! It multiplies words with regions tile by tile. From then on it computes with relevance and Gram
//! matrices alone, and reads the vectors again only to sum the gradients of words and regions. In
//! training each tile saves its relevance, and the backward pass writes the gradient over it, so
//! that words and regions are multiplied only once. Under the rules `masked` and `zero` a tile with
//! few cells above the threshold saves only these cells (12 bytes each in f32); every other tile
//! saves all cells. Under these two rules cells at or below the threshold have no gradient; under
//! every rule pairs without upstream gradient have none. Sums over tiles skip such cells where they
//! are many.
//!
//! The tiles and the order of sums do not depend on the number of threads, and so neither does any
//! byte of the result.

mod backward;
mod forward;
mod listed;
mod masked;
mod pair;
mod rows;
#[cfg(test)]
mod tests;
mod tiles;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Result, Tensor, WithDType};
use uard_core::operator::cpu_operator;
use uard_core::slices::reading;
use uard_core::{Regions, Words};
use uard_linalg::matmul::Matmul;
use uard_linalg::vector::Number;

use crate::config::MatcherConfig;
use crate::kept::Above;
use backward::BatchBackward;
use listed::ListedCells;
use pair::Rule;
use tiles::{PaddedCounts, Tile, Tiles};

const NAME: &str = "uard-matcher";

/// How the similarities of a batch are computed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OperatorOptions {
    pub config: MatcherConfig,
    /// How words are multiplied with regions.
    pub matmul: Matmul,
    pub threshold: f64,
}

/// Similarities of a batch with their graph, and by-products.
#[derive(Debug)]
pub(crate) struct OperatorOutput {
    /// Similarity [I, C], differentiable.
    pub similarities: Tensor,
    pub by_products: ByProducts,
}

/// What the forward pass computes beside similarities, at no further cost.
#[derive(Debug)]
pub(crate) struct ByProducts {
    /// Highest relevance of each word in each image, [C, W, I].
    pub word_maxima: Vec<f32>,
    /// Counts of what is above the threshold.
    pub above: Above,
}

/// Similarities [I, C] as numbers, by-products, and what the backward pass reads.
struct ForwardOutput<T> {
    similarities: Vec<T>,
    by_products: ByProducts,
    saved: SavedState<T>,
}

/// Unit words [C, W, D] and regions [I, R, D] to similarity [I, C].
#[derive(Debug)]
struct MatcherOperator<T> {
    rule: Rule<T>,
    tiles: Tiles,
    /// Whether there will be a backward pass, for which relevance is saved.
    is_trained: bool,
    matmul: Matmul,
}

/// What the forward pass saves for the backward pass.
#[derive(Debug)]
struct SavedState<T> {
    /// The valid words of all captions, without gaps.
    words: Vec<T>,
    /// The Gram matrix of each image's regions: R rows, padded to whole vectors.
    region_gram: Vec<T>,
    /// [C, W, W].
    word_gram: Vec<T>,
    not_finite: NotFinite,
    /// Relevance tile by tile; taken by the first backward pass, which overwrites it.
    tiles: Mutex<Option<Vec<SavedTile<T>>>>,
}

/// For each image and each caption whether it has a fragment that is not finite. Masks and maxima
/// would hide that.
#[derive(Debug)]
struct NotFinite {
    images: Vec<bool>,
    captions: Vec<bool>,
}

impl NotFinite {
    fn any(&self) -> bool {
        self.images.contains(&true) || self.captions.contains(&true)
    }

    fn has(&self, image: usize, caption: usize) -> bool {
        self.images[image] || self.captions[caption]
    }

    fn touches(&self, tile: &Tile) -> bool {
        self.images[tile.images.clone()].contains(&true)
            || self.captions[tile.captions.clone()].contains(&true)
    }
}

/// The relevance of a tile, over which the backward pass writes its gradient.
#[derive(Debug)]
enum SavedTile<T> {
    /// Every cell, row-major [rows, columns].
    AllCells(Vec<T>),
    /// The cells above the threshold, where they are few.
    Listed(ListedCells<T>),
}

/// The rows of both tensors, padding included.
struct Fragments<'a, T> {
    /// [C, W, D].
    words: &'a [T],
    /// [I, R, D].
    regions: &'a [T],
    width: usize,
}

/// The similarity of every pair of a batch with rows of `T`.
pub(crate) fn similarities<T: WithDType + Number>(
    options: &OperatorOptions,
    regions: &Regions,
    words: &Words,
) -> Result<OperatorOutput> {
    let operator = MatcherOperator::<T>::new(options, regions, words);
    let (u, v) = (words.detach(), regions.detach());
    let (u, v) = (u.rows().contiguous()?, v.rows().contiguous()?);
    let ForwardOutput {
        similarities,
        by_products,
        saved,
    } = operator.forward(&Fragments::new(
        reading(&u).numbers(NAME)?,
        reading(&v).numbers(NAME)?,
        words.width(),
    ));
    let shape = (regions.images(), words.captions());
    let inputs = [words.rows(), regions.rows()];
    let similarities = cpu_operator(similarities, shape, &inputs, move |_, upstream| {
        let mut upstream = upstream.flatten_all()?.to_vec1::<T>()?;
        saved.put_nan(&mut upstream);
        let (words, regions) = (reading(&u), reading(&v));
        let width = u.dim(2)?;
        let fragments = Fragments::new(words.numbers(NAME)?, regions.numbers(NAME)?, width);
        let backward = BatchBackward {
            operator: &operator,
            fragments: &fragments,
            saved: &saved,
            upstream: &upstream,
        };
        let (to_words, to_regions) = backward.run();
        Ok(vec![
            Tensor::from_vec(to_words, u.shape(), &Device::Cpu)?,
            Tensor::from_vec(to_regions, v.shape(), &Device::Cpu)?,
        ])
    })?;
    Ok(OperatorOutput {
        similarities,
        by_products,
    })
}

impl<T: Number> MatcherOperator<T> {
    fn new(options: &OperatorOptions, regions: &Regions, words: &Words) -> Self {
        let regions_of_images = PaddedCounts {
            counts: regions.counts(),
            longest: regions.longest(),
        };
        let words_of_captions = PaddedCounts {
            counts: words.counts(),
            longest: words.longest(),
        };
        Self {
            rule: Rule::new(&options.config, options.threshold),
            tiles: Tiles::new(regions_of_images, words_of_captions),
            is_trained: words.rows().track_op() || regions.rows().track_op(),
            matmul: options.matmul,
        }
    }
}

impl<T> SavedState<T> {
    /// Writes NaN to `pairs` [I, C] where the image or the caption has a fragment that is not
    /// finite.
    fn put_nan(&self, pairs: &mut [T])
    where
        T: Number,
    {
        if !self.not_finite.any() {
            return;
        }
        let captions = self.not_finite.captions.len();
        for (pair, value) in pairs.iter_mut().enumerate() {
            if self.not_finite.has(pair / captions, pair % captions) {
                *value = T::nan();
            }
        }
    }

    fn put_tiles(&self, tiles: Vec<SavedTile<T>>) {
        *self.tiles.lock().unwrap_or_else(PoisonError::into_inner) = Some(tiles);
    }

    fn take_tiles(&self) -> Option<Vec<SavedTile<T>>> {
        self.tiles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl<'a, T: Number> Fragments<'a, T> {
    fn new(words: &'a [T], regions: &'a [T], width: usize) -> Self {
        Self {
            words,
            regions,
            width,
        }
    }

    /// The regions of some images, padding included; `longest` is R.
    fn regions_of(&self, images: &Range<usize>, longest: usize) -> &'a [T] {
        let of_image = longest * self.width;
        &self.regions[images.start * of_image..images.end * of_image]
    }
}
