//! The backward pass: from the gradient of similarities to those of words and regions.
//!
//! The first half goes over groups of captions: it writes the gradient of each tile's relevance
//! over the relevance, and sums the gradients of the group's words. The second half goes over
//! blocks of images, and sums the gradients of a block's regions from the tiles of all groups, in
//! order.

use std::ops::Range;

use rayon::prelude::*;
use uard_linalg::vector::{AddRows, Number, vectorised};

use super::listed::{ListedCells, ListedGradients};
use super::masked::GramGradients;
use super::pair::Workspace;
use super::rows::{Gradient, Lists, Rows, StridedMatrix, add_product, add_transposed_product};
use super::tiles::Tile;
use super::{Fragments, MatcherOperator, SavedState, SavedTile};

/// `dG + dG^T` of an image's regions, summed over the captions of one group.
struct RegionGramGradient<T> {
    image: usize,
    /// Laid out as the Gram matrix.
    values: Vec<T>,
}

/// What the first half of the backward pass leaves to the second.
struct GroupGradients<'a, T> {
    /// The gradient of each tile's relevance, group by group, block by block.
    tiles: &'a [SavedTile<T>],
    /// The gradients of regions' Gram matrices, for each group: of the images of those tiles that
    /// saved every cell.
    region_grams: &'a [Vec<RegionGramGradient<T>>],
}

/// The backward pass of one batch.
pub(super) struct BatchBackward<'a, T> {
    pub operator: &'a MatcherOperator<T>,
    pub fragments: &'a Fragments<'a, T>,
    pub saved: &'a SavedState<T>,
    /// The gradient of the loss with respect to the similarities, [I, C].
    pub upstream: &'a [T],
}

