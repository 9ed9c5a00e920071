//! How are all pairs cut into tiles that fit a multiprocessor?

use uard_core::gpu::{GpuError, GpuResult};

/// Images of a tile at most: what `match.cu` has room for.
pub(super) const MOST_IMAGES: usize = 16;

/// Captions of a tile at most.
pub(super) const MOST_CAPTIONS: usize = 32;

/// Numbers of a slice of fragments; rows are padded to whole slices.
pub(super) const DEPTH: usize = 64;

/// Regions of a product: what one instruction of eight columns divides over two warps.
const REGION_ROWS: std::ops::RangeInclusive<usize> = 4..=9;

/// Words of a product and stages of the pipeline, the best first; the last is for long captions.
const PIPELINES: [(usize, usize); 7] = [
    (128, 3),
    (128, 2),
    (64, 3),
    (64, 2),
    (32, 3),
    (32, 2),
    (MOST_WORDS, 2),
];

/// Words of a caption at most.
const MOST_WORDS: usize = 256;

/// What else a block is charged, beside what it asks for.
const RESERVED_BYTES: usize = 2 << 10;

/// Sizes that the matching kernel is compiled for, and what a block of it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Words of a product, and of a tile.
    pub word_rows: usize,
    /// Regions of a product.
    pub region_rows: usize,
    /// Regions of a tile: whole products of them.
    pub most_regions: usize,
    /// Stages of the pipeline.
    pub stages: usize,
    /// Where relevance lies in shared memory.
    pub cells_at: usize,
    /// Shared memory of a block.
    pub shared_bytes: usize,
}

impl Shape {
    /// The shape for fragments of these counts on a machine with `shared` bytes for a block.
    ///
    /// Two blocks to a multiprocessor where that is possible: one multiplies while the other answers.
    pub(super) fn choose(
        (regions, words): (&[usize], &[usize]),
        shared: usize,
        has_norms: bool,
    ) -> GpuResult<Self> {
        let (region_rows, most_regions) = region_tile(regions);
        let longest = words.iter().copied().max().unwrap_or(1);
        let shapes = || {
            PIPELINES
                .into_iter()
                .filter(|&(word_rows, _)| word_rows >= longest)
                .map(|pipeline| Self::new(pipeline, (region_rows, most_regions), has_norms))
        };
        let fits = |limit: usize| move |shape: &Self| shape.shared_bytes <= limit;
        shapes()
            .find(fits(shared / 2 - RESERVED_BYTES))
            .or_else(|| shapes().find(fits(shared - RESERVED_BYTES)))
            .ok_or_else(|| too_large(longest, most_regions))
    }

    fn new(
        (word_rows, stages): (usize, usize),
        (region_rows, most_regions): (usize, usize),
        has_norms: bool,
    ) -> Self {
        let staged = stages * (word_rows + region_rows) * DEPTH * size_of::<u16>();
        let answers = MOST_IMAGES * word_rows + MOST_CAPTIONS * most_regions;
        let kept = if has_norms { 2 * answers } else { answers };
        let cells = (word_rows * (most_regions + 1) + kept) * size_of::<f32>();
        // Of several products the first are kept while the last are still being multiplied.
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

/// The product of fewest rows over all tiles, of equals the largest, and what a tile holds.
fn region_tile(regions: &[usize]) -> (usize, usize) {
    let longest = regions.iter().copied().max().unwrap_or(1);
    REGION_ROWS
        .map(|sixteens| 16 * sixteens)
        .map(|rows| (rows, longest.next_multiple_of(rows)))
        .rev()
        .min_by_key(|&(_, most)| (tiles(regions, most, MOST_IMAGES).len() - 1) * most)
        .unwrap_or((144, 144))
}

/// First entry of each tile, and the end: whole entries in order, at most `most_rows` fragments and
/// `most_entries` entries in each.
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
    // With the fewest words that the longest caption leaves, a multiprocessor holds about 50,000
    // cells.
    GpuError::TooLarge {
        what: "regions of an image",
        found: most_regions,
        most: 45_000 / longest_caption.next_power_of_two().max(32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a block of an H100 may ask for.
    const H100: usize = 232_448;

    #[test]
    fn four_images_of_36_regions_fill_a_tile_and_two_blocks_a_multiprocessor() {
        let shape = Shape::choose((&[36; 100], &[13; 50]), H100, false).unwrap();
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
    fn other_counts_waste_as_little_as_they_can() {
        let shape = |regions: usize| Shape::choose((&[regions; 32], &[20]), H100, false).unwrap();
        assert_eq!((shape(50).region_rows, shape(50).most_regions), (112, 112));
        assert_eq!((shape(64).region_rows, shape(64).most_regions), (128, 128));
        // Patch tokens: one image a tile, in several products.
        assert_eq!(
            (shape(196).region_rows, shape(196).most_regions),
            (112, 224)
        );
        assert!(shape(196).cells_at > 0);
        assert!(shape(576).shared_bytes <= H100);
    }

    #[test]
    fn what_fits_nowhere_is_refused_with_the_limit() {
        let error = Shape::choose((&[36], &[257]), H100, false).unwrap_err();
        assert!(error.to_string().contains("at most 256"), "{error}");
        assert!(Shape::choose((&[36], &[256]), H100, false).is_ok());
        let error = Shape::choose((&[3000], &[10]), H100, false).unwrap_err();
        assert!(error.to_string().contains("regions of an image"), "{error}");
    }

    #[test]
    fn tiles_hold_whole_entries_in_order() {
        assert_eq!(tiles(&[3, 3, 3, 9, 1], 7, 8), [0, 2, 3, 4, 5]);
        assert_eq!(tiles(&[1; 5], 100, 2), [0, 2, 4, 5]);
        assert_eq!(tiles(&[], 7, 8), [0]);
    }
}
