//! Similarities by the scalar reference: forms every attended vector in f64, judges the others.

use candle_core::{DType, Tensor};
use uard_core::{Regions, Words};

use crate::reference::{self, Attention};
use crate::search::AllPairs;
use crate::{Kept, Matcher, MatcherConfig, QuerySide, Result, WeightRule};

/// The reference's form of a configuration, for one side.
pub fn reference_attention(
    config: &MatcherConfig,
    side: QuerySide,
    threshold: f64,
) -> Option<Attention> {
    if !config.sides.asking().contains(&side) {
        return None;
    }
    let inverse_temperature = config.inverse_temperature(side);
    Some(match config.rule {
        WeightRule::Masked | WeightRule::Zero => Attention::Masked {
            threshold: config.threshold(threshold),
            inverse_temperature,
        },
        WeightRule::Nearest => Attention::Nearest {
            threshold,
            inverse_temperature,
        },
        WeightRule::Scan => Attention::Scan {
            inverse_temperature,
        },
        WeightRule::MaxSim => Attention::MaxSim,
    })
}

pub(super) fn reference_pairs(
    matcher: &Matcher,
    (regions, words): (&Regions, &Words),
    threshold: f64,
    on_progress: &dyn Fn(usize, usize),
) -> Result<AllPairs> {
    let config = matcher.config();
    MatcherConfig::check_threshold(threshold)?;
    let words_ask = reference_attention(config, QuerySide::Words, threshold);
    let regions_ask = reference_attention(config, QuerySide::Regions, threshold);
    let images = valid_rows(regions.rows(), regions.counts())?;
    let captions = valid_rows(words.rows(), words.counts())?;
    let mut values = Vec::with_capacity(images.len() * captions.len());
    let mut kept = Kept::of_totals(regions.counts(), words.counts());
    for image in &images {
        for caption in &captions {
            values.push(reference::similarity(image, caption, words_ask, regions_ask) as f32);
            count_above(image, caption, config.threshold(threshold), &mut kept);
        }
        on_progress(values.len(), images.len() * captions.len());
    }
    let kept = if config.has_masks() {
        kept
    } else {
        kept.everything()
    };
    Ok(AllPairs { values, kept })
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
