//! Similarities by the scalar reference: forms every attended vector in f64, judges the others.

use candle_core::{DType, Tensor};
use rayon::prelude::*;
use uard_core::{Regions, Words};

use super::AllPairs;
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
    let found: Vec<(Vec<f32>, Kept)> = images
        .par_iter()
        .map(|image| {
            let mut kept = Kept::default();
            let of_caption = captions.iter().map(|caption| {
                count_above(image, caption, config.threshold(threshold), &mut kept);
                reference::similarity(image, caption, words_ask, regions_ask) as f32
            });
            (of_caption.collect(), kept)
        })
        .collect();
    let mut all = AllPairs {
        values: Vec::with_capacity(images.len() * captions.len()),
        kept: Kept::of_totals(regions.counts(), words.counts()),
    };
    for (values, kept) in found {
        all.values.extend(values);
        all.kept += kept;
    }
    if !config.has_masks() {
        all.kept = all.kept.everything();
    }
    Ok(all)
}

fn count_above(image: &[Vec<f64>], caption: &[Vec<f64>], threshold: f64, kept: &mut Kept) {
    let relevance = reference::relevance(caption, image);
    let above = |s: &f64| *s > threshold;
    kept.word_queries += relevance.iter().filter(|row| row.iter().any(above)).count() as u64;
    kept.region_queries += (0..image.len())
        .filter(|&region| relevance.iter().any(|row| above(&row[region])))
        .count() as u64;
    kept.cells += relevance.iter().flatten().filter(|s| above(s)).count() as u64;
}

/// Valid rows of each entry, made unit again in f64.
fn valid_rows(rows: &Tensor, counts: &[usize]) -> Result<Vec<Vec<Vec<f64>>>> {
    let rows = rows.to_dtype(DType::F64)?.to_vec3::<f64>()?;
    Ok(rows
        .iter()
        .zip(counts)
        .map(|(rows, &count)| reference::unit_rows(&rows[..count]))
        .collect())
}
