//! Evidence of a pair: for each word the regions with an attention weight above zero, and whether the
//! word's highest relevance is above the threshold.

use candle_core::DType;
use serde::{Deserialize, Serialize};
use uard_core::{Regions, Words};

use crate::reference::{self, Attention};
use crate::{Error, Matcher, MatcherConfig, QuerySide, Result, Sides};

/// The similarity of a pair, and what each word attends to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PairEvidence {
    /// The similarity of the pair.
    pub similarity: f64,
    /// Every word of the caption, in order.
    pub words: Vec<WordEvidence>,
}

/// What one word attends to in the image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WordEvidence {
    /// Position of the word in the caption.
    pub word: usize,
    /// The region of highest relevance, the first of equal ones.
    pub best_region: usize,
    /// The relevance of that region, a cosine.
    pub relevance: f32,
    /// Whether that relevance is above the threshold; always true for rules without a threshold.
    pub answered: bool,
    /// The regions whose attention weight is not zero, the largest weight first.
    pub regions: Vec<RegionEvidence>,
}

/// A region that a word attends to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RegionEvidence {
    /// Position of the region in the image.
    pub region: usize,
    /// Its relevance to the word, a cosine.
    pub relevance: f32,
    /// Its attention weight; the weights of a word sum to 1.
    pub weight: f32,
}

/// The evidence of one pair. Words are the queries, whichever sides the similarity has.
///
/// # Shapes
/// `regions` [1, R, D], `words` [1, W, D]; `narrow` cuts one entry out of a batch.
///
/// # Errors
/// When there is not exactly one image and one caption, or their widths differ.
pub fn evidence(
    matcher: &Matcher,
    regions: &Regions,
    words: &Words,
    threshold: f64,
) -> Result<PairEvidence> {
    if (regions.images(), words.captions()) != (1, 1) {
        return Err(Error::NotOnePair {
            images: regions.images(),
            captions: words.captions(),
        });
    }
    let similarity = matcher
        .similarities(&regions.detach(), &words.detach(), threshold)?
        .values;
    let similarity = similarity.to_dtype(DType::F64)?.to_vec2::<f64>()?[0][0];
    let region_rows = &regions.rows().to_dtype(DType::F64)?.to_vec3::<f64>()?[0];
    let word_rows = &words.rows().to_dtype(DType::F64)?.to_vec3::<f64>()?[0];
    let relevance = reference::relevance(
        &word_rows[..words.counts()[0]],
        &region_rows[..regions.counts()[0]],
    );
    let words = words_evidence(matcher.config(), threshold, &relevance);
    Ok(PairEvidence { similarity, words })
}

/// The evidence of each word, from `relevance[word][region]` of a pair.
pub(crate) fn words_evidence(
    config: &MatcherConfig,
    threshold: f64,
    relevance: &[Vec<f64>],
) -> Vec<WordEvidence> {
    let config = MatcherConfig {
        sides: Sides::Words,
        ..*config
    };
    let attention = config
        .attention(QuerySide::Words, threshold)
        .unwrap_or(Attention::MaxSim);
    let weights = reference::weights(relevance, attention);
    relevance
        .iter()
        .zip(&weights)
        .enumerate()
        .map(|(word, (row, weights))| word_evidence(word, row, weights))
        .collect()
}

/// The evidence of one word, from its relevance to each region and its weights over them.
fn word_evidence(word: usize, relevance: &[f64], weights: &[f64]) -> WordEvidence {
    let mut best_region = 0;
    for (region, &s) in relevance.iter().enumerate() {
        if s > relevance[best_region] {
            best_region = region;
        }
    }
    let mut regions: Vec<RegionEvidence> = (0..relevance.len())
        .filter(|&region| weights[region] > 0.0)
        .map(|region| RegionEvidence {
            region,
            relevance: relevance[region] as f32,
            weight: weights[region] as f32,
        })
        .collect();
    regions.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(a.region.cmp(&b.region)));
    WordEvidence {
        word,
        best_region,
        relevance: relevance[best_region] as f32,
        answered: !regions.is_empty(),
        regions,
    }
}
