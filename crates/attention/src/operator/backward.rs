//! Backward: from the gradient of similarities to those of words and regions.
//!
//! The first pass owns groups of captions: it turns the relevance of each tile into its gradient,
//! in place, and sums the gradients of its words. The second owns blocks of images and sums the
//! gradients of their regions from the tiles of all groups, in order.

use std::ops::Range;

use rayon::prelude::*;
use uard_linalg::vector::{AddRows, vectorised};

use super::listed::{Gradients, Listed};
use super::pair::Worker;
use super::rows::{Gradient, Lists, Sparse, add_product, add_transposed_product};
use super::tiles::Tile;
use super::{Fragments, Left, MatcherOperator, Saved};
use crate::side::Real;

/// `dG + dG^T` of an image's regions, from the captions of one group.
type RegionGram<T> = (usize, Vec<T>);

/// Fragments, what the forward pass left, and the gradient of similarities [I, C].
type Inputs<'a, T> = (&'a Fragments<'a, T>, &'a Saved<T>, &'a [T]);

/// The gradients of a group's Gram matrices of regions.
type RegionGrams<T> = Vec<RegionGram<T>>;

impl<T: Real> MatcherOperator<T> {
    /// Gradients of the padded words and regions.
    pub(super) fn gradients(
        &self,
        fragments: &Fragments<'_, T>,
        saved: &Saved<T>,
        upstream: &[T],
    ) -> (Vec<T>, Vec<T>) {
        let mut relevance = saved
            .take_relevance()
            .unwrap_or_else(|| self.relevance_again(fragments, saved));
        let mut words = vec![T::zero(); fragments.words.len()];
        let mut regions = vec![T::zero(); fragments.regions.len()];
        let blocks = self.tiles.blocks().max(1);
        let grams: Vec<Vec<RegionGram<T>>> = relevance
            .par_chunks_mut(blocks)
            .zip(self.split_by_group(&mut words, fragments.width))
            .enumerate()
            .map_init(Worker::default, |worker, (group, (tiles, words))| {
                let inputs = (fragments, saved, upstream);
                self.backward_group(inputs, (group, tiles), words, worker)
            })
            .collect();
        let of_block = self.tiles.images_in_block() * self.tiles.longest_regions * fragments.width;
        regions
            .par_chunks_mut(of_block.max(1))
            .enumerate()
            .for_each_init(Lists::default, |lists, (block, regions)| {
                let inputs = (fragments, saved, upstream);
                self.regions_of_block(inputs, (block, &relevance, &grams), regions, lists);
            });
        (words, regions)
    }

    /// Relevance of every tile, where none was kept or another backward pass has used it up.
    fn relevance_again(&self, fragments: &Fragments<'_, T>, saved: &Saved<T>) -> Vec<Left<T>> {
        let packed = self.pack(fragments, &saved.words);
        let tile = |at| {
            let (tile, mut relevance) = (self.tiles.tile(at), Vec::new());
            packed.relevance(&tile, &mut relevance);
            match self.list(saved, (&tile, &relevance), |_, _| ()) {
                Some(listed) => Left::Listed(listed),
                None => Left::Every(relevance),
            }
        };
        (0..self.tiles.len()).into_par_iter().map(tile).collect()
    }

    fn is_active(&self, tile: &Tile, upstream: &[T]) -> bool {
        let captions = self.tiles.captions();
        tile.images.clone().any(|image| {
            upstream[image * captions..][tile.captions.clone()]
                .iter()
                .any(|&upstream| upstream != T::zero())
        })
    }

