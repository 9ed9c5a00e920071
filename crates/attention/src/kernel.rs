//! Which code computes the similarity: chosen by name, the same contract for all.

use std::str::FromStr;

use candle_core::{DType, Tensor};
use uard_core::{Regions, Words};

use crate::config::unknown;
use crate::reference::{self, Attention};
use crate::search::{AllPairs, all_pairs};
use crate::{Error, Kept, Matcher, MatcherConfig, QuerySide, Result, WeightRule};

/// A way of computing similarities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kernel {
    /// The fastest that this machine can run.
    #[default]
    Auto,
    /// Scalar loops in f64 that form every attended vector: judges the others.
    Reference,
    /// The batch similarity that training uses.
    Tensor,
}

impl FromStr for Kernel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "reference" => Ok(Self::Reference),
            "tensor" => Ok(Self::Tensor),
            _ => Err(unknown("kernel", text, "auto, reference or tensor")),
        }
    }
}

impl Kernel {
    /// Matches every image with every caption; see [`all_pairs`].
    ///
    /// # Errors
    /// As [`Matcher::similarities`].
    pub fn all_pairs(
        self,
        matcher: &Matcher,
        (regions, words): (&Regions, &Words),
        threshold: f64,
        on_tile: &mut dyn FnMut(usize, usize),
    ) -> Result<AllPairs> {
        match self {
            Self::Auto | Self::Tensor => all_pairs(matcher, regions, words, threshold, on_tile),
            Self::Reference => reference_pairs(matcher, (regions, words), threshold, on_tile),
        }
    }
}

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
        WeightRule::Scan => Attention::Scan {
            inverse_temperature,
        },
        WeightRule::MaxSim => Attention::MaxSim,
    })
}

fn reference_pairs(
    matcher: &Matcher,
    (regions, words): (&Regions, &Words),
    threshold: f64,
    on_tile: &mut dyn FnMut(usize, usize),
) -> Result<AllPairs> {
    let config = matcher.config();
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
        on_tile(values.len(), images.len() * captions.len());
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
