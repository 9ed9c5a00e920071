//! Do peers compute the same? Compared with ours on the first pairs.

use crate::peers::reference::Differences;

use super::data::Fragments;

/// Images and captions that are compared.
const CORNER: (usize, usize) = (50, 200);

/// The first pairs, and in which of them rounding may move a cell across the threshold.
pub struct Corner {
    images: usize,
    captions: usize,
    near: Vec<bool>,
}

impl Corner {
    /// Looks for cells that lie nearer to the threshold than `apart`.
    ///
    /// # Errors
    /// When candle refuses a product.
    pub fn new(fragments: &Fragments, apart: f64) -> anyhow::Result<Self> {
        let corner = fragments.corner(CORNER.0, CORNER.1)?;
        let (images, captions) = (corner.regions.images(), corner.words.captions());
        let rows = corner.regions.valid_rows()?.t()?;
        let relevance = corner.words.valid_rows()?.matmul(&rows)?.to_vec2::<f32>()?;
        let mut near = vec![false; images * captions];
        let mut word = 0;
        for (caption, &count) in corner.words.counts().iter().enumerate() {
            for row in &relevance[word..word + count] {
                let mut first = 0;
                for (image, &regions) in corner.regions.counts().iter().enumerate() {
                    let cells = &row[first..first + regions];
                    first += regions;
                    near[image * captions + caption] |= cells
                        .iter()
                        .any(|&cell| (f64::from(cell) - corner.threshold).abs() < apart);
                }
            }
            word += count;
        }
        Ok(Self {
            images,
            captions,
            near,
        })
    }

    /// All pairs count: nothing is cut.
    pub fn without_threshold(self) -> Self {
        let near = vec![false; self.near.len()];
        Self { near, ..self }
    }

    /// The largest differences between two matrices of so many captions an image.
    ///
    /// A peer that took fewer captions than the corner is compared on those.
    pub fn differences(
        &self,
        (found, found_captions): (&[f32], usize),
        (expected, expected_captions): (&[f32], usize),
    ) -> Differences {
        let mut largest = Differences::default();
        for image in 0..self.images {
            for caption in 0..self.captions.min(found_captions) {
                let found = found[image * found_captions + caption];
                let expected = expected[image * expected_captions + caption];
                let mut difference = f64::from((found - expected).abs());
                if difference.is_nan() {
                    difference = f64::INFINITY;
                }
                largest.all = largest.all.max(difference);
                if self.near[image * self.captions + caption] {
                    largest.flipped += 1;
                } else {
                    largest.same_mask = largest.same_mask.max(difference);
                }
            }
        }
        largest
    }
}
