//! [`Search`] matches images and captions by the same calls on every engine: all pairs, the best of each,
//! listed pairs, and the evidence of a pair.
//!
//! On packed fragments the work is cut into tasks (a block of images with a range of captions) that do
//! not depend on the number of threads, and every similarity depends on its pair alone. So the bytes are
//! the same for any number of threads, any tasks, and a pair that is computed alone. Beside packed
//! fragments and results, a thread needs about 1 MB: the relevance of 32 words and of one caption with a
//! block of images, and the similarities of a task.

mod by_reference;
#[cfg(feature = "cuda-kernels")]
mod gpu;
mod listed;
mod packed;
mod pair;
mod sides;
pub(crate) mod similarities;
mod tensors;
pub(crate) mod tiles;
mod top;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use uard_core::{Regions, Words};

use crate::engine::Means;
use crate::evidence::PairEvidence;
#[cfg(feature = "cuda-kernels")]
use crate::kernel::cuda::DeviceSearch;
use crate::{Engine, Error, Kept, Matcher, MatcherConfig, Precision, Result, Running};

pub use crate::results::{AllPairs, MatrixOutput, Preserve, Preserved, Progress, Ranked, TopK};
pub(crate) use listed::panels_of;
pub(crate) use packed::PackedPairs;
use sides::EngineFragments;
pub use sides::{SearchRegions, SearchRegionsBuilder, SearchWords, SearchWordsBuilder};
use tensors::TensorPairs;

/// Matches images and captions with one threshold, engine and precision.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use uard_attention::search::Search;
/// use uard_attention::{Engine, Matcher, MatcherConfig, Precision};
/// use uard_core::{Regions, Words};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Two images of one region each, and a caption whose only word is near the second.
/// let regions = Tensor::new(&[[[1f32, 0.0]], [[0.0, 1.0]]], &Device::Cpu)?;
/// let words = Tensor::new(&[[[0.6f32, 0.8]]], &Device::Cpu)?;
/// let matcher = Matcher::new(MatcherConfig::default())?;
/// let search = Search::new(&matcher, 0.7, Engine::Auto, Precision::F32)?;
/// // Collected batch by batch; packed fragments, also from a file, may be passed instead.
/// let mut images = search.regions(2)?;
/// images.push(&Regions::normalized(&regions, vec![1, 1])?)?;
/// let images = images.finish()?;
/// let mut captions = search.words(2)?;
/// captions.push(&Words::normalized(&words, vec![1])?)?;
/// let captions = captions.finish()?;
/// let found = search.top_k(&images, &captions, 2)?;
/// // Words and regions are queries, and each adds 0.8. The other image has nothing above the threshold.
/// let [first, second] = &found.images_of_captions[0][..] else { unreachable!() };
/// assert_eq!((first.index, second.similarity), (1, 0.0));
/// assert!((first.similarity - 1.6).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
///
/// # Regions and words
/// The functions take what [`Search::regions`] and [`Search::words`] have collected, by reference or by
/// value. Engines that read packed fragments take those too.
#[derive(Debug, Clone)]
pub struct Search {
    matcher: Matcher,
    threshold: f64,
    running: Running,
    #[cfg_attr(
        not(feature = "cuda-kernels"),
        allow(dead_code, reason = "read by the engine cuda alone")
    )]
    pairs_at_once: usize,
    stop: Arc<AtomicBool>,
}

/// How many similarities are in the memory of a GPU at once: 256 MB.
const PAIRS_AT_ONCE: usize = 1 << 26;

/// All images and captions of a search, as one engine computes their pairs.
trait Pairs {
    /// Writes the similarity of every pair to `out`, which has that length. Without `preserve`, all are
    /// those of f32 if the precision is `Exact`.
    fn similarities(
        &self,
        preserve: Option<&Preserve<'_>>,
        out: MatrixOutput<'_>,
    ) -> Result<Preserved>;

    /// The `k` best of each image and caption.
    fn top_k(&self, k: usize) -> Result<TopK>;

