//! Evaluates a model on a split: retrieval, the fractions kept by the threshold, alignment.

mod alignment;
mod references;
pub mod words;

use candle_core::Device;
use uard_attention::search::{MatrixOutput, Preserve, Search, SearchRegions, SearchWords};
use uard_attention::{Engine, Kept, Precision, Running};
use uard_core::{Regions, Words};
use uard_data::dataset::Split;
use uard_eval::{GroundTruth, RetrievalReport, SimilarityMatrix};
use uard_model::{CAPTIONS_AT_ONCE, IMAGES_AT_ONCE, ImageFeatures, Model};

use crate::Result;
use alignment::Aligner;
use references::References;
use uard_report::record::{KeptFractions, SplitRecord};

pub use references::Normalization;

/// How an evaluation computes similarities.
#[derive(Debug, Clone)]
pub struct EvaluationOptions<'a> {
    /// Threshold on relevance, a cosine; weight rules with a fixed threshold ignore it.
    pub threshold: f64,
    /// The engine that computes similarities, and its precision.
    pub running: Running,
    /// How similarities are normalized, if they are.
    pub normalization: Option<Normalization<'a>>,
}

impl EvaluationOptions<'_> {
    /// The fastest engine of a device that supports the precision, without normalization.
    ///
    /// # Errors
    /// When no engine of the device supports the precision.
    pub fn fastest(threshold: f64, precision: Precision, device: &Device) -> Result<Self> {
        let running = Engine::Auto.open(Some(precision), device)?;
        Ok(Self {
            threshold,
            running,
            normalization: None,
        })
    }

    /// Names the normalization, if there is one, in the protocol of a report.
    pub fn complete_protocol(&self, report: &mut RetrievalReport) {
        if let Some(Normalization { weight, .. }) = self.normalization {
            let normalized = format!(", nearest-neighbour normalization of weight {weight}");
            report.protocol.push_str(&normalized);
        }
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
    /// Similarity of every image and caption [I, C], normalized if the options say so.
    pub similarities: SimilarityMatrix,
    /// Retrieval with all images as candidates, fractions kept by the threshold, alignment.
    pub record: SplitRecord,
}

/// Evaluates a model on a split.
///
/// The fragments and similarities of the whole split are held in memory: for 5,000 images of 36 regions and
/// 25,000 captions at width 1024, 3.5 GB in f32, and 0.5 GB more with normalization.
///
/// # Errors
/// When features cannot be read or have the wrong width, or a similarity is not finite.
pub fn evaluate(
    model: &Model,
    split: &Split,
    options: &EvaluationOptions<'_>,
    on_progress: OnProgress<'_>,
) -> Result<SplitEvaluation> {
    let threshold = model.matcher().config().threshold(options.threshold);
    let search = Search::on(model.matcher(), threshold, &options.running)?;
    let references = options.normalization.map(References::draw);
    let mut encoding = Encoding {
        model,
        search: &search,
        done: 0,
        all: split.images()
            + split.captions.len()
            + references.as_ref().map_or(0, References::entries),
        on_progress,
    };
    let mut aligner = Aligner::new(split, threshold);
    let images: Vec<usize> = (0..split.images()).collect();
    let regions = encoding.regions(split, &images, |regions| {
        if let Some(aligner) = &mut aligner {
            aligner.add_images(regions);
        }
    })?;
    let words = encoding.words(&split.captions, |first, words| match &mut aligner {
        Some(aligner) => aligner.add_captions(first, words, model.text()),
        None => Ok(()),
    })?;
    let encoded = Encoded { regions, words };
    let pairs_with_references = references.as_ref().map_or(0, |all| all.pairs(split));
    let mut matching = Matching {
        search: &search,
        done: 0,
        all: split.images() * split.captions.len() + pairs_with_references,
        on_progress,
    };
    let (similarities, kept) = match &references {
        None => {
            let preserve = Preserve {
                top: 0,
                matched: &matched_pairs(split),
            };
            matching.similarities(&encoded.regions, &encoded.words, Some(&preserve))?
        }
        Some(references) => {
            let encoded_references = references.encode(&mut encoding)?;
            references.normalized(&mut matching, &encoded, &encoded_references)?
        }
    };
    let truth = GroundTruth::from_image_of_caption(&split.image_of_caption, split.images())?;
    let mut retrieval = uard_eval::evaluate(&similarities, &truth)?;
    options.complete_protocol(&mut retrieval);
    let record = SplitRecord {
        split: split.name.clone(),
        threshold,
        retrieval,
        kept: kept_fractions(&kept),
        alignment: aligner.map(|aligner| aligner.record()),
    };
    Ok(SplitEvaluation {
        similarities,
        record,
    })
}

