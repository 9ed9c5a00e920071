//! Similarities by the scalar reference, which forms every attended vector in f64. Tests compare the other
//! engines with it.

use candle_core::{DType, Tensor};
use rayon::prelude::*;
use uard_core::{Regions, Words};

use super::AllPairs;
use crate::kept::Above;
use crate::reference;
use crate::{Kept, MatcherConfig, QuerySide, Result};

/// The similarity of every pair of a batch.
pub(super) fn reference_block(
    config: &MatcherConfig,
    threshold: f64,
    regions: &Regions,
    words: &Words,
) -> Result<AllPairs> {
    let words_ask = config.attention(QuerySide::Words, threshold);
    let regions_ask = config.attention(QuerySide::Regions, threshold);
    let images = valid_rows(regions.rows(), regions.counts())?;
    let captions = valid_rows(words.rows(), words.counts())?;
    let found: Vec<(Vec<f32>, Above)> = images
        .par_iter()
        .map(|image| {
            let mut above = Above::default();
            let of_caption = captions.iter().map(|caption| {
                above += above_in_pair(image, caption, config.threshold(threshold));
                reference::similarity(image, caption, words_ask, regions_ask) as f32
            });
            (of_caption.collect(), above)
        })
        .collect();
    let mut values = Vec::with_capacity(images.len() * captions.len());
    let mut above = Above::default();
    for (of_image, more) in found {
        values.extend(of_image);
        above += more;
    }
    let kept = Kept::new(config, regions.counts(), words.counts(), above);
    Ok(AllPairs { values, kept })
}

/// Counts what is above the threshold in one pair.
fn above_in_pair(image: &[Vec<f64>], caption: &[Vec<f64>], threshold: f64) -> Above {
    let relevance = reference::relevance(caption, image);
    let above = |s: &f64| *s > threshold;
    let region_sees = |region: &usize| relevance.iter().any(|row| above(&row[*region]));
    Above {
        word_queries: relevance.iter().filter(|row| row.iter().any(above)).count() as u64,
        region_queries: (0..image.len()).filter(region_sees).count() as u64,
        cells: relevance.iter().flatten().filter(|s| above(s)).count() as u64,
    }
}

/// The valid rows of each entry, divided by their length once more in f64.
fn valid_rows(rows: &Tensor, counts: &[usize]) -> Result<Vec<Vec<Vec<f64>>>> {
    let rows = rows.to_dtype(DType::F64)?.to_vec3::<f64>()?;
    Ok(rows
        .iter()
        .zip(counts)
        .map(|(rows, &count)| reference::unit_rows(&rows[..count]))
        .collect())
}
