//! The cut of a batch into tiles: captions into groups, images into blocks, and one tile of
//! relevance for each group and block.
//!
//! A tile fits the cache of one core. The cut depends on the batch alone, not on the number of
//! threads.

use std::ops::Range;

use uard_linalg::vector::{Number, WIDEST};

/// A group takes captions until it has this many words.
const WORDS_IN_A_GROUP: usize = 96;

/// A block takes images until it has this many regions, padding included.
const REGIONS_IN_A_BLOCK: usize = 256;

/// How many valid fragments each image or caption of a batch has, and the length to which all are
/// padded.
#[derive(Debug, Clone, Copy)]
pub(super) struct PaddedCounts<'a> {
    pub counts: &'a [usize],
    /// R for regions, W for words.
    pub longest: usize,
}

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
    /// Number of valid words of the captions.
    pub rows: usize,
    /// Number of regions of the images, padding included.
    pub columns: usize,
}

/// A pair of an image and a caption, and where its cells lie in its tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairInTile {
    pub image: usize,
    pub caption: usize,
    /// Index of its first cell among the numbers of the tile.
    pub start: usize,
    /// Valid words of the caption.
    pub words: usize,
    /// Valid regions of the image.
    pub regions: usize,
}

/// Row and column of a cell in its tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct CellIndex {
    pub row: u32,
    pub column: u32,
}

/// The gradient of the loss with respect to R of one query of a pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryUpstream<T> {
    /// With respect to R of each word.
    pub word: T,
    /// With respect to R of each region.
    pub region: T,
}

impl PairInTile {
    /// The gradient with respect to R of each query, from that with respect to the similarity
    /// (`upstream`), to which each side adds the mean of R over its queries.
    pub(super) fn query_upstream<T: Number>(&self, upstream: T) -> QueryUpstream<T> {
        let mean = |queries: usize| upstream / T::from_f64(queries as f64);
        QueryUpstream {
            word: mean(self.words),
            region: mean(self.regions),
        }
    }

    /// The cell of its first word with its first region.
    pub(super) fn first_cell(&self, tile: &Tile) -> CellIndex {
        let columns = tile.columns.max(1);
        CellIndex {
            row: (self.start / columns) as u32,
            column: (self.start % columns) as u32,
        }
    }
}

impl Tiles {
    pub(super) fn new(regions: PaddedCounts<'_>, words: PaddedCounts<'_>) -> Self {
        let mut word_starts = vec![0];
        let mut groups = Vec::new();
        let mut first = 0;
        for (caption, &count) in words.counts.iter().enumerate() {
            word_starts.push(word_starts[caption] + count);
            let is_last = caption + 1 == words.counts.len();
            if is_last || word_starts[caption + 1] - word_starts[first] >= WORDS_IN_A_GROUP {
                groups.push(first..caption + 1);
                first = caption + 1;
            }
        }
        Self {
            region_counts: regions.counts.to_vec(),
            longest_regions: regions.longest,
            word_counts: words.counts.to_vec(),
            longest_words: words.longest,
            groups,
            word_starts,
            images_in_block: REGIONS_IN_A_BLOCK.div_ceil(regions.longest.max(1)).max(1),
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

    /// The rows of some captions among all valid words.
    pub(super) fn rows(&self, captions: &Range<usize>) -> Range<usize> {
        self.word_starts[captions.start]..self.word_starts[captions.end]
    }

    /// The number of tiles.
    pub(super) fn len(&self) -> usize {
        self.groups.len() * self.blocks()
    }

    /// The images of a block.
    pub(super) fn images_of(&self, block: usize) -> Range<usize> {
        let first = block * self.images_in_block;
        first..self.images().min(first + self.images_in_block)
    }

    /// The tile at this place in the order group by group, block by block.
    pub(super) fn tile(&self, at: usize) -> Tile {
        let (group, block) = (at / self.blocks(), at % self.blocks());
        let captions = self.groups[group].clone();
        let images = self.images_of(block);
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
    pub(super) fn pairs<'a>(&'a self, tile: &Tile) -> impl Iterator<Item = PairInTile> + use<'a> {
        let first_row = self.word_starts[tile.captions.start];
        let (columns, first_image) = (tile.columns, tile.images.start);
        let images = tile.images.clone();
        tile.captions.clone().flat_map(move |caption| {
            let row = self.word_starts[caption] - first_row;
            images.clone().map(move |image| PairInTile {
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

    fn padded(counts: &[usize], longest: usize) -> PaddedCounts<'_> {
        PaddedCounts { counts, longest }
    }

    #[test]
    fn tiles_cover_every_pair_once() {
        let region_counts: Vec<usize> = (0..19).map(|image| 20 + image % 17).collect();
        let word_counts: Vec<usize> = (0..23).map(|caption| 8 + caption * 5 % 13).collect();
        let tiles = Tiles::new(padded(&region_counts, 36), padded(&word_counts, 20));
        assert!(tiles.blocks() > 1 && tiles.groups().len() > 1);
        let mut seen = vec![0; 19 * 23];
        for tile in (0..tiles.len()).map(|at| tiles.tile(at)) {
            for pair in tiles.pairs(&tile) {
                seen[pair.image * 23 + pair.caption] += 1;
                let last = pair.start + (pair.words - 1) * tile.columns + pair.regions;
                assert!(last <= tile.rows * tile.columns);
            }
        }
        assert!(seen.iter().all(|&times| times == 1));
    }

    #[test]
    fn one_pair_makes_one_tile_and_a_batch_without_captions_none() {
        assert_eq!(Tiles::new(padded(&[1], 1), padded(&[1], 1)).len(), 1);
        assert_eq!(Tiles::new(padded(&[1], 1), padded(&[], 0)).len(), 0);
    }
}
