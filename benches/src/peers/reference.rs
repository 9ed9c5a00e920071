//! What is the similarity in f64, as the formulas are written? It judges everyone's numbers.

use candle_core::DType;
use uard_attention::reference::{self, Attention};
use uard_attention::{MatcherConfig, QuerySide, WeightRule};
use uard_core::{Regions, Words};

/// Similarities of the first images and captions in f64, by the scalar reference.
pub struct Sample {
    /// Row-major, images by captions of the sample.
    pub values: Vec<f64>,
    images: usize,
    captions: usize,
}

impl Sample {
    /// Computes the similarity of every pair of the fragments, which are few.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn compute(
        config: &MatcherConfig,
        (regions, words): (&Regions, &Words),
        threshold: f64,
    ) -> anyhow::Result<Self> {
        let [words_ask, regions_ask] =
            [QuerySide::Words, QuerySide::Regions].map(|side| attention(config, side, threshold));
        let images = rows(regions.rows(), regions.counts())?;
        let captions = rows(words.rows(), words.counts())?;
        let mut values = Vec::with_capacity(images.len() * captions.len());
        for image in &images {
            for caption in &captions {
                values.push(reference::similarity(
                    image,
                    caption,
                    words_ask,
                    regions_ask,
                ));
            }
        }
        Ok(Self {
            values,
            images: images.len(),
            captions: captions.len(),
        })
    }

    /// The largest difference to similarities [I, C] that begin with the sample's pairs.
    ///
    /// # Panics
    /// When there are fewer images or captions than in the sample.
    pub fn largest_difference(&self, found: &[f32], captions: usize) -> f64 {
        assert!(self.captions <= captions && self.images * captions <= found.len());
        let rows = found
            .chunks(captions)
            .zip(self.values.chunks(self.captions));
        rows.flat_map(|(found, expected)| found.iter().zip(expected))
            .map(|(&found, &expected)| (f64::from(found) - expected).abs())
            .fold(0.0, f64::max)
    }
}

fn attention(config: &MatcherConfig, side: QuerySide, threshold: f64) -> Option<Attention> {
    if !config.sides.asking().contains(&side) {
        return None;
    }
    let inverse_temperature = config.inverse_temperature(side);
    Some(match config.rule {
        WeightRule::Masked | WeightRule::Zero => Attention::Masked {
            threshold: config.threshold(threshold),
            inverse_temperature,
        },
        WeightRule::Scan => Attention::Scan {
            inverse_temperature,
        },
        WeightRule::MaxSim => Attention::MaxSim,
    })
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
    fn the_largest_difference_is_found_in_the_corner_of_the_whole() {
        let sample = Sample {
            values: vec![1.0, 2.0, 3.0, 4.0],
            images: 2,
            captions: 2,
        };
        let found = [1.0, 2.0, 9.0, 3.0, 4.5, 9.0, 9.0, 9.0, 9.0];
        assert_eq!(sample.largest_difference(&found, 3), 0.5);
    }
}
