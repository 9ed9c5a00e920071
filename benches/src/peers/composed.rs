//! How long does candle take with its own operations? The composed form, tile by tile.

use uard_attention::Matcher;
use uard_core::{Regions, Words};

/// Images, and captions, that are matched at a time: at the real width their products and [I, C,
/// W, R] tensors take tens of megabytes.
const TILE: usize = 32;

/// Matches every image with every caption; row-major [I, C].
///
/// # Errors
/// When candle refuses a tensor.
pub fn all_pairs(
    matcher: &Matcher,
    (regions, words): (&Regions, &Words),
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
