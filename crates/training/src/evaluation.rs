//! How good is a model on a split: retrieval, work kept, alignment?

mod alignment;
mod pairs;

use uard_attention::kernel::Kernel;
use uard_attention::{Kept, Precision};
use uard_eval::{GroundTruth, SimilarityMatrix};
use uard_features::dataset::Split;
use uard_features::text::TextModel;

use crate::Result;
use crate::model::Model;
use crate::record::{KeptFractions, SplitRecord};
use alignment::Aligner;
use pairs::Pairs;

/// Images encoded at once.
const IMAGES_AT_ONCE: usize = 128;

/// Captions encoded at once.
const CAPTIONS_AT_ONCE: usize = 512;

/// How pairs are matched.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct How {
    /// Relevance above which fragments attend; the rule may have its own.
    pub threshold: f64,
    /// Which code computes similarities.
    pub kernel: Kernel,
    /// In which numbers, for kernels on packed fragments; on a GPU bf16 where that is said, else f16.
    pub precision: Precision,
}

/// What an evaluation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Images and captions become fragments; they are counted together.
    Encoding,
    /// Pairs are matched, and counted.
    Matching,
}

/// Told the stage, what is done of it and what there is in all; from any thread.
pub type OnProgress<'a> = &'a (dyn Fn(Stage, usize, usize) + Sync);

/// What an evaluation gives.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitEvaluation {
    /// Similarity of every image and caption [I, C].
    pub similarities: SimilarityMatrix,
    /// Retrieval with all images at once, work kept, alignment.
    pub record: SplitRecord,
}

/// Evaluates a model on a split.
///
/// The fragments of the whole split are in memory: for 5,000 images of 36 regions and 25,000
/// captions at width 1024, 2 GB in f32.
///
/// # Errors
/// When features cannot be read or have another width, the kernel cannot run here, or a similarity
/// is not finite.
pub fn evaluate(
    model: &Model,
    split: &Split,
    tokenizer: &TextModel,
    how: How,
    on_progress: OnProgress<'_>,
) -> Result<SplitEvaluation> {
    let threshold = model.matcher().config().threshold(how.threshold);
    let device = model.parameters().device();
    let (images, captions) = (split.images(), split.captions.len());
    let mut pairs = Pairs::new(
        model.matcher(),
        (how, threshold),
        model.joint_width(),
        device,
    )?;
    let mut aligner = Aligner::new(split, threshold);
    let numbers: Vec<usize> = (0..images).collect();
    for block in numbers.chunks(IMAGES_AT_ONCE) {
        let regions = model.encode_images(&split.regions, block)?.detach();
        if let Some(aligner) = &mut aligner {
            aligner.add_images(&regions);
        }
        pairs.add_images(regions)?;
        on_progress(Stage::Encoding, block[0] + block.len(), images + captions);
    }
    for (at, block) in split.captions.chunks(CAPTIONS_AT_ONCE).enumerate() {
        let ids = block.iter().map(|text| tokenizer.encode(text));
        let ids = ids.collect::<uard_features::Result<Vec<_>>>()?;
        let words = model.encode_captions(&ids, None)?.detach();
        let first = at * CAPTIONS_AT_ONCE;
        if let Some(aligner) = &mut aligner {
            aligner.add_captions(first, &words, tokenizer)?;
        }
        pairs.add_captions(words)?;
        on_progress(
            Stage::Encoding,
            images + first + block.len(),
            images + captions,
        );
    }
    let found = pairs.matched(&split.image_of_caption, on_progress)?;
    let similarities = SimilarityMatrix::new(found.values, images, captions)?;
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
