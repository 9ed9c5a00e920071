//! The similarity of a batch on the CPU: one operator with an analytic gradient.
//!
//! It reads words and regions and multiplies them tile by tile; behind the product nothing is as
//! wide as the joint space until the gradients of the fragments are summed. Of a batch that is trained
//! on, relevance is kept and becomes its own gradient in place, which spares the backward pass a
//! second product: of a tile with few cells above the threshold those cells (12 bytes each), of any
//! other tile every cell. Cells at or below the threshold and pairs without upstream gradient have
//! no gradient, and sums over tiles skip them.
//!
//! Work is cut into tiles and summed in a fixed order: the same bytes for any number of threads.

mod backward;
mod forward;
mod listed;
mod masked;
mod pair;
mod rows;
#[cfg(test)]
mod tests;
mod tiles;

use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Result, Tensor, WithDType};
use uard_core::operator::cpu_operator;
use uard_core::slices::reading;
use uard_core::{Regions, Words};
use uard_linalg::matmul::Matmul;
use uard_linalg::vector::Number;

use crate::config::MatcherConfig;
use crate::kept::Above;
use listed::Listed;
use pair::Rule;
use tiles::{Tile, Tiles};

const NAME: &str = "uard-matcher";

/// What is asked of a batch, beside its tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub config: MatcherConfig,
    /// Of relevance.
    pub matmul: Matmul,
    pub threshold: f64,
}

/// What a batch of the CPU gives.
#[derive(Debug)]
pub(crate) struct Found {
    /// Similarity [I, C], differentiable.
    pub similarities: Tensor,
    pub by_products: ByProducts,
}

/// What the forward pass knows for free.
#[derive(Debug)]
pub(crate) struct ByProducts {
    /// Highest relevance of each word in each image, [C, W, I].
    pub word_maxima: Vec<f32>,
    /// What is above the threshold.
    pub above: Above,
}

/// Similarities [I, C], and what else a forward pass finds.
struct Forward<T> {
    similarities: Vec<T>,
    by_products: ByProducts,
    saved: Saved<T>,
}

/// Unit words [C, W, D] and regions [I, R, D] to similarity [I, C].
#[derive(Debug)]
struct MatcherOperator<T> {
    rule: Rule<T>,
    tiles: Tiles,
    /// Whether relevance of every pair stays in memory for the backward pass.
    is_trained: bool,
    matmul: Matmul,
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug)]
struct Saved<T> {
    /// The valid words of all captions, without gaps.
    words: Vec<T>,
    /// [I, R] rows, padded to whole vectors.
    region_gram: Vec<T>,
    /// [C, W, W].
    word_gram: Vec<T>,
    broken: Broken,
    /// Tile by tile, until a backward pass turns it into gradients.
    relevance: Mutex<Option<Vec<Left<T>>>>,
}

/// Images and captions with a fragment that is not finite, which masks and maxima would hide.
#[derive(Debug)]
struct Broken {
    images: Vec<bool>,
    captions: Vec<bool>,
}

impl Broken {
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

/// What is left of a tile: relevance, which the backward pass turns into its gradient in place.
#[derive(Debug)]
enum Left<T> {
    /// Every cell.
    Every(Vec<T>),
    /// The cells above the threshold, where they are few.
    Listed(Listed<T>),
}

/// The two tensors as slices.
struct Fragments<'a, T> {
    words: &'a [T],
    regions: &'a [T],
    width: usize,
}

/// The similarity of every pair of a batch whose rows are `T`.
pub(crate) fn similarities<T: WithDType + Number>(
    question: &Question,
    regions: &Regions,
    words: &Words,
) -> Result<Found> {
    let operator = MatcherOperator::<T>::new(question, regions, words);
    let (u, v) = (words.detach(), regions.detach());
    let (u, v) = (u.rows().contiguous()?, v.rows().contiguous()?);
    let Forward {
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
        let (to_words, to_regions) = operator.gradients(&fragments, &saved, &upstream);
        Ok(vec![
            Tensor::from_vec(to_words, u.shape(), &Device::Cpu)?,
            Tensor::from_vec(to_regions, v.shape(), &Device::Cpu)?,
        ])
    })?;
    Ok(Found {
        similarities,
        by_products,
    })
}

impl<T: Number> MatcherOperator<T> {
    fn new(question: &Question, regions: &Regions, words: &Words) -> Self {
        Self {
            rule: Rule::new(&question.config, question.threshold),
            tiles: Tiles::new(
                (regions.counts(), regions.longest()),
                (words.counts(), words.longest()),
            ),
            is_trained: words.rows().track_op() || regions.rows().track_op(),
            matmul: question.matmul,
        }
    }
}

impl<T> Saved<T> {
    fn new(words: Vec<T>, region_gram: Vec<T>, word_gram: Vec<T>, broken: Broken) -> Self {
        Self {
            words,
            region_gram,
            word_gram,
            broken,
            relevance: Mutex::new(None),
        }
    }

    /// NaN for each broken pair, [I, C].
    fn put_nan(&self, pairs: &mut [T])
    where
        T: Number,
    {
        if !self.broken.any() {
            return;
        }
        let captions = self.broken.captions.len();
        for (pair, value) in pairs.iter_mut().enumerate() {
            if self.broken.has(pair / captions, pair % captions) {
                *value = T::nan();
            }
        }
    }

    fn put_relevance(&self, tiles: Vec<Left<T>>) {
        *self
            .relevance
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(tiles);
    }

    fn take_relevance(&self) -> Option<Vec<Left<T>>> {
        self.relevance
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

    /// The padded regions of a tile's images; `longest` is R.
    fn regions_of(&self, tile: &Tile, longest: usize) -> &'a [T] {
        let of_image = longest * self.width;
        &self.regions[tile.images.start * of_image..tile.images.end * of_image]
    }
}
