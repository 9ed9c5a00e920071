//! Statistics of a split for one model: how often each word is answered in its own image, and how
//! many regions no word is relevant to.

use std::collections::BTreeSet;

use candle_core::{DType, Device};
use rand::Rng;
use uard_core::random::Draws;
use uard_core::{Regions, Words};
use uard_data::dataset::Split;
use uard_model::{CAPTIONS_AT_ONCE, IMAGES_AT_ONCE, ImageFeatures, Model};
use uard_report::record::ExampleWord;
use uard_report::study::inside::{Unreached, WordStatistics};

use crate::Result;

/// A model with the split and the threshold it is evaluated with.
#[derive(Debug, Clone, Copy)]
pub struct EvaluatedModel<'a> {
    /// The model.
    pub model: &'a Model,
    /// The split.
    pub split: &'a Split,
    /// Threshold on relevance, a cosine.
    pub threshold: f64,
}

/// Relevance [W, R] of one caption and one image, without padding.
type Relevance = Vec<Vec<f32>>;

/// Computes the relevance of every caption to its own image and to one mismatched image, and sums
/// it up by word.
///
/// The mismatched image is drawn by the caption's index alone, so that it is the same for all
/// models. `shown` are the captions whose words are returned one by one. All regions of the split
/// are held in memory.
///
/// # Errors
/// When features cannot be read or a caption not be encoded.
pub fn word_statistics(
    evaluated: &EvaluatedModel<'_>,
    shown: &BTreeSet<usize>,
) -> Result<WordStatistics> {
    let EvaluatedModel { model, split, .. } = evaluated;
    let images: Vec<usize> = (0..split.images()).collect();
    let blocks = images.chunks(IMAGES_AT_ONCE).map(|block| {
        let features = ImageFeatures::read(&split.regions, block)?;
        Ok(model.images(features)?)
    });
    let mut collector = Collector {
        evaluated,
        blocks: blocks.collect::<Result<Vec<Regions>>>()?,
        reached: vec![BTreeSet::new(); images.len()],
        by_caption: 0.0,
        statistics: WordStatistics::default(),
    };
    for (at, block) in split.captions.chunks(CAPTIONS_AT_ONCE).enumerate() {
        let words = model.texts(block)?;
        for position in 0..block.len() {
            let caption = at * CAPTIONS_AT_ONCE + position;
            let found = collector.add_caption(caption, &words.narrow(position, 1)?)?;
            if shown.contains(&caption) {
                collector.statistics.shown.insert(caption, found);
            }
        }
    }
    Ok(collector.finish())
}

/// Sums over the captions read so far.
struct Collector<'a> {
    evaluated: &'a EvaluatedModel<'a>,
    /// Encoded regions, in blocks of [`IMAGES_AT_ONCE`] images.
    blocks: Vec<Regions>,
    /// For each image the regions with a relevance above the threshold for some word.
    reached: Vec<BTreeSet<usize>>,
    /// Sum over captions of the fraction of regions that no word reaches.
    by_caption: f64,
    statistics: WordStatistics,
}

