//! All pairs by the composed form, in candle's own operations, tile by tile.

use uard_attention::Matcher;
use uard_core::{Regions, Words};

/// The number of images and of captions that are matched at a time: at the real width their tensors
/// [I, C, W, R] take tens of megabytes.
const TILE: usize = 32;

/// Matches every image with every caption; row-major [I, C].
///
/// # Errors
/// If candle fails.
pub fn all_pairs(
    matcher: &Matcher,
    regions: &Regions,
    words: &Words,
    threshold: f64,
) -> anyhow::Result<Vec<f32>> {
    let (images, captions) = (regions.images(), words.captions());
    let mut values = vec![0.0; images * captions];
    for image in (0..images).step_by(TILE) {
        let some_regions = regions.narrow(image, TILE.min(images - image))?;
        for caption in (0..captions).step_by(TILE) {
            let some_words = words.narrow(caption, TILE.min(captions - caption))?;
            let found = matcher.composed_similarities(&some_regions, &some_words, threshold)?;
            for (row, tile) in found.values.to_vec2::<f32>()?.iter().enumerate() {
                let start = (image + row) * captions + caption;
                values[start..start + tile.len()].copy_from_slice(tile);
            }
        }
    }
    Ok(values)
}
