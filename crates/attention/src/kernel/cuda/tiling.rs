//! The cut of all pairs into tiles that fit the shared memory of a multiprocessor.
//!
//! A tile is some captions with some images. All its words are multiplied with a fixed number of
//! its regions in one matrix product (a *product* here), and with the next regions in the next one.

use uard_core::gpu::{GpuError, GpuResult};

use crate::WeightRule;

/// The most images of a tile: `match.cu` has room for so many.
pub(super) const MOST_IMAGES: usize = 16;

/// The most captions of a tile.
pub(super) const MOST_CAPTIONS: usize = 32;

/// Numbers of a row that are multiplied at once, a slice; rows are padded to whole slices.
pub(super) const DEPTH: usize = 64;

/// How many regions a product may have, in units of 16: two warps share them, and an instruction
/// multiplies eight.
const REGION_ROWS: std::ops::RangeInclusive<usize> = 4..=9;

/// The pipelines to choose from, the best first; the last is for long captions.
const PIPELINES: [Pipeline; 7] = [
    Pipeline::new(128, 3),
    Pipeline::new(128, 2),
    Pipeline::new(64, 3),
    Pipeline::new(64, 2),
    Pipeline::new(32, 3),
    Pipeline::new(32, 2),
    Pipeline::new(MOST_WORDS, 2),
];

/// The most words of a caption.
const MOST_WORDS: usize = 256;

/// Shared memory that CUDA takes for a block beside what the launch requests.
const RESERVED_BYTES: usize = 2 << 10;

/// The loading of words and regions into shared memory while others are multiplied.
#[derive(Debug, Clone, Copy)]
struct Pipeline {
    /// Words of a product.
    word_rows: usize,
    /// Slices in shared memory at once.
    stages: usize,
}

/// The regions of a tile.
#[derive(Debug, Clone, Copy)]
struct RegionTile {
    /// Regions of a product.
    region_rows: usize,
    /// Regions of a tile, a multiple of those of a product.
    most_regions: usize,
}

/// Sizes of a tile, which the matching kernel is compiled for, and the shared memory of its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TileShape {
    /// Words of a product, and of a tile.
    pub word_rows: usize,
    /// Regions of a product.
    pub region_rows: usize,
    /// Regions of a tile, a multiple of those of a product.
    pub most_regions: usize,
    /// Slices in shared memory at once.
    pub stages: usize,
    /// The first byte of relevance in shared memory.
    pub cells_at: usize,
    /// Shared memory of a block.
    pub shared_bytes: usize,
}

impl Pipeline {
    const fn new(word_rows: usize, stages: usize) -> Self {
        Self { word_rows, stages }
    }
}

impl TileShape {
    /// The shape for images with these numbers of regions and captions with these numbers of words,
    /// on a GPU with `shared` bytes of shared memory for a block.
    ///
    /// Two blocks to a multiprocessor where that is possible: one multiplies while the other
    /// computes R.
    pub(super) fn choose(
        regions: &[usize],
        words: &[usize],
        rule: WeightRule,
        shared: usize,
    ) -> GpuResult<Self> {
        let region_tile = region_tile(regions);
        let longest = words.iter().copied().max().unwrap_or(1);
        let shapes = || {
            PIPELINES
                .into_iter()
                .filter(|pipeline| pipeline.word_rows >= longest)
                .map(|pipeline| Self::new(pipeline, region_tile, rule))
        };
        let fits = |limit: usize| move |shape: &Self| shape.shared_bytes <= limit;
        shapes()
            .find(fits(shared / 2 - RESERVED_BYTES))
            .or_else(|| shapes().find(fits(shared - RESERVED_BYTES)))
            .ok_or_else(|| too_large(longest, region_tile.most_regions))
    }

    fn new(pipeline: Pipeline, region_tile: RegionTile, rule: WeightRule) -> Self {
        let Pipeline { word_rows, stages } = pipeline;
        let RegionTile {
            region_rows,
            most_regions,
        } = region_tile;
        let staged = stages * (word_rows + region_rows) * DEPTH * size_of::<u16>();
        let answers = MOST_IMAGES * word_rows + MOST_CAPTIONS * most_regions;
        // The scan rule has as many norms as there are answers.
        let kept = if rule == WeightRule::Scan {
            2 * answers
        } else {
            answers
        };
        let cells = (word_rows * (most_regions + 1) + kept) * size_of::<f32>();
        // If a tile has several products, the relevance of the first must not be overwritten by the
        // slices of the others, so it lies after the slices.
        let cells_at = if most_regions > region_rows {
            staged
        } else {
            0
        };
        Self {
            word_rows,
            region_rows,
            most_regions,
            stages,
            cells_at,
            shared_bytes: staged.max(cells_at + cells),
        }
    }