    /// The similarity of each listed (image, caption), all of them in range.
    fn listed(&self, pairs: &[(usize, usize)]) -> Result<Vec<f32>>;

    /// The evidence of a pair, which is in range.
    fn evidence(&self, image: usize, caption: usize) -> Result<PairEvidence>;
}

impl Search {
    /// A search with the settings of a matcher, for tensors on the CPU.
    ///
    /// # Errors
    /// When the engine cannot run here or lacks the precision, or the threshold is not finite.
    pub fn new(
        matcher: &Matcher,
        threshold: f64,
        engine: Engine,
        precision: Precision,
    ) -> Result<Self> {
        MatcherConfig::check_threshold(threshold)?;
        Self::on(
            matcher,
            threshold,
            &engine.open(Some(precision), &Device::Cpu)?,
        )
    }

    /// A search by an engine that was opened before.
    ///
    /// # Errors
    /// When the threshold is not finite.
    pub fn on(matcher: &Matcher, threshold: f64, running: &Running) -> Result<Self> {
        MatcherConfig::check_threshold(threshold)?;
        Ok(Self {
            matcher: *matcher,
            threshold,
            running: running.clone(),
            pairs_at_once: PAIRS_AT_ONCE,
            stop: Arc::default(),
        })
    }

    /// The same search with another number of similarities in the memory of a GPU at once. It changes
    /// no result, and nothing on the CPU.
    #[must_use]
    pub fn with_pairs_at_once(self, pairs_at_once: usize) -> Self {
        Self {
            pairs_at_once,
            ..self
        }
    }

