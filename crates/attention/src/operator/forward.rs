//! The forward pass: relevance, similarities, word maxima and counts, tile by tile.

use std::sync::Mutex;

use rayon::prelude::*;
use uard_linalg::product::{Matrix, Output, PackedLeft, PackedRight, product};
use uard_linalg::vector::Number;

use super::listed::{Cell, ListedCells, ListedPair};
use super::masked::{Grams, PairAnswers, PairCells};
use super::pair::Workspace;
use super::tiles::{PairInTile, Tile};
use super::{
    ByProducts, ForwardOutput, Fragments, MatcherOperator, NotFinite, SavedState, SavedTile,
};
use crate::kept::Above;

/// The results of the forward pass of one tile.
pub(super) struct TileOutput<T> {
    tile: Tile,
    /// Caption by caption, a number for each image of the block.
    pub similarities: Vec<T>,
    /// Word by word, a number for each image of the block.
    word_maxima: Vec<f32>,
    above: Above,
    /// The relevance that the backward pass reads; `None` if there will be no backward pass.
    saved: Option<SavedTile<T>>,
}

/// Words of each group of captions and regions of each block of images, packed for the product.
pub(super) struct PackedFragments<T> {
    groups: Vec<PackedLeft<T>>,
    blocks: Vec<PackedRight<T>>,
}

impl<T: Number> PackedFragments<T> {
    /// Relevance of a tile, row-major [rows, columns].
    pub(super) fn relevance(&self, tile: &Tile, out: &mut Vec<T>) {
        out.resize(tile.rows * tile.columns, T::zero());
        self.blocks[tile.block].product_of_packed(out, &self.groups[tile.group]);
    }
}

impl<T: Number> MatcherOperator<T> {
    /// Similarities [I, C] and by-products, and what the backward pass reads.
    pub(super) fn forward(&self, fragments: &Fragments<'_, T>) -> ForwardOutput<T> {
        let saved = self.prepare(fragments);
        let packed = self.pack(fragments, &saved.words);
        let outputs: Vec<TileOutput<T>> = (0..self.tiles.len())
            .into_par_iter()
            .map_init(Workspace::default, |workspace, at| {
                self.forward_tile(&self.tiles.tile(at), &packed, &saved, workspace)
            })
            .collect();
        let captions = self.tiles.captions();
        let (images, longest) = (self.tiles.images(), self.tiles.longest_words);
        let mut similarities = vec![T::zero(); images * captions];
        let mut word_maxima = vec![0.0; captions * longest * images];
        let mut above = Above::default();
        let mut saved_tiles = Vec::with_capacity(outputs.len());
        for output in outputs {
            let tile = output.tile;
            let mut rows = output.similarities.chunks_exact(tile.images.len());
            let mut maxima = output.word_maxima.chunks_exact(tile.images.len());
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
            above += output.above;
            saved_tiles.extend(output.saved);
        }
        saved.put_nan(&mut similarities);
        self.put_nan_maxima(&saved, &mut word_maxima);
        if self.is_trained {
            saved.put_tiles(saved_tiles);
        }
        ForwardOutput {
            similarities,
            by_products: ByProducts { word_maxima, above },
            saved,
        }
    }

    /// The valid words without gaps, and the Gram matrices.
    pub(super) fn prepare(&self, fragments: &Fragments<'_, T>) -> SavedState<T> {
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
        let not_finite = NotFinite {
            images: has_not_finite(&region_gram, tiles.longest_regions, tiles.region_stride()),
            captions: has_not_finite(&word_gram, longest, longest),
        };
        SavedState {
            words,
            region_gram,
            word_gram,
            not_finite,
            tiles: Mutex::new(None),
        }
    }

    /// Writes NaN to `word_maxima` [C, W, I] for each word that is not finite, and for each image
    /// with a region that is not finite.
    fn put_nan_maxima(&self, saved: &SavedState<T>, word_maxima: &mut [f32]) {
        if !saved.not_finite.any() {
            return;
        }
        let (longest, images) = (self.tiles.longest_words, self.tiles.images());
        for (caption, &count) in self.tiles.word_counts.iter().enumerate() {
            for word in 0..count {
                let row = caption * longest + word;
                let is_finite = saved.word_gram[row * longest + word].is_finite();
                let maxima = &mut word_maxima[row * images..][..images];
                for (maximum, &is_nan) in maxima.iter_mut().zip(&saved.not_finite.images) {
                    if is_nan || !is_finite {
                        *maximum = f32::NAN;
                    }
                }
            }
        }
    }

    /// The Gram matrix of each image's regions: R rows, each padded to whole vectors.
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

    /// Packs words and regions for the products of all tiles.
    pub(super) fn pack(&self, fragments: &Fragments<'_, T>, words: &[T]) -> PackedFragments<T> {
        let (tiles, width) = (&self.tiles, fragments.width);
        let groups = tiles.groups().par_iter().map(|captions| {
            let rows = tiles.rows(captions);
            let words = &words[rows.start * width..rows.end * width];
            PackedLeft::new(self.matmul, Matrix::row_major(words, rows.len(), width))
        });
        let blocks = (0..tiles.blocks()).into_par_iter().map(|block| {
            let images = tiles.images_of(block);
            let regions = fragments.regions_of(&images, tiles.longest_regions);
            let columns = images.len() * tiles.longest_regions;
            let regions = Matrix::row_major(regions, columns, width);
            PackedRight::new(self.matmul, regions.transposed())
        });
        PackedFragments {
            groups: groups.collect(),
            blocks: blocks.collect(),
        }
    }

