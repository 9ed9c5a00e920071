//! Evaluates a model on a split: retrieval, the fractions kept by the threshold, alignment.

mod alignment;
pub mod words;

use candle_core::Device;
use uard_attention::search::{MatrixOutput, Preserve, Search};
use uard_attention::{Engine, Kept, Precision, Running};
use uard_data::dataset::Split;
use uard_eval::{GroundTruth, SimilarityMatrix};
use uard_model::{CAPTIONS_AT_ONCE, IMAGES_AT_ONCE, ImageFeatures, Model};

use crate::Result;
use alignment::Aligner;
use uard_report::record::{KeptFractions, SplitRecord};

/// How an evaluation computes similarities.
#[derive(Debug, Clone)]
pub struct EvaluationOptions {
    /// Threshold on relevance, a cosine; weight rules with a fixed threshold ignore it.
    pub threshold: f64,
    /// The engine that computes similarities, and its precision.
    pub running: Running,
}

impl EvaluationOptions {
    /// The fastest engine of a device that supports the precision.
    ///
    /// # Errors
    /// When no engine of the device supports the precision.
    pub fn fastest(threshold: f64, precision: Precision, device: &Device) -> Result<Self> {
        let running = Engine::Auto.open(Some(precision), device)?;
        Ok(Self { threshold, running })
    }
}

/// A stage of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Images and captions are encoded; progress counts both together.
    Encoding,
    /// Similarities are computed; progress counts pairs.
    Matching,
}

/// Called from any thread with the stage, the number of entries that are done and their total.
pub type OnProgress<'a> = &'a (dyn Fn(Stage, usize, usize) + Sync);

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitEvaluation {
    /// Similarity of every image and caption [I, C].
    pub similarities: SimilarityMatrix,
    /// Retrieval with all images as candidates, fractions kept by the threshold, alignment.
    pub record: SplitRecord,
}

/// Evaluates a model on a split.
///
/// The fragments of the whole split are held in memory: for 5,000 images of 36 regions and 25,000
/// captions at width 1024, 2 GB in f32.
///
/// # Errors
/// When features cannot be read or have the wrong width, or a similarity is not finite.
pub fn evaluate(
    model: &Model,
    split: &Split,
    options: &EvaluationOptions,
    on_progress: OnProgress<'_>,
) -> Result<SplitEvaluation> {
    let threshold = model.matcher().config().threshold(options.threshold);
    let (images, captions) = (split.images(), split.captions.len());
    let search = Search::on(model.matcher(), threshold, &options.running)?;
    let mut all_regions = search.regions(model.joint_width())?;
    let mut all_words = search.words(model.joint_width())?;
    let mut aligner = Aligner::new(split, threshold);
    let numbers: Vec<usize> = (0..images).collect();
    for block in numbers.chunks(IMAGES_AT_ONCE) {
        let regions = model.images(ImageFeatures::read(&split.regions, block)?)?;
        if let Some(aligner) = &mut aligner {
            aligner.add_images(&regions);
        }
        all_regions.push(&regions)?;
        on_progress(Stage::Encoding, block[0] + block.len(), images + captions);
    }
    for (at, block) in split.captions.chunks(CAPTIONS_AT_ONCE).enumerate() {
        let words = model.texts(block)?;
        let first = at * CAPTIONS_AT_ONCE;
        if let Some(aligner) = &mut aligner {
            aligner.add_captions(first, &words, model.text())?;
        }
        all_words.push(&words)?;
        on_progress(
            Stage::Encoding,
            images + first + block.len(),
            images + captions,
        );
    }
    let (regions, words) = (all_regions.finish()?, all_words.finish()?);
    let owners = split.image_of_caption.iter().enumerate();
    let matched: Vec<(usize, usize)> = owners.map(|(caption, &image)| (image, caption)).collect();
    let preserve = Preserve {
        top: 0,
        matched: &matched,
    };
    let mut values = vec![0.0; images * captions];
    let on_pairs = |done, all| on_progress(Stage::Matching, done, all);
    let out = MatrixOutput {
        values: &mut values,
        on_progress: &on_pairs,
    };
    let found = search.similarities_preserving(regions, words, &preserve, out)?;
    let similarities = SimilarityMatrix::new(values, images, captions)?;
    let truth = GroundTruth::from_image_of_caption(&split.image_of_caption, images)?;
    let record = SplitRecord {
        split: split.name.clone(),
        threshold,
        retrieval: uard_eval::evaluate(&similarities, &truth)?,
        kept: kept_fractions(&found.kept),
        alignment: aligner.map(|aligner| aligner.record()),
    };
    Ok(SplitEvaluation {
        similarities,
        record,
    })
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
