//! What the words of a split find in their own images, and which regions none of them reaches.

use std::collections::BTreeSet;

use candle_core::{DType, Device};
use rand::Rng;
use uard_core::random::Draws;
use uard_core::{Regions, Words};
use uard_data::dataset::Split;
use uard_model::{ImageFeatures, Model};
use uard_report::record::ExampleWord;
use uard_report::study::inside::{Look, Unreached};

use super::{CAPTIONS_AT_ONCE, IMAGES_AT_ONCE};
use crate::Result;

/// What is looked at, and how.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The model.
    pub model: &'a Model,
    /// The split.
    pub split: &'a Split,
    /// Threshold of the evaluation.
    pub threshold: f64,
}

/// Relevance of one caption and one image, [W, R], without padding.
type Relevance = Vec<Vec<f32>>;

/// Looks at every caption beside its own image and beside one that is drawn for it.
///
/// The drawn image depends on the caption's place alone, so that it is the same for all models.
/// `shown` are the captions whose words are kept. All regions of the split are in memory.
///
/// # Errors
/// When features cannot be read or a caption not be encoded.
pub fn look(seen: &Seen<'_>, shown: &BTreeSet<usize>) -> Result<Look> {
    let images: Vec<usize> = (0..seen.split.images()).collect();
    let blocks = images.chunks(IMAGES_AT_ONCE).map(|block| {
        let features = ImageFeatures::read(&seen.split.regions, block)?;
        Ok(seen.model.images(features)?)
    });
    let mut looking = Looking {
        seen,
        blocks: blocks.collect::<Result<Vec<Regions>>>()?,
        reached: vec![BTreeSet::new(); images.len()],
        by_caption: 0.0,
        look: Look::default(),
    };
    for (at, block) in seen.split.captions.chunks(CAPTIONS_AT_ONCE).enumerate() {
        let words = seen.model.texts(block)?;
        for position in 0..block.len() {
            let caption = at * CAPTIONS_AT_ONCE + position;
            let read = looking.caption(caption, &words.narrow(position, 1)?)?;
            if shown.contains(&caption) {
                looking.look.shown.insert(caption, read);
            }
        }
    }
    Ok(looking.finish())
}

struct Looking<'a> {
    seen: &'a Seen<'a>,
    blocks: Vec<Regions>,
    /// Regions of each image that some word of its captions reaches.
    reached: Vec<BTreeSet<usize>>,
    /// Sum over captions of the fraction of regions that no word reaches.
    by_caption: f64,
    look: Look,
}

impl Looking<'_> {
    fn caption(&mut self, caption: usize, words: &Words) -> Result<Vec<ExampleWord>> {
        let own = self.seen.split.image_of_caption[caption];
        let matched = relevance(words, &self.image(own)?)?;
        self.reach(own, &matched);
        let other = mismatched(caption, own, self.seen.split.images());
        let mismatched = other
            .map(|other| relevance(words, &self.image(other)?))
            .transpose()?;
        let mut read = Vec::new();
        for word in self
            .seen
            .model
            .text()
            .words(&self.seen.split.captions[caption])?
        {
            let Some(highest) = highest(&matched, word.rows.clone()) else {
                continue;
            };
            let answered = f64::from(highest) > self.seen.threshold;
            let counts = self.look.words.entry(word.text.clone()).or_default();
            counts.occurrences += 1;
            counts.answered += usize::from(answered);
            counts.matched += f64::from(highest);
            let beside = mismatched.as_ref();
            if let Some(beside) = beside.and_then(|of| self::highest(of, word.rows)) {
                counts.compared += 1;
                counts.mismatched += f64::from(beside);
            }
            read.push(ExampleWord {
                text: word.text,
                relevance: highest,
                answered,
                best_box: None,
                correct: None,
            });
        }
        Ok(read)
    }

    fn image(&self, image: usize) -> Result<Regions> {
        Ok(self.blocks[image / IMAGES_AT_ONCE].narrow(image % IMAGES_AT_ONCE, 1)?)
    }

    /// Marks of start and end attend as any word does, so they reach regions too.
    fn reach(&mut self, image: usize, relevance: &[Vec<f32>]) {
        let regions = self.seen.split.regions.count(image);
        let above = |&region: &usize| {
            let mut words = relevance.iter();
            words.any(|row| f64::from(row[region]) > self.seen.threshold)
        };
        let reached: Vec<usize> = (0..regions).filter(above).collect();
        self.by_caption += 1.0 - reached.len() as f64 / regions.max(1) as f64;
        self.reached[image].extend(reached);
    }

    fn finish(mut self) -> Look {
        let split = self.seen.split;
        let described: BTreeSet<usize> = split.image_of_caption.iter().copied().collect();
        let unreached = |&image: &usize| {
            let regions = split.regions.count(image).max(1) as f64;
            1.0 - self.reached[image].len() as f64 / regions
        };
        let by_image: f64 = described.iter().map(unreached).sum();
        self.look.unreached = Unreached {
            by_caption: self.by_caption / split.captions.len().max(1) as f64,
            by_image: by_image / described.len().max(1) as f64,
        };
        self.look
    }
}

/// The image that a caption is compared with beside its own; none where there is no other.
fn mismatched(caption: usize, own: usize, images: usize) -> Option<usize> {
    if images < 2 {
        return None;
    }
    let mut stream = Draws::new(0).stream("mismatched image of a caption", &[caption as u64]);
    let drawn = stream.random_range(0..images - 1);
    Some(drawn + usize::from(drawn >= own))
}

/// Relevance of one caption and one image, which have no padding alone.
pub(super) fn relevance(words: &Words, regions: &Regions) -> Result<Relevance> {
    let rows = words.rows().squeeze(0)?;
    let relevance = rows.matmul(&regions.rows().squeeze(0)?.t()?)?;
    let relevance = relevance.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
    Ok(relevance.to_vec2::<f32>()?)
}

/// The highest relevance of the rows of a word over all regions.
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
    fn a_mismatched_image_is_never_the_own_one_and_the_same_every_time() {
        let drawn: Vec<usize> = (0..200)
            .filter_map(|caption| mismatched(caption, 1, 3))
            .collect();
        assert_eq!(drawn.len(), 200);
        assert!(drawn.contains(&0) && drawn.contains(&2) && !drawn.contains(&1));
        assert_eq!(mismatched(7, 1, 3), mismatched(7, 1, 3));
        assert_eq!(mismatched(0, 0, 1), None);
    }

    #[test]
    fn the_highest_relevance_is_over_pieces_and_regions() {
        let relevance = vec![vec![0.1, 0.2], vec![0.7, 0.3], vec![0.9, 0.9]];
        assert_eq!(highest(&relevance, 0..2), Some(0.7));
        assert_eq!(highest(&relevance, 2..4), None);
    }
}