    /// The same search, whose calls end with [`Error::Stopped`] soon after another thread sets `stop`. The
    /// engines `tensor`, `reference` and `cuda` finish a call first.
    #[must_use]
    pub fn stopped_by(self, stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..self }
    }

    /// The engine that runs, and why if it is not the requested one.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// The precision of relevance.
    pub fn precision(&self) -> Precision {
        self.running.precision()
    }

    /// A builder that collects regions of a width, batch by batch, for the engine.
    ///
    /// # Errors
    /// When the width is out of range.
    pub fn regions(&self, width: usize) -> Result<SearchRegionsBuilder> {
        SearchRegionsBuilder::new(&self.running, width)
    }

    /// A builder that collects words of a width, batch by batch, for the engine.
    ///
    /// # Errors
    /// When the width is out of range.
    pub fn words(&self, width: usize) -> Result<SearchWordsBuilder> {
        SearchWordsBuilder::new(&self.running, width)
    }

    /// The regions of one batch, for the engine.
    ///
    /// # Errors
    /// As [`SearchRegionsBuilder::push`] and [`SearchRegionsBuilder::finish`].
    pub fn collect_regions(&self, batch: &Regions) -> Result<SearchRegions> {
        let mut collected = self.regions(batch.width())?;
        collected.push(batch)?;
        collected.finish()
    }

    /// The words of one batch, for the engine.
    ///
    /// # Errors
    /// As [`SearchWordsBuilder::push`] and [`SearchWordsBuilder::finish`].
    pub fn collect_words(&self, batch: &Words) -> Result<SearchWords> {
        let mut collected = self.words(batch.width())?;
        collected.push(batch)?;
        collected.finish()
    }

    /// Matches every image of one batch with every caption of another.
    ///
    /// # Errors
    /// As [`Search::collect_regions`] and [`Search::similarities_into`].
    pub fn all_pairs(&self, regions: &Regions, words: &Words) -> Result<AllPairs> {
        let mut values = vec![0.0; regions.images() * words.captions()];
        let (images, captions) = (self.collect_regions(regions)?, self.collect_words(words)?);
        let kept = self.similarities_into(images, captions, &mut values)?;
        Ok(AllPairs { values, kept })
    }

    /// Writes the similarity of every image with every caption; returns counts of what is above the
    /// threshold.
    ///
    /// # Shapes
    /// `out` row-major [I, C], a slice, or a [`MatrixOutput`] with progress; every number is written.
    ///
    /// With `Precision::Exact` all similarities are those of f32, because no lists or ranks are named for
    /// which less would be enough; [`Search::similarities_preserving`] names them.
    ///
    /// # Errors
    /// When `out` has another length, the widths differ, or regions or words were collected for another
    /// engine or precision.
    pub fn similarities_into<'a>(
        &self,
        regions: impl Into<SearchRegions>,
        words: impl Into<SearchWords>,
        out: impl Into<MatrixOutput<'a>>,
    ) -> Result<Kept> {
        let (regions, words) = (regions.into(), words.into());
        Ok(self.matrix(&regions, &words, None, out.into())?.kept)
    }

    /// Writes the similarity of every image with every caption, of which only some must be those of f32.
    ///
    /// With `Precision::Exact`, what `preserve` names has the bits of `Precision::F32`, and other values
    /// are those of bf16. With any other precision this is [`Search::similarities_into`].
    ///
    /// # Errors
    /// As [`Search::similarities_into`], and when a matched pair is out of range.
    ///
    /// # Source
    /// `docs/exactness.md`.
    pub fn similarities_preserving<'a>(
        &self,
        regions: impl Into<SearchRegions>,
        words: impl Into<SearchWords>,
        preserve: &Preserve<'_>,
        out: impl Into<MatrixOutput<'a>>,
    ) -> Result<Preserved> {
        let (regions, words) = (regions.into(), words.into());
        check_pairs(&regions, &words, preserve.matched)?;
        self.matrix(&regions, &words, Some(preserve), out.into())
    }

    /// The `k` best captions of each image and the `k` best images of each caption, or all of them where
    /// there are fewer.
    ///
    /// Beside the fragments this needs memory for the lists, `k (I + C)` entries; the engines `tensor`
    /// and `reference` need it for the whole matrix.
    ///
    /// # Errors
    /// When the widths differ, or regions or words were collected for another engine or precision.
    pub fn top_k(
        &self,
        regions: impl Into<SearchRegions>,
        words: impl Into<SearchWords>,
        k: usize,
    ) -> Result<TopK> {
        let (regions, words) = (regions.into(), words.into());
        let found = self.pairs(&regions, &words)?.top_k(k);
        self.unless_stopped(found)
    }

    /// The similarity of one image with each of some captions, in their order.
    ///
    /// # Errors
    /// When an index is out of range, the widths differ, regions or words were collected for another
    /// engine or precision, or the engine is `cuda`, which matches all pairs only.
    pub fn captions_for_image(
        &self,
        regions: impl Into<SearchRegions>,
        words: impl Into<SearchWords>,
        image: usize,
        candidates: &[usize],
    ) -> Result<Vec<f32>> {
        let pairs = candidates.iter().map(|&caption| (image, caption));
        self.listed(&regions.into(), &words.into(), &pairs.collect::<Vec<_>>())
    }

    /// The similarity of one caption with each of some images, in their order.
    ///
    /// # Errors
    /// As [`Search::captions_for_image`].
    pub fn images_for_caption(
        &self,
        regions: impl Into<SearchRegions>,
        words: impl Into<SearchWords>,
        caption: usize,
        candidates: &[usize],
    ) -> Result<Vec<f32>> {
        let pairs = candidates.iter().map(|&image| (image, caption));
        self.listed(&regions.into(), &words.into(), &pairs.collect::<Vec<_>>())
    }

    /// The similarity of each of some images with every caption: row-major [images, C], in the order
    /// of `images`. It reads the regions of these images only.
    ///
    /// # Errors
    /// As [`Search::captions_for_image`].
    pub fn captions_for_images(
        &self,
        regions: impl Into<SearchRegions>,
        words: impl Into<SearchWords>,
        images: &[usize],
    ) -> Result<Vec<f32>> {
        let (regions, words) = (regions.into(), words.into());
        let captions = words.captions();
        let pairs = images
            .iter()
            .flat_map(|&image| (0..captions).map(move |caption| (image, caption)));
        self.listed(&regions, &words, &pairs.collect::<Vec<_>>())
    }

    /// The evidence of one pair. Words are the queries, whichever sides the similarity has.
    ///
    /// # Errors
    /// As [`Search::captions_for_image`].
    pub fn evidence(
        &self,
        regions: impl Into<SearchRegions>,
        words: impl Into<SearchWords>,
        image: usize,
        caption: usize,
    ) -> Result<PairEvidence> {
        let (regions, words) = (regions.into(), words.into());
        check_pairs(&regions, &words, &[(image, caption)])?;
        self.pairs(&regions, &words)?.evidence(image, caption)
    }

    fn matrix(
        &self,
        regions: &SearchRegions,
        words: &SearchWords,
        preserve: Option<&Preserve<'_>>,
        out: MatrixOutput<'_>,
    ) -> Result<Preserved> {
        let expected = regions.images() * words.captions();
        let found = out.values.len();
        if found != expected {
            return Err(Error::OutputLength { expected, found });
        }
        let found = self.pairs(regions, words)?.similarities(preserve, out);
        self.unless_stopped(found)
    }

    fn listed(
        &self,
        regions: &SearchRegions,
        words: &SearchWords,
        pairs: &[(usize, usize)],
    ) -> Result<Vec<f32>> {
        check_pairs(regions, words, pairs)?;
        let found = self.pairs(regions, words)?.listed(pairs);
        self.unless_stopped(found)
    }

    /// A result, unless the search was stopped and it is incomplete.
    fn unless_stopped<T>(&self, found: Result<T>) -> Result<T> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Error::Stopped),
            false => found,
        }
    }

    /// The pairs of these regions and words, computed by the engine of this search.
    fn pairs<'a>(
        &'a self,
        regions: &'a SearchRegions,
        words: &'a SearchWords,
    ) -> Result<Box<dyn Pairs + 'a>> {
        if regions.width() != words.width() {
            return Err(Error::WidthMismatch {
                regions: regions.width(),
                words: words.width(),
            });
        }
        let (config, threshold, precision) =
            (self.matcher.config(), self.threshold, self.precision());
        let pairs: Box<dyn Pairs + 'a> = match (&self.running.means, &regions.0, &words.0) {
            (
                Means::Packed(instructions),
                EngineFragments::Packed(regions),
                EngineFragments::Packed(words),
            ) => Box::new(PackedPairs {
                config,
                threshold,
                precision,
                fragments: tiles::Fragments {
                    instructions: *instructions,
                    regions,
                    words,
                    stop: &self.stop,
                },
            }),
            (
                Means::Tensor | Means::Reference,
                EngineFragments::Tensors(regions),
                EngineFragments::Tensors(words),
            ) => Box::new(TensorPairs {
                search: self,
                regions,
                words,
            }),
            #[cfg(feature = "cuda-kernels")]
            (Means::Cuda(gpu), EngineFragments::Gpu(regions), EngineFragments::Gpu(words)) => {
                Box::new(DeviceSearch {
                    gpu: &**gpu,
                    config,
                    threshold,
                    is_f16: precision == Precision::F16,
                    pairs_at_once: self.pairs_at_once,
                    regions,
                    words,
                })
            }
            _ => {
                return Err(Error::CollectedForAnother {
                    engine: self.running.engine(),
                });
            }
        };
        regions.check(precision)?;
        words.check(precision)?;
        Ok(pairs)
    }
}

/// Refuses pairs (image, caption) that are out of range.
fn check_pairs(
    regions: &SearchRegions,
    words: &SearchWords,
    pairs: &[(usize, usize)],
) -> Result<()> {
    let (images, captions) = (regions.images(), words.captions());
    for &(image, caption) in pairs {
        for (what, index, count) in [("image", image, images), ("caption", caption, captions)] {
            if index >= count {
                return Err(Error::NoSuchEntry { what, index, count });
            }
        }
    }
    Ok(())
}
