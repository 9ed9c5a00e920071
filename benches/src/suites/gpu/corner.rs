//! Compares the similarities of peers with ours on the first pairs.

use crate::peers::reference::Differences;

use super::data::Fragments;

/// The number of images and of captions that are compared.
const CORNER: (usize, usize) = (50, 200);

/// Similarities [I, C], row-major.
#[derive(Debug, Clone, Copy)]
pub struct Similarities<'a> {
    /// The similarities.
    pub values: &'a [f32],
    /// The number of captions, C.
    pub captions: usize,
}

/// The first pairs of the data.
pub struct Corner {
    images: usize,
    captions: usize,
    /// For each pair [I, C], whether rounding may move a cell across the threshold.
    near: Vec<bool>,
}

impl Corner {
    /// Finds the pairs with a cell that lies nearer to the threshold than `apart`.
    ///
    /// # Errors
    /// If candle fails.
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

    /// The same pairs for a rule without threshold, whose mask rounding cannot change.
    pub fn without_threshold(self) -> Self {
        let near = vec![false; self.near.len()];
        Self { near, ..self }
    }

    /// The largest differences of `found` from `expected` on the first pairs.
    ///
    /// If `found` has fewer captions, only those are compared.
    pub fn differences(&self, found: Similarities, expected: Similarities) -> Differences {
        let mut largest = Differences::default();
        for image in 0..self.images {
            for caption in 0..self.captions.min(found.captions) {
                let found = found.values[image * found.captions + caption];
                let expected = expected.values[image * expected.captions + caption];
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
