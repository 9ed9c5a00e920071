//! Do words attend the regions that truly answer them?

use candle_core::{DType, Device};
use uard_core::{Regions, Words};
use uard_eval::{AlignmentCounts, WordAlignment};
use uard_features::dataset::{Alignments, Split};

use super::IMAGES_AT_ONCE;
use crate::Result;
use crate::record::AlignmentRecord;

/// Words before a caption's own: the mark of its start.
const WORDS_BEFORE: usize = 1;

/// Compares captions with their own images, block by block.
pub(super) struct Aligner<'a> {
    split: &'a Split,
    truth: &'a Alignments,
    threshold: f64,
    blocks: Vec<Regions>,
    counts: AlignmentCounts,
}

impl<'a> Aligner<'a> {
    /// For a split that knows which regions answer its words; nothing otherwise.
    pub(super) fn new(split: &'a Split, threshold: f64) -> Option<Self> {
        Some(Self {
            split,
            truth: split.alignments.as_ref()?,
            threshold,
            blocks: Vec::new(),
            counts: AlignmentCounts::default(),
        })
    }

    /// The next [`IMAGES_AT_ONCE`] images.
    pub(super) fn add_images(&mut self, regions: &Regions) {
        self.blocks.push(regions.clone());
    }

    /// Captions from `first` on.
    pub(super) fn add_captions(&mut self, first: usize, words: &Words) -> Result<()> {
        for position in 0..words.captions() {
            let counts = self.align(first + position, &words.narrow(position, 1)?)?;
            self.counts += counts;
        }
        Ok(())
    }

    /// What was found; a fraction of nothing is zero.
    pub(super) fn record(&self) -> AlignmentRecord {
        AlignmentRecord {
            precision: self.counts.precision().unwrap_or(0.0),
            recall: self.counts.recall().unwrap_or(0.0),
            best_region_accuracy: self.counts.best_region_accuracy().unwrap_or(0.0),
        }
    }

    /// One caption's words with the regions of its own image.
    fn align(&self, caption: usize, words: &Words) -> Result<AlignmentCounts> {
        let image = self.split.image_of_caption[caption];
        let regions = self.blocks[image / IMAGES_AT_ONCE].narrow(image % IMAGES_AT_ONCE, 1)?;
        let words = words.rows().squeeze(0)?;
        let relevance = words.matmul(&regions.rows().squeeze(0)?.t()?)?;
        let relevance = relevance
            .to_dtype(DType::F32)?
            .to_device(&Device::Cpu)?
            .to_vec2::<f32>()?;
        let mut counts = AlignmentCounts::default();
        for (word, answers) in &self.truth.captions[caption] {
            if let Some(row) = relevance.get(word + WORDS_BEFORE) {
                counts += self.count_word(row, answers);
            }
        }
        Ok(counts)
    }

    fn count_word(&self, relevance: &[f32], truth: &[usize]) -> AlignmentCounts {
        let above = |&region: &usize| f64::from(relevance[region]) > self.threshold;
        let predicted: Vec<usize> = (0..relevance.len()).filter(above).collect();
        let best = crate::negatives::hardest(0..relevance.len(), |region| relevance[region]);
        AlignmentCounts::of_word(&WordAlignment {
            truth,
            predicted: &predicted,
            best,
        })
    }
}
