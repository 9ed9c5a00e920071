//! Which region answered which word, and which words found nothing?

use candle_core::DType;
use uard_core::{Regions, Words};

use crate::reference::{self, Attention};
use crate::{Error, Matcher, MatcherConfig, QuerySide, Result, Sides};

/// Why a pair has its similarity.
#[derive(Debug, Clone, PartialEq)]
pub struct PairEvidence {
    /// The similarity of the pair.
    pub similarity: f64,
    /// Every word of the caption, in order.
    pub words: Vec<WordEvidence>,
}

/// What one word found in the image.
#[derive(Debug, Clone, PartialEq)]
pub struct WordEvidence {
    /// Position of the word in the caption.
    pub word: usize,
    /// The region of highest relevance; the first of equals.
    pub best_region: usize,
    /// Its relevance: a cosine.
    pub relevance: f32,
    /// Whether that is above the threshold (rules without one: always).
    pub answered: bool,
    /// The regions with a weight, heaviest first.
    pub regions: Vec<RegionEvidence>,
}

/// A region's part in the answer to a word.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegionEvidence {
    /// Position of the region in the image.
    pub region: usize,
    /// Its relevance to the word: a cosine.
    pub relevance: f32,
    /// Its attention weight; the weights of a word sum to 1.
    pub weight: f32,
}

/// The evidence of one pair: words asking, whatever sides the similarity has.
///
/// # Shapes
/// `regions` [1, R, D], `words` [1, W, D]; use `narrow` to cut one out of a batch.
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

/// What each word found, from the relevance of the pair: `relevance[word][region]`.
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
