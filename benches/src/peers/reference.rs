//! The scalar reference in f64, with which the similarities of all contestants are compared.

use candle_core::DType;
use uard_attention::reference;
use uard_attention::{MatcherConfig, QuerySide};
use uard_core::{Regions, Words};

/// Similarities of the first images and captions in f64, by the scalar reference.
pub struct Sample {
    /// The similarities, row-major, images by captions of the sample.
    pub values: Vec<f64>,
    /// For each pair, whether rounding to bf16 moves a cell across the threshold. A query then
    /// gains or loses a cell, which changes the similarity by more than rounding.
    flipped: Vec<bool>,
    images: usize,
    captions: usize,
}

impl Sample {
    /// Computes the similarity of every pair.
    ///
    /// # Errors
    /// If candle fails.
    pub fn compute(
        config: &MatcherConfig,
        regions: &Regions,
        words: &Words,
        threshold: f64,
    ) -> anyhow::Result<Self> {
        let [words_ask, regions_ask] =
            [QuerySide::Words, QuerySide::Regions].map(|side| config.attention(side, threshold));
        let images = rows(regions.rows(), regions.counts())?;
        let captions = rows(words.rows(), words.counts())?;
        let threshold = config.has_masks().then(|| config.threshold(threshold));
        let mut values = Vec::with_capacity(images.len() * captions.len());
        let mut flipped = Vec::with_capacity(values.capacity());
        for image in &images {
            for caption in &captions {
                let value = reference::similarity(image, caption, words_ask, regions_ask);
                values.push(value);
                flipped.push(threshold.is_some_and(|t| flips(image, caption, t)));
            }
        }
        Ok(Self {
            values,
            flipped,
            images: images.len(),
            captions: captions.len(),
        })
    }

    /// The largest differences between the sample's similarities and `found` [I, C], whose first
    /// images and captions are those of the sample.
    ///
    /// # Panics
    /// If there are fewer images or captions than in the sample.
    pub fn differences(&self, found: &[f32], captions: usize) -> Differences {
        assert!(self.captions <= captions && self.images * captions <= found.len());
        let rows = found
            .chunks(captions)
            .zip(self.values.chunks(self.captions));
        let pairs = rows.flat_map(|(found, expected)| found.iter().zip(expected));
        let mut largest = Differences::default();
        for ((&found, &expected), &flipped) in pairs.zip(&self.flipped) {
            let difference = (f64::from(found) - expected).abs();
            largest.all = largest.all.max(difference);
            if !flipped {
                largest.same_mask = largest.same_mask.max(difference);
            }
        }
        largest.flipped = self.flipped.iter().filter(|&&flipped| flipped).count();
        largest
    }
}

/// The largest differences to the reference.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Differences {
    /// The largest difference over all pairs of the sample.
    pub all: f64,
    /// The largest difference over the pairs in which bf16 moves no relevance across the threshold.
    pub same_mask: f64,
    /// The number of pairs in which bf16 moves a relevance across the threshold.
    pub flipped: usize,
}

/// Whether rounding to bf16 moves a relevance of the pair across the threshold.
fn flips(image: &[Vec<f64>], caption: &[Vec<f64>], threshold: f64) -> bool {
    let exact = reference::relevance(caption, image);
    let rounded = reference::relevance(&rounded(caption), &rounded(image));
    let cells = exact.iter().flatten().zip(rounded.iter().flatten());
    cells
        .into_iter()
        .any(|(a, b)| (*a > threshold) != (*b > threshold))
}

fn rounded(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let round = |x: &f64| f64::from(half::bf16::from_f32(*x as f32).to_f32());
    rows.iter()
        .map(|row| row.iter().map(round).collect())
        .collect()
}

fn rows(rows: &candle_core::Tensor, counts: &[usize]) -> anyhow::Result<Vec<Vec<Vec<f64>>>> {
    let entries = rows.to_dtype(DType::F64)?.to_vec3::<f64>()?;
    let valid = entries.iter().zip(counts);
    Ok(valid
        .map(|(rows, &count)| reference::unit_rows(&rows[..count]))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_those_of_the_first_pairs() {
        let sample = Sample {
            values: vec![1.0, 2.0, 3.0, 4.0],
            flipped: vec![false, false, false, true],
            images: 2,
            captions: 2,
        };
        let found = [1.0, 2.25, 9.0, 3.0, 4.5, 9.0, 9.0, 9.0, 9.0];
        let expected = Differences {
            all: 0.5,
            same_mask: 0.25,
            flipped: 1,
        };
        assert_eq!(sample.differences(&found, 3), expected);
    }

    #[test]
    fn a_relevance_that_rounding_moves_across_the_threshold_is_a_flip() {
        // 0.7 is 0.69921875 in bf16.
        let (image, caption) = (vec![vec![1.0, 0.0]], vec![vec![0.7, 0.51f64.sqrt()]]);
        assert!(flips(&image, &caption, 0.6995));
        assert!(!flips(&image, &caption, 0.69));
    }
}
