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

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use uard_core::slices::{numbers, reading};
use uard_linalg::matmul::Matmul;

use crate::Kept;
use crate::config::MatcherConfig;
use crate::side::Real;
use listed::Listed;
use pair::Rule;
use tiles::{Tile, Tiles};

const NAME: &str = "uard-matcher";

/// What is asked of a batch, beside its tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub config: MatcherConfig,
    /// Of relevance.
    pub matmul: Matmul,
    pub threshold: f64,
    /// Valid regions of each image, and the padded length R.
    pub regions: (&'a [usize], usize),
    /// Valid words of each caption, and the padded length W.
    pub words: (&'a [usize], usize),
    pub keep: Keep,
}

/// What stays in memory between forward and backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Relevance of every pair, for the backward pass.
    Relevance,
    /// Nothing: no gradient is expected. If one is asked for, relevance is computed again.
    Nothing,
}

/// What the forward pass knows for free.
#[derive(Debug)]
pub(crate) struct ByProducts {
    /// Highest relevance of each word in each image, [C, W, I].
    pub word_maxima: Vec<f32>,
    /// What is above the threshold.
    pub kept: Kept,
}

/// Where the by-products are left; whoever takes them owns them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<Option<ByProducts>>>);

impl Shelf {
    pub(crate) fn take(&self) -> Option<ByProducts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, found: ByProducts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }
}

/// Unit words [C, W, D] and regions [I, R, D], both contiguous, to similarity [I, C].
#[derive(Debug)]
pub(crate) struct MatcherOperator<T> {
    rule: Rule<T>,
    has_masks: bool,
    tiles: Tiles,
    keep: Keep,
    matmul: Matmul,
    by_products: Shelf,
    saved: OnceLock<Saved<T>>,
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

impl<T: Real> MatcherOperator<T> {
    /// The operator, and where its by-products will be after the forward pass.
    pub(crate) fn new(question: &Question<'_>) -> (Self, Shelf) {
        let by_products = Shelf::default();
        let operator = Self {
            rule: Rule::new(&question.config, question.threshold),
            has_masks: question.config.has_masks(),
            tiles: Tiles::new(question.regions, question.words),
            keep: question.keep,
            matmul: question.matmul,
            by_products: by_products.clone(),
            saved: OnceLock::new(),
        };
        (operator, by_products)
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
        T: Real,
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

impl<'a, T: Real> Fragments<'a, T> {
    fn new(words: &'a [T], regions: &'a [T], shape: &Shape) -> Self {
        Self {
            words,
            regions,
            width: shape.dims().last().copied().unwrap_or(0),
        }
    }

    /// The padded regions of a tile's images; `longest` is R.
    fn regions_of(&self, tile: &Tile, longest: usize) -> &'a [T] {
        let of_image = longest * self.width;
        &self.regions[tile.images.start * of_image..tile.images.end * of_image]
    }
}

impl<T: Real> CustomOp2 for MatcherOperator<T> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        words: &CpuStorage,
        words_layout: &Layout,
        regions: &CpuStorage,
        regions_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = words_layout.shape();
        let words = numbers::<T>(words, words_layout, NAME)?;
        let regions = numbers::<T>(regions, regions_layout, NAME)?;
        let fragments = Fragments::new(words, regions, shape);
        let (similarities, saved) = self.forward(&fragments);
        // A second forward pass of the same operator would leave the same.
        let _ = self.saved.set(saved);
        let shape = Shape::from((self.tiles.images(), self.tiles.captions()));
        Ok((T::to_cpu_storage_owned(similarities), shape))
    }

    fn bwd(
        &self,
        words: &Tensor,
        regions: &Tensor,
        _similarities: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut upstream = upstream.flatten_all()?.to_vec1::<T>()?;
        let (u, v) = (reading(words), reading(regions));
        let fragments = Fragments::<T>::new(u.numbers(NAME)?, v.numbers(NAME)?, words.shape());
        let saved = self.saved.get_or_init(|| self.prepare(&fragments));
        saved.put_nan(&mut upstream);
        let (to_words, to_regions) = self.gradients(&fragments, saved, &upstream);
        let device = words.device();
        Ok((
            Some(Tensor::from_vec(to_words, words.shape(), device)?),
            Some(Tensor::from_vec(to_regions, regions.shape(), device)?),
        ))
    }
}