impl<T: Number> BatchBackward<'_, T> {
    /// Gradients of the padded words and regions.
    pub(super) fn run(&self) -> (Vec<T>, Vec<T>) {
        let (fragments, tiles) = (self.fragments, &self.operator.tiles);
        let mut saved_tiles = self
            .saved
            .take_tiles()
            .unwrap_or_else(|| self.recompute_tiles());
        let mut words = vec![T::zero(); fragments.words.len()];
        let mut regions = vec![T::zero(); fragments.regions.len()];
        let region_grams: Vec<Vec<RegionGramGradient<T>>> = saved_tiles
            .par_chunks_mut(tiles.blocks().max(1))
            .zip(self.split_by_group(&mut words))
            .enumerate()
            .map_init(Workspace::default, |workspace, (group, (tiles, words))| {
                self.backward_group(group, tiles, words, workspace)
            })
            .collect();
        let groups = GroupGradients {
            tiles: &saved_tiles,
            region_grams: &region_grams,
        };
        let of_block = tiles.images_in_block() * tiles.longest_regions * fragments.width;
        regions
            .par_chunks_mut(of_block.max(1))
            .enumerate()
            .for_each_init(Lists::default, |lists, (block, regions)| {
                self.backward_block(block, &groups, regions, lists);
            });
        (words, regions)
    }

    /// Computes the relevance of every tile again: none was saved, or another backward pass has
    /// overwritten it.
    fn recompute_tiles(&self) -> Vec<SavedTile<T>> {
        let (operator, saved) = (self.operator, self.saved);
        let packed = operator.pack(self.fragments, &saved.words);
        let recompute = |at| {
            let (tile, mut relevance) = (operator.tiles.tile(at), Vec::new());
            packed.relevance(&tile, &mut relevance);
            match operator.list(&tile, &relevance, saved, |_, _| ()) {
                Some(listed) => SavedTile::Listed(listed),
                None => SavedTile::AllCells(relevance),
            }
        };
        let tiles = (0..operator.tiles.len()).into_par_iter();
        tiles.map(recompute).collect()
    }

    /// Whether a pair of the tile has an upstream gradient that is not zero.
    fn is_active(&self, tile: &Tile) -> bool {
        let captions = self.operator.tiles.captions();
        tile.images.clone().any(|image| {
            self.upstream[image * captions..][tile.captions.clone()]
                .iter()
                .any(|&upstream| upstream != T::zero())
        })
    }

    /// Writes the gradients of a group's tiles over their relevance, and those of its words, which
    /// are padded, to `to_words`; returns those of the Gram matrices of regions.
    fn backward_group(
        &self,
        group: usize,
        saved_tiles: &mut [SavedTile<T>],
        to_words: &mut [T],
        workspace: &mut Workspace<T>,
    ) -> Vec<RegionGramGradient<T>> {
        let (tiles, width) = (&self.operator.tiles, self.fragments.width);
        let captions = &tiles.groups()[group];
        let square = tiles.longest_words * tiles.longest_words;
        let mut word_grams = vec![T::zero(); captions.len() * square];
        let mut valid = vec![T::zero(); tiles.rows(captions).len() * width];
        let mut region_grams = Vec::new();
        for (block, saved_tile) in saved_tiles.iter_mut().enumerate() {
            let tile = tiles.tile(group * tiles.blocks() + block);
            if !self.is_active(&tile) {
                continue;
            }
            match saved_tile {
                SavedTile::AllCells(values) => {
                    let of_tile = self.backward_tile(&tile, values, &mut word_grams, workspace);
                    region_grams.extend(of_tile);
                }
                SavedTile::Listed(listed) => {
                    self.backward_listed(&tile, listed, &mut word_grams, workspace);
                }
            }
            let regions = Rows {
                values: self
                    .fragments
                    .regions_of(&tile.images, tiles.longest_regions),
                width,
            };
            let gradient = saved_tile.gradient(&tile);
            add_product(&mut valid, &gradient, regions, &mut workspace.lists);
        }
        self.add_word_grams(captions, &word_grams, &mut valid, &mut workspace.lists);
        let mut rows = &valid[..];
        let padded = to_words.chunks_exact_mut((tiles.longest_words * width).max(1));
        for (to, caption) in padded.zip(captions.clone()) {
            let (from, rest) = rows.split_at(tiles.word_counts[caption] * width);
            to[..from.len()].copy_from_slice(from);
            rows = rest;
        }
        region_grams
    }

    /// Writes the gradient of every cell of a tile over its relevance; adds to the gradients of the
    /// Gram matrices of the group's captions, and returns those of the tile's images.
    fn backward_tile(
        &self,
        tile: &Tile,
        values: &mut [T],
        word_grams: &mut [T],
        workspace: &mut Workspace<T>,
    ) -> impl Iterator<Item = RegionGramGradient<T>> + use<T> {
        let (operator, tiles) = (self.operator, &self.operator.tiles);
        let stride = tiles.region_stride();
        let (r, w) = (tiles.longest_regions, tiles.longest_words);
        let mut region_grams = vec![Vec::new(); tile.images.len()];
        for pair in tiles.pairs(tile) {
            let upstream = self.upstream[pair.image * tiles.captions() + pair.caption];
            let has_not_finite = self.saved.not_finite.has(pair.image, pair.caption);
            if upstream == T::zero() || has_not_finite {
                // Where a fragment is not finite, upstream is NaN, and with it the gradient of all
                // cells.
                for row in values[pair.start..]
                    .chunks_mut(tile.columns)
                    .take(pair.words)
                {
                    row[..pair.regions].fill(upstream);
                }
                continue;
            }
            let region_gram = &mut region_grams[pair.image - tile.images.start];
            region_gram.resize(r * stride, T::zero());
            let word_gram = &mut word_grams[(pair.caption - tile.captions.start) * w * w..];
            workspace.load(values, tile.columns, &pair, stride);
            workspace.backward(
                &operator.rule,
                operator.grams(self.saved, &pair),
                pair.query_upstream(upstream),
                GramGradients {
                    regions: region_gram,
                    words: &mut word_gram[..w * w],
                },
            );
            workspace.store(values, tile.columns, &pair);
        }
        let grams = tile.images.clone().zip(region_grams);
        grams
            .filter(|(_, values)| !values.is_empty())
            .map(|(image, values)| RegionGramGradient { image, values })
    }

    /// Writes the gradients of the listed cells of a tile over their relevance, and drops those
    /// that are zero; adds to the gradients of the Gram matrices of the group's captions, and lists
    /// those of the tile's images.
    fn backward_listed(
        &self,
        tile: &Tile,
        listed: &mut ListedCells<T>,
        word_grams: &mut [T],
        workspace: &mut Workspace<T>,
    ) {
        let tiles = &self.operator.tiles;
        let square = tiles.longest_words * tiles.longest_words;
        let ranges: Vec<Range<usize>> = listed.pairs().collect();
        for (pair, own) in tiles.pairs(tile).zip(ranges) {
            let upstream = self.upstream[pair.image * tiles.captions() + pair.caption];
            let cells = &mut listed.cells[own];
            if upstream == T::zero() {
                cells.iter_mut().for_each(|cell| cell.value = T::zero());
                continue;
            }
            let listed_pair = self.operator.listed_pair(tile, &pair, self.saved, cells);
            let word_gram = &mut word_grams[(pair.caption - tile.captions.start) * square..];
            let mut gradients = ListedGradients {
                cells: &mut workspace.gradient,
                image: (pair.image - tile.images.start) as u32,
                region_gram: &mut listed.region_grams,
                word_gram: &mut word_gram[..square],
            };
            let upstream = pair.query_upstream(upstream);
            workspace
                .listed
                .backward(&listed.rule, &listed_pair, upstream, &mut gradients);
            for (cell, &gradient) in cells.iter_mut().zip(&workspace.gradient) {
                cell.value = gradient;
            }
        }
        listed.cells.retain(|cell| cell.value != T::zero());
    }

    /// Adds `(dH + dH^T) U` of each caption of a group to the gradient of its words.
    fn add_word_grams(
        &self,
        captions: &Range<usize>,
        grams: &[T],
        to_words: &mut [T],
        lists: &mut Lists<T>,
    ) {
        let (tiles, words) = (&self.operator.tiles, &self.saved.words);
        let longest = tiles.longest_words;
        let width = words.len() / tiles.words().max(1);
        let first = tiles.rows(captions).start;
        for (gram, caption) in grams
            .chunks_exact((longest * longest).max(1))
            .zip(captions.clone())
        {
            let rows = tiles.rows(&(caption..caption + 1));
            let gram = Gradient::AllCells(StridedMatrix {
                values: gram,
                rows: rows.len(),
                columns: rows.len(),
                stride: longest,
            });
            let to = &mut to_words[(rows.start - first) * width..(rows.end - first) * width];
            let values = &words[rows.start * width..rows.end * width];
            add_product(to, &gram, Rows { values, width }, lists);
        }
    }

    /// Adds the gradient of a block's regions, from the tiles and Gram matrices of all groups.
    fn backward_block(
        &self,
        block: usize,
        groups: &GroupGradients<'_, T>,
        to_regions: &mut [T],
        lists: &mut Lists<T>,
    ) {
        let (tiles, width) = (&self.operator.tiles, self.fragments.width);
        let longest = tiles.longest_regions;
        let images = tiles.images_of(block);
        let mut sums = vec![Vec::new(); images.len()];
        for (group, region_grams) in groups.region_grams.iter().enumerate() {
            let at = group * tiles.blocks() + block;
            let tile = tiles.tile(at);
            if !self.is_active(&tile) {
                continue;
            }
            let rows = tiles.rows(&tile.captions);
            let words = Rows {
                values: &self.saved.words[rows.start * width..rows.end * width],
                width,
            };
            let gradient = groups.tiles[at].gradient(&tile);
            add_transposed_product(to_regions, &gradient, words, lists);
            if let SavedTile::Listed(listed) = &groups.tiles[at] {
                listed.add_region_grams(&mut sums, longest, tiles.region_stride());
            }
            for gram in region_grams {
                if images.contains(&gram.image) {
                    add(&mut sums[gram.image - images.start], &gram.values);
                }
            }
        }
        let of_block = self.fragments.regions_of(&images, longest);
        let of_image = (longest * width).max(1);
        let rows = to_regions
            .chunks_exact_mut(of_image)
            .zip(of_block.chunks_exact(of_image));
        for ((to, values), gram) in rows.zip(&sums) {
            if !gram.is_empty() {
                let gram = Gradient::AllCells(StridedMatrix {
                    values: gram,
                    rows: longest,
                    columns: longest,
                    stride: tiles.region_stride(),
                });
                add_product(to, &gram, Rows { values, width }, lists);
            }
        }
    }

    /// The padded rows of each group's captions.
    fn split_by_group<'a>(&self, mut words: &'a mut [T]) -> Vec<&'a mut [T]> {
        let tiles = &self.operator.tiles;
        let of_caption = tiles.longest_words * self.fragments.width;
        let groups = tiles.groups().iter();
        groups
            .map(|captions| {
                let (of_group, rest) =
                    std::mem::take(&mut words).split_at_mut(captions.len() * of_caption);
                words = rest;
                of_group
            })
            .collect()
    }
}

impl<T> SavedTile<T> {
    /// The gradient of the tile's relevance, once the backward pass has written it.
    fn gradient(&self, tile: &Tile) -> Gradient<'_, T> {
        match self {
            Self::AllCells(values) => Gradient::AllCells(StridedMatrix {
                values,
                rows: tile.rows,
                columns: tile.columns,
                stride: tile.columns,
            }),
            Self::Listed(listed) => Gradient::Listed(&listed.cells),
        }
    }
}

/// `sums += more`; empty sums are zero.
fn add<T: Number>(sums: &mut Vec<T>, more: &[T]) {
    if sums.is_empty() {
        sums.extend_from_slice(more);
        return;
    }
    vectorised(AddRows { sums, rows: more });
}
