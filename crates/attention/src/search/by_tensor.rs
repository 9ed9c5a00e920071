//! All pairs of many images and captions from the tensors themselves, tile by tile.

use uard_core::{Regions, Words};

use super::AllPairs;
use crate::{Kept, Matcher, Result};

/// Cells of relevance (C W I R) that one tile may hold: 32 MB of f32.
const CELLS_IN_A_TILE: usize = 8 << 20;

/// Matches every image with every caption.
///
/// Beside the result, memory is bounded by one tile's relevance (32 MB of f32, or one pair if
/// that is larger). `on_tile` is told the pairs done and the pairs in all.
///
/// The values are those of [`Matcher::similarities`] on the whole batch: cutting into tiles
/// changes nothing but rounding.
///
/// # Errors
/// As [`Matcher::similarities`].
pub fn all_pairs(
    matcher: &Matcher,
    regions: &Regions,
    words: &Words,
    threshold: f64,
    on_tile: &mut dyn FnMut(usize, usize),
) -> Result<AllPairs> {
    let (images, captions) = (regions.images(), words.captions());
    let mut values = vec![0.0; images * captions];
    let mut kept = Kept::default();
    let (images_in_tile, captions_in_tile) = tile(regions, words);
    let mut done = 0;
    for first_image in (0..images).step_by(images_in_tile) {
        let rows = images_in_tile.min(images - first_image);
        let some_regions = regions.narrow(first_image, rows)?.detach();
        for first_caption in (0..captions).step_by(captions_in_tile) {
            let columns = captions_in_tile.min(captions - first_caption);
            let some_words = words.narrow(first_caption, columns)?.detach();
            let found = matcher.similarities(&some_regions, &some_words, threshold)?;
            kept += found.kept()?;
            let tile = found
                .values
                .to_dtype(candle_core::DType::F32)?
                .to_vec2::<f32>()?;
            for (row, tile_row) in tile.iter().enumerate() {
                let start = (first_image + row) * captions + first_caption;
                values[start..start + columns].copy_from_slice(tile_row);
            }
            done += rows * columns;
            on_tile(done, images * captions);
        }
    }
    Ok(AllPairs { values, kept })
}

/// Images and captions of a tile: as many captions as images, as far as the budget goes.
fn tile(regions: &Regions, words: &Words) -> (usize, usize) {
    let cells_of_a_pair = (regions.longest() * words.longest()).max(1);
    let pairs = (CELLS_IN_A_TILE / cells_of_a_pair).max(1);
    let captions = (pairs as f64).sqrt().ceil() as usize;
    let captions = captions.clamp(1, words.captions().max(1));
    (
        pairs.div_ceil(captions).clamp(1, regions.images().max(1)),
        captions,
    )
}
