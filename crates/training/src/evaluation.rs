//! Evaluates a model on a split: retrieval, the fractions kept by the threshold, alignment.

mod alignment;
pub mod words;

use candle_core::Device;
use uard_attention::search::{MatrixOutput, Preserve, Search, SearchRegions, SearchWords};
use uard_attention::{Engine, Kept, Precision, Running};
use uard_core::{Regions, Words};
use uard_data::dataset::Split;
use uard_eval::{GroundTruth, ReferenceSimilarities, SimilarityMatrix};
use uard_model::{CAPTIONS_AT_ONCE, IMAGES_AT_ONCE, ImageFeatures, Model};

use crate::Result;
use alignment::Aligner;
use uard_report::record::{KeptFractions, SplitRecord};

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

/// Nearest-neighbour normalization ([`SimilarityMatrix::normalized`]).
#[derive(Debug, Clone, Copy)]
pub struct Normalization<'a> {
    /// The weight of the offsets, 0 to 1.
    pub weight: f64,
    /// The training split. Of its captions 3,000 and of its images 1,000 are references, evenly spaced, or
    /// all where there are fewer.
    pub references: &'a Split,
}

/// The most reference captions.
const REFERENCE_CAPTIONS: usize = 3000;

/// The most reference images.
const REFERENCE_IMAGES: usize = 1000;

impl<'a> EvaluationOptions<'a> {
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

    /// The same options with nearest-neighbour normalization; a weight of 0 is none.
    #[must_use]
    pub fn normalized(self, weight: f64, references: &'a Split) -> Self {
        let normalization = Normalization { weight, references };
        Self {
            normalization: (weight > 0.0).then_some(normalization),
            ..self
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
/// The fragments of the whole split are held in memory: for 5,000 images of 36 regions and 25,000
/// captions at width 1024, 2 GB in f32.
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
    let (images, captions) = (split.images(), split.captions.len());
    let search = Search::on(model.matcher(), threshold, &options.running)?;
    let encoder = Encoder { model, search };
    let mut aligner = Aligner::new(split, threshold);
    let numbers: Vec<usize> = (0..images).collect();
    let regions = encoder.regions(split, &numbers, |done, regions| {
        if let Some(aligner) = &mut aligner {
            aligner.add_images(regions);
        }
        on_progress(Stage::Encoding, done, images + captions);
    })?;
    let words = encoder.words(&split.captions, |first, words| {
        if let Some(aligner) = &mut aligner {
            aligner.add_captions(first, words, model.text())?;
        }
        let done = images + first + words.captions();
        on_progress(Stage::Encoding, done, images + captions);
        Ok(())
    })?;
    let encoded = Encoded { regions, words };
    let (similarities, kept) = encoder.matched(split, &encoded, options, on_progress)?;
    let truth = GroundTruth::from_image_of_caption(&split.image_of_caption, images)?;
    let record = SplitRecord {
        split: split.name.clone(),
        threshold,
        retrieval: uard_eval::evaluate(&similarities, &truth)?,
        kept: kept_fractions(&kept),
        alignment: aligner.map(|aligner| aligner.record()),
    };
    Ok(SplitEvaluation {
        similarities,
        record,
    })
}

/// A model, and the search that takes what it encodes.
struct Encoder<'a> {
    model: &'a Model,
    search: Search,
}

/// The regions and words of a split.
struct Encoded {
    regions: SearchRegions,
    words: SearchWords,
}

impl Encoder<'_> {
    /// Encodes some images of a split. `on_block` is called with the number of images that are encoded and
    /// the last of them.
    fn regions(
        &self,
        split: &Split,
        images: &[usize],
        mut on_block: impl FnMut(usize, &Regions),
    ) -> Result<SearchRegions> {
        let mut all = self.search.regions(self.model.joint_width())?;
        let mut done = 0;
        for block in images.chunks(IMAGES_AT_ONCE) {
            let features = ImageFeatures::read(&split.regions, block)?;
            let regions = self.model.images(features)?;
            all.push(&regions)?;
            done += block.len();
            on_block(done, &regions);
        }
        Ok(all.finish()?)
    }