    /// Turns the tiles of a group into gradients and adds those of its words, which lie padded in
    /// `to_words`; returns those of the Gram matrices of regions.
    fn backward_group(
        &self,
        (fragments, saved, upstream): Inputs<'_, T>,
        (group, tiles): (usize, &mut [Left<T>]),
        to_words: &mut [T],
        worker: &mut Worker<T>,
    ) -> Vec<RegionGram<T>> {
        let width = fragments.width;
        let captions = &self.tiles.groups()[group];
        let square = self.tiles.longest_words * self.tiles.longest_words;
        let mut word_grams = vec![T::zero(); captions.len() * square];
        let mut valid = vec![T::zero(); self.tiles.rows(captions).len() * width];
        let mut grams = Vec::new();
        for (block, left) in tiles.iter_mut().enumerate() {
            let tile = self.tiles.tile(group * self.tiles.blocks() + block);
            if !self.is_active(&tile, upstream) {
                continue;
            }
            let (inputs, regions) = (
                (saved, upstream),
                fragments.regions_of(&tile, self.tiles.longest_regions),
            );
            match left {
                Left::Every(values) => {
                    let of_tile =
                        self.backward_tile(inputs, (&tile, values), &mut word_grams, worker);
                    grams.extend(of_tile);
                }
                Left::Listed(listed) => {
                    self.backward_listed(inputs, (&tile, listed), &mut word_grams, worker);
                }
            }
            let gradient = left.gradient(&tile);
            add_product(&mut valid, &gradient, (regions, width), &mut worker.lists);
        }
        self.add_word_grams(
            captions,
            (&word_grams, &saved.words),
            &mut valid,
            &mut worker.lists,
        );
        let mut rows = &valid[..];
        let padded = to_words.chunks_exact_mut((self.tiles.longest_words * width).max(1));
        for (to, caption) in padded.zip(captions.clone()) {
            let (from, rest) = rows.split_at(self.tiles.word_counts[caption] * width);
            to[..from.len()].copy_from_slice(from);
            rows = rest;
        }
        grams
    }

    /// Turns a tile's relevance into its gradient; adds to the gradients of the Gram matrices of
    /// its captions and returns those of its images.
    fn backward_tile(
        &self,
        (saved, upstream): (&Saved<T>, &[T]),
        (tile, values): (&Tile, &mut Vec<T>),
        word_grams: &mut [T],
        worker: &mut Worker<T>,
    ) -> impl Iterator<Item = RegionGram<T>> {
        let (r, w) = (self.tiles.longest_regions, self.tiles.longest_words);
        let mut region_grams = vec![Vec::new(); tile.images.len()];
        for place in self.tiles.places(tile) {
            let upstream = upstream[place.image * self.tiles.captions() + place.caption];
            let is_broken = saved.broken.has(place.image, place.caption);
            if upstream == T::zero() || is_broken {
                // The upstream gradient of a broken pair is NaN, and so is that of all its cells.
                for row in values[place.start..]
                    .chunks_mut(tile.columns)
                    .take(place.words)
                {
                    row[..place.regions].fill(upstream);
                }
                continue;
            }
            let region_gram = &mut region_grams[place.image - tile.images.start];
            region_gram.resize(r * self.tiles.region_stride(), T::zero());
            let word_gram =
                &mut word_grams[(place.caption - self.tiles.groups()[tile.group].start) * w * w..];
            worker.load(values, tile.columns, &place, self.tiles.region_stride());
            let grams = self.grams(saved, &place);
            worker.backward(
                &self.rule,
                grams,
                place.each(upstream),
                (region_gram, &mut word_gram[..w * w]),
            );
            worker.store(values, tile.columns, &place);
        }
        let images = tile.images.clone();
        images
            .zip(region_grams)
            .filter(|(_, gram)| !gram.is_empty())
    }

    /// Turns the listed cells of a tile into their gradients, without those that are zero; adds to
    /// the gradients of the Gram matrices of its captions and lists those of its images.
    fn backward_listed(
        &self,
        (saved, upstream): (&Saved<T>, &[T]),
        (tile, listed): (&Tile, &mut Listed<T>),
        word_grams: &mut [T],
        worker: &mut Worker<T>,
    ) {
        let square = self.tiles.longest_words * self.tiles.longest_words;
        let ranges: Vec<Range<usize>> = listed.pairs().collect();
        for (place, own) in self.tiles.places(tile).zip(ranges) {
            let upstream = upstream[place.image * self.tiles.captions() + place.caption];
            let cells = &mut listed.cells[own];
            if upstream == T::zero() {
                cells.iter_mut().for_each(|cell| cell.value = T::zero());
                continue;
            }
            let pair = self.listed_pair(saved, (tile, &place), cells);
            let image = (place.image - tile.images.start) as u32;
            let mut to = Gradients {
                cells: &mut worker.gradient,
                regions: (image, &mut listed.region_grams),
                words: &mut word_grams[(place.caption - tile.captions.start) * square..][..square],
            };
            worker
                .listed
                .backward(&listed.rule, &pair, place.each(upstream), &mut to);
            for (cell, &gradient) in cells.iter_mut().zip(&worker.gradient) {
                cell.value = gradient;
            }
        }
        listed.cells.retain(|cell| cell.value != T::zero());
    }

