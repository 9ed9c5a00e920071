//! How good is a model on a split: retrieval, work kept, alignment?

use candle_core::{DType, Device};
use uard_attention::Kept;
use uard_attention::search::all_pairs;
use uard_core::{Regions, Words};
use uard_eval::{AlignmentCounts, GroundTruth, SimilarityMatrix, WordAlignment};
use uard_features::dataset::{Alignments, Split};
use uard_features::text::vocabulary::Vocabulary;

use crate::Result;
use crate::model::Model;
use crate::record::{AlignmentRecord, KeptFractions, SplitRecord};

/// Images encoded at once.
const IMAGES_AT_ONCE: usize = 128;

/// Captions encoded and compared at once: bounds the memory of their words.
const CAPTIONS_AT_ONCE: usize = 512;

/// Words before a caption's own: the mark of its start.
const WORDS_BEFORE: usize = 1;

/// What an evaluation gives.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitEvaluation {
    /// Similarity of every image and caption [I, C].
    pub similarities: SimilarityMatrix,
    /// Retrieval with all images at once, work kept, alignment.
    pub record: SplitRecord,
}

/// Evaluates a model on a split, with the similarity that it was trained with.
///
/// The regions of all images and the words of some captions are in memory at a time.
/// `on_progress` is told the pairs done and the pairs in all.
///
/// # Errors
/// When features cannot be read or have another width, or a similarity is not finite.
pub fn evaluate(
    model: &Model,
    split: &Split,
    vocabulary: &Vocabulary,
    threshold: f64,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<SplitEvaluation> {
    let threshold = model.matcher().config().threshold(threshold);
    let mut comparison = Comparison::new(model, split, threshold)?;
    for start in (0..split.captions.len()).step_by(CAPTIONS_AT_ONCE) {
        let end = (start + CAPTIONS_AT_ONCE).min(split.captions.len());
        let ids: Vec<Vec<u32>> = split.captions[start..end]
            .iter()
            .map(|text| vocabulary.encode(text))
            .collect();
        let words = model.encode_captions(&ids)?.detach();
        comparison.add_captions(start, &words, on_progress)?;
    }
    comparison.finish()
}

/// A split whose images are encoded, and what its captions have given so far.
struct Comparison<'a> {
    model: &'a Model,
    split: &'a Split,
    threshold: f64,
    blocks: Vec<Regions>,
    values: Vec<f32>,
    kept: Kept,
    alignment: AlignmentCounts,
}

impl<'a> Comparison<'a> {
    fn new(model: &'a Model, split: &'a Split, threshold: f64) -> Result<Self> {
        let images: Vec<usize> = (0..split.images()).collect();
        let mut blocks = Vec::new();
        for block in images.chunks(IMAGES_AT_ONCE) {
            blocks.push(model.encode_images(&split.regions, block)?.detach());
        }
        Ok(Self {
            model,
            split,
            threshold,
            blocks,
            values: vec![0.0; split.images() * split.captions.len()],
            kept: Kept::default(),
            alignment: AlignmentCounts::default(),
        })
    }

    fn add_captions(
        &mut self,
        start: usize,
        words: &Words,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<()> {
        let (columns, here) = (self.split.captions.len(), words.captions());
        let pairs_before = start * self.split.images();
        for (index, regions) in self.blocks.iter().enumerate() {
            let first = index * IMAGES_AT_ONCE;
            let matcher = self.model.matcher();
            let found = all_pairs(matcher, regions, words, self.threshold, &mut |done, _| {
                on_progress(pairs_before + first * here + done, self.values.len());
            })?;
            self.kept += found.kept;
            for (row, values) in found.values.chunks(here).enumerate() {
                let cell = (first + row) * columns + start;
                self.values[cell..cell + here].copy_from_slice(values);
            }
        }
        if let Some(alignments) = &self.split.alignments {
            for caption in 0..here {
                self.alignment += self.align(alignments, start + caption, words, caption)?;
            }
        }
        Ok(())
    }

    /// Compares one caption's words with the regions of its own image.
    fn align(
        &self,
        truth: &Alignments,
        caption: usize,
        words: &Words,
        position: usize,
    ) -> Result<AlignmentCounts> {
        let image = self.split.image_of_caption[caption];
        let regions = self.blocks[image / IMAGES_AT_ONCE].narrow(image % IMAGES_AT_ONCE, 1)?;
        let words = words.narrow(position, 1)?;
        let relevance = words
            .rows()
            .squeeze(0)?
            .matmul(&regions.rows().squeeze(0)?.t()?)?;
        let relevance = relevance
            .to_dtype(DType::F32)?
            .to_device(&Device::Cpu)?
            .to_vec2()?;
        let mut counts = AlignmentCounts::default();
        for (word, answers) in &truth.captions[caption] {
            let Some(row) = relevance.get(word + WORDS_BEFORE) else {
                continue;
            };
            counts += self.count_word(row, answers);
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

    fn finish(self) -> Result<SplitEvaluation> {
        let (images, captions) = (self.split.images(), self.split.captions.len());
        let similarities = SimilarityMatrix::new(self.values, images, captions)?;
        let truth = GroundTruth::from_image_of_caption(&self.split.image_of_caption, images)?;
        let alignment = self
            .split
            .alignments
            .as_ref()
            .map(|_| alignment_record(&self.alignment));
        let record = SplitRecord {
            split: self.split.name.clone(),
            threshold: self.threshold,
            retrieval: uard_eval::evaluate(&similarities, &truth)?,
            kept: kept_fractions(&self.kept),
            alignment,
        };
        Ok(SplitEvaluation {
            similarities,
            record,
        })
    }
}

fn kept_fractions(kept: &Kept) -> KeptFractions {
    let fraction = |some: u64, all: u64| {
        if all == 0 {
            0.0
        } else {
            some as f64 / all as f64
        }
    };
    KeptFractions {
        word_queries: fraction(kept.word_queries, kept.all_word_queries),
        region_queries: fraction(kept.region_queries, kept.all_region_queries),
        cells: fraction(kept.cells, kept.all_cells),
    }
}

/// A fraction of nothing is zero.
fn alignment_record(counts: &AlignmentCounts) -> AlignmentRecord {
    AlignmentRecord {
        precision: counts.precision().unwrap_or(0.0),
        recall: counts.recall().unwrap_or(0.0),
        best_region_accuracy: counts.best_region_accuracy().unwrap_or(0.0),
    }
}