    fn forward_tile(
        &self,
        tile: &Tile,
        packed: &PackedFragments<T>,
        saved: &SavedState<T>,
        workspace: &mut Workspace<T>,
    ) -> TileOutput<T> {
        let mut relevance = std::mem::take(&mut workspace.relevance);
        packed.relevance(tile, &mut relevance);
        let mut output = TileOutput::new(tile);
        let put_best = |pair: &PairInTile, best: &[T]| output.put_word_maxima(pair, best);
        if let Some(listed) = self.list(tile, &relevance, saved, put_best) {
            for (pair, own) in self.tiles.pairs(tile).zip(listed.pairs()) {
                let cells = self.listed_pair(tile, &pair, saved, &listed.cells[own]);
                output.put_answers(&pair, &workspace.listed.forward(&listed.rule, &cells));
            }
            if self.is_trained {
                output.saved = Some(SavedTile::Listed(listed));
            }
        } else {
            self.forward_all_cells(&relevance, saved, workspace, &mut output);
            if self.is_trained {
                output.saved = Some(SavedTile::AllCells(relevance));
                return output;
            }
        }
        workspace.relevance = relevance;
        output
    }

    /// The cells of a tile that are above the threshold; none if the rule has no threshold or if
    /// they are too many. Calls `on_pair` for each pair with the highest relevance of each of its
    /// words.
    pub(super) fn list(
        &self,
        tile: &Tile,
        relevance: &[T],
        saved: &SavedState<T>,
        on_pair: impl FnMut(&PairInTile, &[T]),
    ) -> Option<ListedCells<T>> {
        // Under the rule nearest queries below the threshold have gradients as well; and where a
        // fragment is not finite, every cell has one.
        let rule = self.rule.masked().filter(|rule| !rule.answers_below)?;
        if saved.not_finite.touches(tile) {
            return None;
        }
        let stride = self.tiles.region_stride();
        let load = |pair: &PairInTile, cells: &mut PairCells<T>| {
            cells.load(relevance, tile.columns, pair, stride);
        };
        ListedCells::from_tile(tile, rule, self.tiles.pairs(tile), load, on_pair)
    }

    /// Similarities and word maxima of the output's tile from every cell of its relevance.
    pub(super) fn forward_all_cells(
        &self,
        relevance: &[T],
        saved: &SavedState<T>,
        workspace: &mut Workspace<T>,
        output: &mut TileOutput<T>,
    ) {
        let columns = output.tile.columns;
        for pair in self.tiles.pairs(&output.tile) {
            workspace.load(relevance, columns, &pair, self.tiles.region_stride());
            let answers = workspace.forward(&self.rule, self.grams(saved, &pair));
            output.put_answers(&pair, &answers);
            output.put_word_maxima(&pair, workspace.word_maxima());
        }
    }

    /// A pair with its listed cells.
    pub(super) fn listed_pair<'a>(
        &self,
        tile: &Tile,
        pair: &PairInTile,
        saved: &'a SavedState<T>,
        cells: &'a [Cell<T>],
    ) -> ListedPair<'a, T> {
        ListedPair {
            cells,
            grams: self.grams(saved, pair),
            first: pair.first_cell(tile),
        }
    }

    pub(super) fn grams<'a>(&self, saved: &'a SavedState<T>, pair: &PairInTile) -> Grams<'a, T> {
        let (r, w) = (self.tiles.longest_regions, self.tiles.longest_words);
        let region_stride = self.tiles.region_stride();
        let of_image = r * region_stride;
        Grams {
            regions: &saved.region_gram[pair.image * of_image..][..of_image],
            region_stride,
            words: &saved.word_gram[pair.caption * w * w..][..w * w],
            word_stride: w,
        }
    }
}

/// For each image or caption whether it has a fragment that is not finite, by the diagonals of the
/// Gram matrices, which have `longest` rows.
fn has_not_finite<T: Number>(grams: &[T], longest: usize, stride: usize) -> Vec<bool> {
    let entries = grams.chunks_exact((longest * stride).max(1));
    let has = |gram: &[T]| (0..longest).any(|at| !gram[at * stride + at].is_finite());
    entries.map(has).collect()
}

impl<T: Number> TileOutput<T> {
    /// The output of a tile before any pair is computed.
    pub(super) fn new(tile: &Tile) -> Self {
        let images = tile.images.len();
        Self {
            tile: tile.clone(),
            similarities: Vec::with_capacity(tile.captions.len() * images),
            word_maxima: vec![0.0; tile.rows * images],
            above: Above::default(),
            saved: None,
        }
    }

    /// Appends the similarity of the next pair, and adds its counts.
    fn put_answers(&mut self, pair: &PairInTile, answers: &PairAnswers<T>) {
        let words = answers.words / T::from_f64(pair.words as f64);
        let regions = answers.regions / T::from_f64(pair.regions as f64);
        self.similarities.push(words + regions);
        self.above += answers.above;
    }

    /// Writes the highest relevance of each word of a pair.
    fn put_word_maxima(&mut self, pair: &PairInTile, best: &[T]) {
        let images = self.tile.images.len();
        let first = pair.start / self.tile.columns * images + pair.image - self.tile.images.start;
        for (word, &best) in best.iter().enumerate() {
            self.word_maxima[first + word * images] = best.to_f64() as f32;
        }
    }
}
