//! Forward: relevance, similarity, word maxima and counts, tile by tile.

use rayon::prelude::*;
use uard_linalg::product::{Matrix, Output, PackedLeft, PackedRight, product};

use super::listed::{Cell, Listed, Pair};
use super::masked::{Answers, Cells, Grams};
use super::pair::Worker;
use super::tiles::{Place, Tile};
use super::{Broken, ByProducts, Fragments, Keep, Left, MatcherOperator, Saved};
use crate::Kept;
use crate::side::Real;

/// What one tile gives.
pub(super) struct TileForward<T> {
    /// Caption by caption, an entry for each image of the block.
    pub similarities: Vec<T>,
    /// Word by word, an entry for each image of the block.
    word_maxima: Vec<f32>,
    kept: Kept,
    /// What the backward pass will want.
    left: Option<Left<T>>,
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
            relevance.extend(found.left);
        }
        if !self.has_masks {
            kept = kept.everything();
        }
        saved.put_nan(&mut similarities);
        self.put_nan_maxima(&saved, &mut word_maxima);
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
        let region_gram = self.region_grams(fragments);
        let broken = Broken {
            images: not_finite(&region_gram, tiles.longest_regions, tiles.region_stride()),
            captions: not_finite(&word_gram, longest, longest),
        };
        Saved::new(words, region_gram, word_gram, broken)
    }

    /// NaN for each word [C, W, I] that is not finite itself or asks such an image.
    fn put_nan_maxima(&self, saved: &Saved<T>, word_maxima: &mut [f32]) {
        if !saved.broken.any() {
            return;
        }
        let (longest, images) = (self.tiles.longest_words, self.tiles.images());
        for (caption, &count) in self.tiles.word_counts.iter().enumerate() {
            for word in 0..count {
                let row = caption * longest + word;
                let is_finite = saved.word_gram[row * longest + word].is_finite();
                let maxima = &mut word_maxima[row * images..][..images];
                for (maximum, &is_broken) in maxima.iter_mut().zip(&saved.broken.images) {
                    if is_broken || !is_finite {
                        *maximum = f32::NAN;
                    }
                }
            }
        }
    }

    /// R rows an image, each padded to whole vectors.
    fn region_grams(&self, fragments: &Fragments<'_, T>) -> Vec<T> {
        let (longest, width) = (self.tiles.longest_regions, fragments.width);
        let stride = self.tiles.region_stride();
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
        let mut relevance = std::mem::take(&mut worker.relevance);
        packed.relevance(tile, &mut relevance);
        let mut found = TileForward::empty(tile);
        let best = |place: &Place, best: &[T]| found.put_word_maxima(tile, place, best);
        if let Some(listed) = self.list(saved, (tile, &relevance), best) {
            for (place, own) in self.tiles.places(tile).zip(listed.pairs()) {
                let pair = self.listed_pair(saved, (tile, &place), &listed.cells[own]);
                found.put_answers(&place, &worker.listed.forward(&listed.rule, &pair));
            }
            if self.keep == Keep::Relevance {
                found.left = Some(Left::Listed(listed));
            }
        } else {
            self.answer_every((tile, &relevance), saved, worker, &mut found);
            if self.keep == Keep::Relevance {
                found.left = Some(Left::Every(relevance));
                return found;
            }
        }
        worker.relevance = relevance;
        found
    }

    /// The cells above the threshold, if the rule has one and they are few; tells the highest
    /// relevance of each word of every pair.
    pub(super) fn list(
        &self,
        saved: &Saved<T>,
        (tile, relevance): (&Tile, &[T]),
        on_pair: impl FnMut(&Place, &[T]),
    ) -> Option<Listed<T>> {
        // Where every query answers, a list has little to leave out; where a fragment is not finite,
        // every cell gets a gradient.
        let rule = self.rule.masked().filter(|rule| !rule.answers_below)?;
        if saved.broken.touches(tile) {
            return None;
        }
        let stride = self.tiles.region_stride();
        let places = self.tiles.places(tile);
        let load = |place: &Place, cells: &mut Cells<T>| {
            cells.load(relevance, tile.columns, place, stride);
        };
        Listed::of_tile((tile, rule), places, load, on_pair)
    }

    /// Similarities from every cell.
    pub(super) fn answer_every(
        &self,
        (tile, relevance): (&Tile, &[T]),
        saved: &Saved<T>,
        worker: &mut Worker<T>,
        found: &mut TileForward<T>,
    ) {
        for place in self.tiles.places(tile) {
            worker.load(relevance, tile.columns, &place, self.tiles.region_stride());
            let answers = worker.forward(&self.rule, self.grams(saved, &place));
            found.put_answers(&place, &answers);
            found.put_word_maxima(tile, &place, worker.word_maxima());
        }
    }

    /// A pair by its listed cells.
    pub(super) fn listed_pair<'a>(
        &self,
        saved: &'a Saved<T>,
        (tile, place): (&Tile, &Place),
        cells: &'a [Cell<T>],
    ) -> Pair<'a, T> {
        let stride = self.tiles.region_stride();
        Pair::new(
            cells,
            (self.grams(saved, place), stride),
            place.corner(tile),
        )
    }

    pub(super) fn grams<'a>(&self, saved: &'a Saved<T>, place: &Place) -> Grams<'a, T> {
        let (r, w) = (self.tiles.longest_regions, self.tiles.longest_words);
        let of_image = r * self.tiles.region_stride();
        Grams {
            regions: &saved.region_gram[place.image * of_image..][..of_image],
            words: &saved.word_gram[place.caption * w * w..][..w * w],
            word_stride: w,
        }
    }
}

/// Which entries have a fragment that is not finite, by the diagonals of their Gram matrices of
/// `longest` rows.
fn not_finite<T: Real>(grams: &[T], longest: usize, stride: usize) -> Vec<bool> {
    let entries = grams.chunks_exact((longest * stride).max(1));
    let is_broken = |gram: &[T]| (0..longest).any(|at| !gram[at * stride + at].is_finite());
    entries.map(is_broken).collect()
}

impl<T: Real> TileForward<T> {
    /// Nothing is known of any pair.
    pub(super) fn empty(tile: &Tile) -> Self {
        let images = tile.images.len();
        Self {
            similarities: Vec::with_capacity(tile.captions.len() * images),
            word_maxima: vec![0.0; tile.rows * images],
            kept: Kept::default(),
            left: None,
        }
    }

    /// Similarity and counts of the next pair.
    fn put_answers(&mut self, place: &Place, answers: &Answers<T>) {
        let words = answers.words / T::from_f64(place.words as f64);
        let regions = answers.regions / T::from_f64(place.regions as f64);
        self.similarities.push(words + regions);
        self.kept.word_queries += answers.word_queries;
        self.kept.region_queries += answers.region_queries;
        self.kept.cells += answers.cells;
    }

    /// The highest relevance of each word of a pair.
    fn put_word_maxima(&mut self, tile: &Tile, place: &Place, best: &[T]) {
        let images = tile.images.len();
        let first = place.start / tile.columns * images + place.image - tile.images.start;
        for (word, &best) in best.iter().enumerate() {
            self.word_maxima[first + word * images] = best.to_f64() as f32;
        }
    }
}