impl Collector<'_> {
    /// Adds a caption with its encoded words; returns each word with its relevance in the matched
    /// image.
    fn add_caption(&mut self, caption: usize, words: &Words) -> Result<Vec<ExampleWord>> {
        let EvaluatedModel { model, split, .. } = self.evaluated;
        let own = split.image_of_caption[caption];
        let matched = relevance(words, &self.image(own)?)?;
        self.mark_reached(own, &matched);
        let other = mismatched_image(caption, own, split.images());
        let mismatched = other
            .map(|other| relevance(words, &self.image(other)?))
            .transpose()?;
        let mut found = Vec::new();
        for word in model.text().words(&split.captions[caption])? {
            let Some(highest) = highest(&matched, word.rows.clone()) else {
                continue;
            };
            let answered = f64::from(highest) > self.evaluated.threshold;
            let counts = self.statistics.words.entry(word.text.clone()).or_default();
            counts.occurrences += 1;
            counts.answered += usize::from(answered);
            counts.matched += f64::from(highest);
            let in_other = mismatched.as_ref();
            let in_other = in_other.and_then(|relevance| self::highest(relevance, word.rows));
            if let Some(in_other) = in_other {
                counts.compared += 1;
                counts.mismatched += f64::from(in_other);
            }
            found.push(ExampleWord {
                text: word.text,
                relevance: highest,
                answered,
                best_box: None,
                correct: None,
            });
        }
        Ok(found)
    }

    fn image(&self, image: usize) -> Result<Regions> {
        Ok(self.blocks[image / IMAGES_AT_ONCE].narrow(image % IMAGES_AT_ONCE, 1)?)
    }

    /// Records which regions of an image have a relevance above the threshold for some word of a
    /// caption. The marks of start and end attend as words do, so they count too.
    fn mark_reached(&mut self, image: usize, relevance: &[Vec<f32>]) {
        let regions = self.evaluated.split.regions.count(image);
        let above = |&region: &usize| {
            let mut words = relevance.iter();
            words.any(|row| f64::from(row[region]) > self.evaluated.threshold)
        };
        let reached: Vec<usize> = (0..regions).filter(above).collect();
        self.by_caption += 1.0 - reached.len() as f64 / regions.max(1) as f64;
        self.reached[image].extend(reached);
    }

    fn finish(mut self) -> WordStatistics {
        let split = self.evaluated.split;
        let described: BTreeSet<usize> = split.image_of_caption.iter().copied().collect();
        let unreached = |&image: &usize| {
            let regions = split.regions.count(image).max(1) as f64;
            1.0 - self.reached[image].len() as f64 / regions
        };
        let by_image: f64 = described.iter().map(unreached).sum();
        self.statistics.unreached = Unreached {
            by_caption: self.by_caption / split.captions.len().max(1) as f64,
            by_image: by_image / described.len().max(1) as f64,
        };
        self.statistics
    }
}

/// The mismatched image that a caption is compared with; `None` where its own is the only one.
fn mismatched_image(caption: usize, own: usize, images: usize) -> Option<usize> {
    if images < 2 {
        return None;
    }
    let mut stream = Draws::new(0).stream("mismatched image of a caption", &[caption as u64]);
    let drawn = stream.random_range(0..images - 1);
    Some(drawn + usize::from(drawn >= own))
}

/// Relevance of one caption and one image, each a batch of one and therefore without padding.
pub(super) fn relevance(words: &Words, regions: &Regions) -> Result<Relevance> {
    let rows = words.rows().squeeze(0)?;
    let relevance = rows.matmul(&regions.rows().squeeze(0)?.t()?)?;
    let relevance = relevance.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
    Ok(relevance.to_vec2::<f32>()?)
}

/// The highest relevance of a word, over the word's rows and all regions.
fn highest(relevance: &[Vec<f32>], rows: std::ops::Range<usize>) -> Option<f32> {
    relevance
        .get(rows)?
        .iter()
        .flatten()
        .copied()
        .reduce(f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatched_image_is_never_the_captions_own_and_the_same_every_time() {
        let drawn: Vec<usize> = (0..200)
            .filter_map(|caption| mismatched_image(caption, 1, 3))
            .collect();
        assert_eq!(drawn.len(), 200);
        assert!(drawn.contains(&0) && drawn.contains(&2) && !drawn.contains(&1));
        assert_eq!(mismatched_image(7, 1, 3), mismatched_image(7, 1, 3));
        assert_eq!(mismatched_image(0, 0, 1), None);
    }

    #[test]
    fn the_highest_relevance_of_a_word_is_over_its_pieces_and_all_regions() {
        let relevance = vec![vec![0.1, 0.2], vec![0.7, 0.3], vec![0.9, 0.9]];
        assert_eq!(highest(&relevance, 0..2), Some(0.7));
        assert_eq!(highest(&relevance, 2..4), None);
    }
}