    /// Encodes captions. `on_block` is called with the index of the first of some captions and their words.
    fn words(
        &self,
        captions: &[impl AsRef<str>],
        mut on_block: impl FnMut(usize, &Words) -> Result<()>,
    ) -> Result<SearchWords> {
        let mut all = self.search.words(self.model.joint_width())?;
        for (at, block) in captions.chunks(CAPTIONS_AT_ONCE).enumerate() {
            let words = self.model.texts(block)?;
            all.push(&words)?;
            on_block(at * CAPTIONS_AT_ONCE, &words)?;
        }
        Ok(all.finish()?)
    }

    /// The similarities of a split, normalized if the options say so, and what is above the threshold.
    fn matched(
        &self,
        split: &Split,
        encoded: &Encoded,
        options: &EvaluationOptions<'_>,
        on_progress: OnProgress<'_>,
    ) -> Result<(SimilarityMatrix, Kept)> {
        let Encoded { regions, words } = encoded;
        let (images, captions) = (split.images(), split.captions.len());
        let mut values = vec![0.0; images * captions];
        let on_pairs = |done, all| on_progress(Stage::Matching, done, all);
        let out = MatrixOutput {
            values: &mut values,
            on_progress: &on_pairs,
        };
        let Some(Normalization { weight, references }) = options.normalization else {
            let owners = split.image_of_caption.iter().enumerate();
            let matched: Vec<_> = owners.map(|(caption, &image)| (image, caption)).collect();
            let preserve = Preserve {
                top: 0,
                matched: &matched,
            };
            let search = &self.search;
            let found = search.similarities_preserving(regions, words, &preserve, out)?;
            return Ok((SimilarityMatrix::new(values, images, captions)?, found.kept));
        };
        // Offsets change which pairs are near the matched one: all similarities have the precision of ranks.
        let kept = self.search.similarities_into(regions, words, out)?;
        let similarities = SimilarityMatrix::new(values, images, captions)?;
        let references = self.references(references, encoded, [images, captions])?;
        Ok((similarities.normalized(&references, weight)?, kept))
    }

    /// The similarities of a split with `counts` [images, captions] with references of the training split.
    fn references(
        &self,
        train: &Split,
        encoded: &Encoded,
        counts: [usize; 2],
    ) -> Result<ReferenceSimilarities> {
        let chosen = evenly_spaced(train.captions.len(), REFERENCE_CAPTIONS);
        let captions = chosen.iter().map(|&at| train.captions[at].as_str());
        let captions: Vec<&str> = captions.collect();
        let images = evenly_spaced(train.images(), REFERENCE_IMAGES);
        let words = self.words(&captions, |_, _| Ok(()))?;
        let regions = self.regions(train, &images, |_, _| ())?;
        Ok(ReferenceSimilarities {
            captions: self.matrix(&encoded.regions, &words, [counts[0], captions.len()])?,
            images: self.matrix(&regions, &encoded.words, [images.len(), counts[1]])?,
        })
    }

    /// The similarities of `counts` [images, captions].
    fn matrix(
        &self,
        regions: &SearchRegions,
        words: &SearchWords,
        counts: [usize; 2],
    ) -> Result<SimilarityMatrix> {
        let [images, captions] = counts;
        let mut values = vec![0.0; images * captions];
        self.search
            .similarities_into(regions, words, &mut values[..])?;
        Ok(SimilarityMatrix::new(values, images, captions)?)
    }
}

/// At most `most` of `count` indices, evenly spaced.
fn evenly_spaced(count: usize, most: usize) -> Vec<usize> {
    let chosen = count.min(most);
    (0..chosen).map(|at| at * count / chosen).collect()
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