    /// Threads of a block.
    pub(super) fn threads(&self) -> u32 {
        2 * self.word_rows as u32
    }
}

/// The regions of a product and of a tile with which all tiles together have the fewest rows; of
/// equal ones the largest product.
fn region_tile(regions: &[usize]) -> RegionTile {
    let longest = regions.iter().copied().max().unwrap_or(1);
    let rows_in_all = |tile: &RegionTile| {
        (tiles(regions, tile.most_regions, MOST_IMAGES).len() - 1) * tile.most_regions
    };
    REGION_ROWS
        .map(|sixteens| 16 * sixteens)
        .map(|region_rows| RegionTile {
            region_rows,
            most_regions: longest.next_multiple_of(region_rows),
        })
        .rev()
        .min_by_key(rows_in_all)
        .unwrap_or(RegionTile {
            region_rows: 144,
            most_regions: 144,
        })
}

/// The first entry of each tile, and the number of entries at the end. A tile has whole entries in
/// order, at most `most_entries` of them with at most `most_rows` fragments; a larger entry is
/// alone.
pub(super) fn tiles(counts: &[usize], most_rows: usize, most_entries: usize) -> Vec<u32> {
    let mut first = vec![0];
    let (mut rows, mut entries) = (0, 0);
    for (entry, &count) in counts.iter().enumerate() {
        if entries > 0 && (rows + count > most_rows || entries == most_entries) {
            first.push(entry as u32);
            (rows, entries) = (0, 0);
        }
        rows += count;
        entries += 1;
    }
    if !counts.is_empty() {
        first.push(counts.len() as u32);
    }
    first
}

fn too_large(longest_caption: usize, most_regions: usize) -> GpuError {
    if longest_caption > MOST_WORDS {
        return GpuError::TooLarge {
            what: "words of a caption",
            found: longest_caption,
            most: MOST_WORDS,
        };
    }
    // A multiprocessor holds about 50,000 cells, and a tile has at least the words of the longest
    // caption, rounded up.
    GpuError::TooLarge {
        what: "regions of an image",
        found: most_regions,
        most: 45_000 / longest_caption.next_power_of_two().max(32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most shared memory of a block on an H100, in bytes.
    const H100: usize = 232_448;

    fn choose(regions: &[usize], words: &[usize]) -> GpuResult<TileShape> {
        TileShape::choose(regions, words, WeightRule::Masked, H100)
    }

    #[test]
    fn four_images_of_36_regions_fill_a_tile_and_two_blocks_a_multiprocessor() {
        let shape = choose(&[36; 100], &[13; 50]).unwrap();
        assert_eq!(
            (
                shape.word_rows,
                shape.region_rows,
                shape.most_regions,
                shape.stages
            ),
            (128, 144, 144, 3)
        );
        assert_eq!(shape.cells_at, 0);
        assert!(2 * (shape.shared_bytes + 1024) <= 228 << 10);
    }

    #[test]
    fn other_counts_get_the_shape_with_the_fewest_rows() {
        let shape = |regions: usize| choose(&[regions; 32], &[20]).unwrap();
        assert_eq!((shape(50).region_rows, shape(50).most_regions), (112, 112));
        assert_eq!((shape(64).region_rows, shape(64).most_regions), (128, 128));
        // Images of 196 patch tokens: one image in a tile, in several products.
        assert_eq!(
            (shape(196).region_rows, shape(196).most_regions),
            (112, 224)
        );
        assert!(shape(196).cells_at > 0);
        assert!(shape(576).shared_bytes <= H100);
    }

    #[test]
    fn a_shape_that_does_not_fit_is_refused_with_the_limit() {
        let error = choose(&[36], &[257]).unwrap_err();
        assert!(error.to_string().contains("at most 256"), "{error}");
        assert!(choose(&[36], &[256]).is_ok());
        let error = choose(&[3000], &[10]).unwrap_err();
        assert!(error.to_string().contains("regions of an image"), "{error}");
    }

    #[test]
    fn tiles_hold_whole_entries_in_order() {
        assert_eq!(tiles(&[3, 3, 3, 9, 1], 7, 8), [0, 2, 3, 4, 5]);
        assert_eq!(tiles(&[1; 5], 100, 2), [0, 2, 4, 5]);
        assert_eq!(tiles(&[], 7, 8), [0]);
    }
}