/// Each caption's own image with the caption.
fn matched_pairs(split: &Split) -> Vec<(usize, usize)> {
    let owners = split.image_of_caption.iter().enumerate();
    owners.map(|(caption, &image)| (image, caption)).collect()
}

/// The regions of some images and the words of some captions, for a search.
struct Encoded {
    regions: SearchRegions,
    words: SearchWords,
}

/// Encodes images and captions for a search, and reports how many of all are encoded.
struct Encoding<'a> {
    model: &'a Model,
    search: &'a Search,
    done: usize,
    all: usize,
    on_progress: OnProgress<'a>,
}

impl Encoding<'_> {
    /// Encodes some images of a split, block by block.
    fn regions(
        &mut self,
        split: &Split,
        images: &[usize],
        mut on_block: impl FnMut(&Regions),
    ) -> Result<SearchRegions> {
        let mut all = self.search.regions(self.model.joint_width())?;
        for block in images.chunks(IMAGES_AT_ONCE) {
            let features = ImageFeatures::read(&split.regions, block)?;
            let regions = self.model.images(features)?;
            all.push(&regions)?;
            on_block(&regions);
            self.advance(block.len());
        }
        Ok(all.finish()?)
    }

    /// Encodes captions, block by block; `on_block` also gets the index of the block's first caption.
    fn words(
        &mut self,
        captions: &[impl AsRef<str>],
        mut on_block: impl FnMut(usize, &Words) -> Result<()>,
    ) -> Result<SearchWords> {
        let mut all = self.search.words(self.model.joint_width())?;
        for (at, block) in captions.chunks(CAPTIONS_AT_ONCE).enumerate() {
            let words = self.model.texts(block)?;
            all.push(&words)?;
            on_block(at * CAPTIONS_AT_ONCE, &words)?;
            self.advance(block.len());
        }
        Ok(all.finish()?)
    }

    fn advance(&mut self, entries: usize) {
        self.done += entries;
        (self.on_progress)(Stage::Encoding, self.done, self.all);
    }
}

/// Computes matrices of similarities, and reports how many of all pairs are computed.
struct Matching<'a> {
    search: &'a Search,
    done: usize,
    all: usize,
    on_progress: OnProgress<'a>,
}

impl Matching<'_> {
    /// The similarities of all images and captions, and what is above the threshold. With `preserve` only
    /// what it names has the precision of the search.
    fn similarities(
        &mut self,
        regions: &SearchRegions,
        words: &SearchWords,
        preserve: Option<&Preserve<'_>>,
    ) -> Result<(SimilarityMatrix, Kept)> {
        let (images, captions) = (regions.images(), words.captions());
        let mut values = vec![0.0; images * captions];
        let (before, all) = (self.done, self.all);
        let on_pairs = |done, _| (self.on_progress)(Stage::Matching, before + done, all);
        let out = MatrixOutput {
            values: &mut values,
            on_progress: &on_pairs,
        };
        let kept = match preserve {
            Some(preserve) => {
                let found = self
                    .search
                    .similarities_preserving(regions, words, preserve, out)?;
                found.kept
            }
            None => self.search.similarities_into(regions, words, out)?,
        };
        self.done += images * captions;
        Ok((SimilarityMatrix::new(values, images, captions)?, kept))
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
