//! Forward: relevance, similarity, word maxima and counts, tile by tile.

use rayon::prelude::*;
use uard_core::product::{Matrix, Output, PackedLeft, PackedRight, product};
use uard_core::vector::WIDEST;

use super::masked::{Answers, Grams};
use super::pair::Worker;
use super::tiles::{Place, Tile};
use super::{ByProducts, Fragments, Keep, MatcherOperator, Saved};
use crate::Kept;
use crate::side::Real;

/// What one tile gives.
struct TileForward<T> {
    /// Caption by caption, an entry for each image of the block.
    similarities: Vec<T>,
    /// Word by word, an entry for each image of the block.
    word_maxima: Vec<f32>,
    kept: Kept,
    /// Relevance, if the backward pass will want it.
    relevance: Vec<T>,
}

/// Words of each group and regions of each block, packed for the product.
pub(super) struct Packed<T> {
    groups: Vec<PackedLeft<T>>,
    blocks: Vec<PackedRight<T>>,
}

impl<T: Real> Packed<T> {
    /// Relevance of a tile, row-major [rows, columns].
    pub(super) fn relevance(&self, tile: &Tile, out: &mut Vec<T>) {
        out.resize(tile.rows * tile.columns, T::zero());
        self.blocks[tile.block].product_of_packed(out, &self.groups[tile.group]);
    }
}

impl<T: Real> MatcherOperator<T> {
    /// Similarities [I, C], and what the backward pass reuses.
    pub(super) fn forward(&self, fragments: &Fragments<'_, T>) -> (Vec<T>, Saved<T>) {
        let saved = self.prepare(fragments);
        let packed = self.pack(fragments, &saved.words);
        let found: Vec<TileForward<T>> = (0..self.tiles.len())
            .into_par_iter()
            .map_init(Worker::default, |worker, at| {
                self.forward_tile(&self.tiles.tile(at), &packed, &saved, worker)
            })
            .collect();
        let captions = self.tiles.captions();
        let (images, longest) = (self.tiles.images(), self.tiles.longest_words);
        let mut similarities = vec![T::zero(); images * captions];
        let mut word_maxima = vec![0.0; captions * longest * images];
        let mut kept = Kept::of_totals(&self.tiles.region_counts, &self.tiles.word_counts);
        let mut relevance = Vec::with_capacity(found.len());
        for (at, found) in found.into_iter().enumerate() {
            let tile = self.tiles.tile(at);
            let mut rows = found.similarities.chunks_exact(tile.images.len());
            let mut maxima = found.word_maxima.chunks_exact(tile.images.len());
            for caption in tile.captions {
                let images_of_tile = tile.images.clone().zip(rows.next().into_iter().flatten());
                images_of_tile.for_each(|(image, &value)| {
                    similarities[image * captions + caption] = value;
                });
                let words = 0..self.tiles.word_counts[caption];
                for (word, maxima) in words.zip(&mut maxima) {
                    let start = (caption * longest + word) * images + tile.images.start;
                    word_maxima[start..start + maxima.len()].copy_from_slice(maxima);
                }
            }
            kept += found.kept;
            relevance.push(found.relevance);
        }
        if !self.has_masks {
            kept = kept.everything();
        }
        self.by_products.put(ByProducts { word_maxima, kept });
        if self.keep == Keep::Relevance {
            saved.put_relevance(relevance);
        }
        (similarities, saved)
    }

    /// The valid words without gaps, and the Gram matrices.
    pub(super) fn prepare(&self, fragments: &Fragments<'_, T>) -> Saved<T> {
        let tiles = &self.tiles;
        let (longest, width) = (tiles.longest_words, fragments.width);
        let mut words = Vec::with_capacity(tiles.words() * width);
        let captions = fragments.words.chunks_exact((longest * width).max(1));
        for (rows, &count) in captions.zip(&tiles.word_counts) {
            words.extend_from_slice(&rows[..count * width]);
        }
        let mut word_gram = vec![T::zero(); tiles.captions() * longest * longest];
        word_gram
            .par_chunks_mut((longest * longest).max(1))
            .zip(fragments.words.par_chunks((longest * width).max(1)))
            .for_each(|(gram, rows)| {
                let rows = Matrix::row_major(rows, longest, width);
                product(gram, rows, rows.transposed(), Output::Overwrite);
            });
        Saved::new(words, self.region_grams(fragments), word_gram)
    }