    /// Adds `(dH + dH^T) U` of each caption of a group to the gradient of its words.
    fn add_word_grams(
        &self,
        captions: &Range<usize>,
        (grams, words): (&[T], &[T]),
        to_words: &mut [T],
        lists: &mut Lists<T>,
    ) {
        let longest = self.tiles.longest_words;
        let width = words.len() / self.tiles.words().max(1);
        let first = self.tiles.rows(captions).start;
        for (gram, caption) in grams
            .chunks_exact((longest * longest).max(1))
            .zip(captions.clone())
        {
            let rows = self.tiles.rows(&(caption..caption + 1));
            let gram = Gradient::Every(Sparse {
                values: gram,
                rows: rows.len(),
                columns: rows.len(),
                stride: longest,
            });
            let to = &mut to_words[(rows.start - first) * width..(rows.end - first) * width];
            let words = &words[rows.start * width..rows.end * width];
            add_product(to, &gram, (words, width), lists);
        }
    }

    /// The gradient of a block's regions, from the tiles and Gram matrices of all groups.
    fn regions_of_block(
        &self,
        (fragments, saved, upstream): Inputs<'_, T>,
        (block, relevance, grams): (usize, &[Left<T>], &[RegionGrams<T>]),
        to_regions: &mut [T],
        lists: &mut Lists<T>,
    ) {
        let (width, longest) = (fragments.width, self.tiles.longest_regions);
        let images = self.tiles.tile(block).images;
        let mut sums = vec![Vec::new(); images.len()];
        for (group, grams) in grams.iter().enumerate() {
            let at = group * self.tiles.blocks() + block;
            let tile = self.tiles.tile(at);
            if !self.is_active(&tile, upstream) {
                continue;
            }
            let rows = self.tiles.rows(&tile.captions);
            let words = &saved.words[rows.start * width..rows.end * width];
            let gradient = relevance[at].gradient(&tile);
            add_transposed_product(to_regions, &gradient, (words, width), lists);
            if let Left::Listed(listed) = &relevance[at] {
                listed.add_region_grams(&mut sums, (longest, self.tiles.region_stride()));
            }
            for (image, gram) in grams.iter().filter(|(image, _)| images.contains(image)) {
                add(&mut sums[image - images.start], gram);
            }
        }
        let of_block = fragments.regions_of(&self.tiles.tile(block), longest);
        let rows = to_regions.chunks_exact_mut((longest * width).max(1));
        for ((to, rows), gram) in rows
            .zip(of_block.chunks_exact((longest * width).max(1)))
            .zip(&sums)
        {
            if !gram.is_empty() {
                let gram = Gradient::Every(Sparse {
                    values: gram,
                    rows: longest,
                    columns: longest,
                    stride: self.tiles.region_stride(),
                });
                add_product(to, &gram, (rows, width), lists);
            }
        }
    }

    /// The padded rows of each group's captions.
    fn split_by_group<'a>(&self, mut rows: &'a mut [T], width: usize) -> Vec<&'a mut [T]> {
        let of_caption = self.tiles.longest_words * width;
        let groups = self.tiles.groups().iter();
        groups
            .map(|captions| {
                let (of_group, rest) =
                    std::mem::take(&mut rows).split_at_mut(captions.len() * of_caption);
                rows = rest;
                of_group
            })
            .collect()
    }
}

impl<T> Left<T> {
    /// What the backward pass has turned it into.
    fn gradient(&self, tile: &Tile) -> Gradient<'_, T> {
        match self {
            Self::Every(values) => Gradient::Every(Sparse {
                values,
                rows: tile.rows,
                columns: tile.columns,
                stride: tile.columns,
            }),
            Self::Listed(listed) => Gradient::Listed(&listed.cells),
        }
    }
}

/// `sums += more`; no sums yet are zeros.
fn add<T: Real>(sums: &mut Vec<T>, more: &[T]) {
    if sums.is_empty() {
        sums.extend_from_slice(more);
        return;
    }
    vectorised(AddRows { sums, rows: more });
}
