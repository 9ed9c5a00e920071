//! How is a batch cut? Captions into groups, images into blocks, one tile of relevance for each
//! combination: small enough for a core's cache, and the same for any number of threads.

use std::ops::Range;

use uard_linalg::vector::WIDEST;

use crate::side::Real;

/// A group takes captions until it has this many words.
const WORDS_IN_A_GROUP: usize = 96;

/// A block takes images until it has this many regions, padding included.
const REGIONS_IN_A_BLOCK: usize = 256;

/// The cut of one batch.
#[derive(Debug, Clone)]
pub(super) struct Tiles {
    /// Valid regions of each image.
    pub region_counts: Vec<usize>,
    /// The padded length R.
    pub longest_regions: usize,
    /// Valid words of each caption.
    pub word_counts: Vec<usize>,
    /// The padded length W.
    pub longest_words: usize,
    /// Captions of each group.
    groups: Vec<Range<usize>>,
    /// The row of each caption's first word among all valid words, and their number at the end.
    word_starts: Vec<usize>,
    images_in_block: usize,
}

/// One tile: its rows are the valid words of a group, its columns the padded regions of a block.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    pub group: usize,
    pub block: usize,
    pub captions: Range<usize>,
    pub images: Range<usize>,
    /// Words of the captions.
    pub rows: usize,
    /// Padded regions of the images.
    pub columns: usize,
}

/// A pair's place in its tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub image: usize,
    pub caption: usize,
    /// Of its first cell.
    pub start: usize,
    pub words: usize,
    pub regions: usize,
}

impl Place {
    /// What the gradient of its similarity is to a word's answer, and to a region's.
    pub(super) fn each<T: Real>(&self, upstream: T) -> (T, T) {
        let mean = |queries: usize| upstream / T::from_f64(queries as f64);
        (mean(self.words), mean(self.regions))
    }

    /// The row of its first word and the column of its first region.
    pub(super) fn corner(&self, tile: &Tile) -> (u32, u32) {
        let columns = tile.columns.max(1);
        ((self.start / columns) as u32, (self.start % columns) as u32)
    }
}

impl Tiles {
    pub(super) fn new(regions: (&[usize], usize), words: (&[usize], usize)) -> Self {
        let mut word_starts = vec![0];
        let mut groups = Vec::new();
        let mut first = 0;
        for (caption, &count) in words.0.iter().enumerate() {
            word_starts.push(word_starts[caption] + count);
            let is_last = caption + 1 == words.0.len();
            if is_last || word_starts[caption + 1] - word_starts[first] >= WORDS_IN_A_GROUP {
                groups.push(first..caption + 1);
                first = caption + 1;
            }
        }
        Self {
            region_counts: regions.0.to_vec(),
            longest_regions: regions.1,
            word_counts: words.0.to_vec(),
            longest_words: words.1,
            groups,
            word_starts,
            images_in_block: REGIONS_IN_A_BLOCK.div_ceil(regions.1.max(1)).max(1),
        }
    }

    pub(super) fn images(&self) -> usize {
        self.region_counts.len()
    }

    pub(super) fn captions(&self) -> usize {
        self.word_counts.len()
    }

    /// Row length of a Gram matrix of regions: R in whole vectors.
    pub(super) fn region_stride(&self) -> usize {
        self.longest_regions.next_multiple_of(WIDEST)
    }

    /// Valid words of all captions.
    pub(super) fn words(&self) -> usize {
        self.word_starts[self.captions()]
    }

    pub(super) fn groups(&self) -> &[Range<usize>] {
        &self.groups
    }

    pub(super) fn blocks(&self) -> usize {
        self.images().div_ceil(self.images_in_block)
    }

    pub(super) fn images_in_block(&self) -> usize {
        self.images_in_block
    }

    /// Rows of some captions among all valid words.
    pub(super) fn rows(&self, captions: &Range<usize>) -> Range<usize> {
        self.word_starts[captions.start]..self.word_starts[captions.end]
    }

    /// Tiles, group by group.
    pub(super) fn len(&self) -> usize {
        self.groups.len() * self.blocks()
    }

    pub(super) fn tile(&self, at: usize) -> Tile {
        let (group, block) = (at / self.blocks(), at % self.blocks());
        let captions = self.groups[group].clone();
        let first = block * self.images_in_block;
        let images = first..self.images().min(first + self.images_in_block);
        Tile {
            group,
            block,
            rows: self.rows(&captions).len(),
            columns: images.len() * self.longest_regions,
            captions,
            images,
        }
    }

    /// The pairs of a tile, caption by caption.
    pub(super) fn places(&self, tile: &Tile) -> impl Iterator<Item = Place> {
        let first_row = self.word_starts[tile.captions.start];
        let (columns, first_image) = (tile.columns, tile.images.start);
        let images = tile.images.clone();
        tile.captions.clone().flat_map(move |caption| {
            let row = self.word_starts[caption] - first_row;
            images.clone().map(move |image| Place {
                image,
                caption,
                start: row * columns + (image - first_image) * self.longest_regions,
                words: self.word_counts[caption],
                regions: self.region_counts[image],
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_every_pair_once() {
        let region_counts: Vec<usize> = (0..19).map(|image| 20 + image % 17).collect();
        let word_counts: Vec<usize> = (0..23).map(|caption| 8 + caption * 5 % 13).collect();
        let tiles = Tiles::new((&region_counts, 36), (&word_counts, 20));
        assert!(tiles.blocks() > 1 && tiles.groups().len() > 1);
        let mut seen = vec![0; 19 * 23];
        for tile in (0..tiles.len()).map(|at| tiles.tile(at)) {
            for place in tiles.places(&tile) {
                seen[place.image * 23 + place.caption] += 1;
                let last = place.start + (place.words - 1) * tile.columns + place.regions;
                assert!(last <= tile.rows * tile.columns);
            }
        }
        assert!(seen.iter().all(|&times| times == 1));
    }

    #[test]
    fn one_pair_is_one_tile_and_no_captions_are_none() {
        assert_eq!(Tiles::new((&[1], 1), (&[1], 1)).len(), 1);
        assert_eq!(Tiles::new((&[1], 1), (&[], 0)).len(), 0);
    }
}