    /// R rows an image, each padded to whole vectors.
    fn region_grams(&self, fragments: &Fragments<'_, T>) -> Vec<T> {
        let (longest, width) = (self.tiles.longest_regions, fragments.width);
        let stride = longest.next_multiple_of(WIDEST);
        let mut grams = vec![T::zero(); self.tiles.images() * longest * stride];
        grams
            .par_chunks_mut((longest * stride).max(1))
            .zip(fragments.regions.par_chunks((longest * width).max(1)))
            .for_each_init(Vec::new, |dense, (gram, rows)| {
                let rows = Matrix::row_major(rows, longest, width);
                dense.resize(longest * longest, T::zero());
                product(dense, rows, rows.transposed(), Output::Overwrite);
                for (to, from) in gram.chunks_exact_mut(stride).zip(dense.chunks(longest)) {
                    to[..longest].copy_from_slice(from);
                }
            });
        grams
    }

    /// Words and regions, ready to be multiplied tile by tile.
    pub(super) fn pack(&self, fragments: &Fragments<'_, T>, words: &[T]) -> Packed<T> {
        let (tiles, width) = (&self.tiles, fragments.width);
        let groups = tiles.groups().par_iter().map(|captions| {
            let rows = tiles.rows(captions);
            let words = &words[rows.start * width..rows.end * width];
            PackedLeft::new(self.matmul, Matrix::row_major(words, rows.len(), width))
        });
        let blocks = (0..tiles.blocks()).into_par_iter().map(|block| {
            let tile = tiles.tile(block);
            let regions = fragments.regions_of(&tile, tiles.longest_regions);
            let regions = Matrix::row_major(regions, tile.columns, width);
            PackedRight::new(self.matmul, regions.transposed())
        });
        Packed {
            groups: groups.collect(),
            blocks: blocks.collect(),
        }
    }

    fn forward_tile(
        &self,
        tile: &Tile,
        packed: &Packed<T>,
        saved: &Saved<T>,
        worker: &mut Worker<T>,
    ) -> TileForward<T> {
        let images = tile.images.len();
        let mut relevance = std::mem::take(&mut worker.relevance);
        packed.relevance(tile, &mut relevance);
        let mut found = TileForward {
            similarities: Vec::with_capacity(tile.captions.len() * images),
            word_maxima: vec![0.0; tile.rows * images],
            kept: Kept::default(),
            relevance: Vec::new(),
        };
        for place in self.tiles.places(tile) {
            worker.load(&relevance, tile.columns, &place, self.tiles.longest_regions);
            let answers = worker.forward(&self.rule, self.grams(saved, &place));
            let words = answers.words / T::from_f64(place.words as f64);
            let regions = answers.regions / T::from_f64(place.regions as f64);
            found.similarities.push(words + regions);
            let first = place.start / tile.columns * images + place.image - tile.images.start;
            for (word, &best) in worker.word_maxima().iter().enumerate() {
                found.word_maxima[first + word * images] = best.to_f64() as f32;
            }
            add_answers(&mut found.kept, &answers);
        }
        match self.keep {
            Keep::Relevance => found.relevance = relevance,
            Keep::Nothing => worker.relevance = relevance,
        }
        found
    }

    pub(super) fn grams<'a>(&self, saved: &'a Saved<T>, place: &Place) -> Grams<'a, T> {
        let (r, w) = (self.tiles.longest_regions, self.tiles.longest_words);
        let of_image = r * r.next_multiple_of(WIDEST);
        Grams {
            regions: &saved.region_gram[place.image * of_image..][..of_image],
            words: &saved.word_gram[place.caption * w * w..][..w * w],
            word_stride: w,
        }
    }
}

fn add_answers<T>(kept: &mut Kept, answers: &Answers<T>) {
    kept.word_queries += answers.word_queries;
    kept.region_queries += answers.region_queries;
    kept.cells += answers.cells;
}
