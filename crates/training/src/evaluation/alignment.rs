//! Alignment: compares the regions that each word attends with those that truly show it.

use std::ops::Range;

use uard_core::{Regions, Words};
use uard_data::dataset::{Alignments, Split};
use uard_data::tokens::tokenize;
use uard_eval::{AlignmentCounts, WordAlignment};
use uard_features::text::TextModel;
use uard_model::IMAGES_AT_ONCE;

use super::words::relevance;
use crate::Result;
use uard_report::record::AlignmentRecord;

/// Counts alignment over the captions of a split, each with its own image.
pub(super) struct Aligner<'a> {
    split: &'a Split,
    truth: &'a Alignments,
    threshold: f64,
    blocks: Vec<Regions>,
    counts: AlignmentCounts,
}

impl<'a> Aligner<'a> {
    /// `None` for a split without alignments.
    pub(super) fn new(split: &'a Split, threshold: f64) -> Option<Self> {
        Some(Self {
            split,
            truth: split.alignments.as_ref()?,
            threshold,
            blocks: Vec::new(),
            counts: AlignmentCounts::default(),
        })
    }

    /// Adds the regions of the next [`IMAGES_AT_ONCE`] images. All images must be added before the
    /// first caption.
    pub(super) fn add_images(&mut self, regions: &Regions) {
        self.blocks.push(regions.clone());
    }

    /// Counts some captions, given their encoded words; `first` is the index of the first caption.
    pub(super) fn add_captions(
        &mut self,
        first: usize,
        words: &Words,
        tokenizer: &TextModel,
    ) -> Result<()> {
        for position in 0..words.captions() {
            let caption = first + position;
            let rows = rows_of_words(&self.split.captions[caption], tokenizer)?;
            let counts = self.align(caption, &words.narrow(position, 1)?, &rows)?;
            self.counts += counts;
        }
        Ok(())
    }

    /// The counts as fractions; a fraction of zero cases is zero.
    pub(super) fn record(&self) -> AlignmentRecord {
        AlignmentRecord {
            precision: self.counts.precision().unwrap_or(0.0),
            recall: self.counts.recall().unwrap_or(0.0),
            best_region_accuracy: self.counts.best_region_accuracy().unwrap_or(0.0),
        }
    }

    /// Counts one caption; `rows` holds for each of its words the range of the word's rows in
    /// `words`.
    fn align(
        &self,
        caption: usize,
        words: &Words,
        rows: &[Range<usize>],
    ) -> Result<AlignmentCounts> {
        let image = self.split.image_of_caption[caption];
        let regions = self.blocks[image / IMAGES_AT_ONCE].narrow(image % IMAGES_AT_ONCE, 1)?;
        let relevance = relevance(words, &regions)?;
        let mut counts = AlignmentCounts::default();
        for (word, answers) in &self.truth.captions[caption] {
            let rows = rows.get(*word).and_then(|rows| relevance.get(rows.clone()));
            if let Some(highest) = rows.and_then(highest) {
                counts += self.count_word(&highest, answers);
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

/// For each word of a caption, as the alignments number them, the range of its rows in the encoded
/// words; empty if the text model's tokenizer splits the caption into other words.
fn rows_of_words(caption: &str, tokenizer: &TextModel) -> Result<Vec<Range<usize>>> {
    let (expected, found) = (tokenize(caption), tokenizer.words(caption)?);
    let equal = expected
        .iter()
        .zip(&found)
        .all(|(expected, found)| *expected == found.text);
    Ok(match equal {
        true => found.into_iter().map(|word| word.rows).collect(),
        false => Vec::new(),
    })
}

/// The relevance of a word to each region: the highest over the word's rows, each of which holds R
/// numbers.
fn highest(rows: &[Vec<f32>]) -> Option<Vec<f32>> {
    rows.iter().cloned().reduce(|highest, row| {
        let pairs = highest.into_iter().zip(row);
        pairs.map(|(one, other)| one.max(other)).collect()
    })
}
