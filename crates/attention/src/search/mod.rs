//! Matches images and captions by the same calls on every engine: all pairs, the best of each,
//! listed pairs, and the evidence of a pair.
//!
//! On packed fragments work is cut into tasks (a block of images, a range of captions) that do not
//! depend on the number of threads, and every similarity depends on its pair alone: the same bytes
//! for any number of threads, for any cut, and for a pair asked alone. Beside packed fragments and
//! results, a thread holds about 1 MB: the relevance of 32 words and of one caption with a block of
//! images, and the similarities of a task.

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

use candle_core::Device;
use uard_core::{Regions, Words};

use crate::engine::Means;
use crate::evidence::PairEvidence;
#[cfg(feature = "cuda-kernels")]
use crate::kernel::cuda::DeviceSearch;
use crate::{Engine, Error, Kept, Matcher, MatcherConfig, Precision, Result, Running};

pub use crate::results::{AllPairs, Preserve, Preserved, Progress, Ranked, TopK};
pub(crate) use listed::panels_of;
pub(crate) use packed::PackedPairs;
use sides::Held;
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
/// // Batch by batch; what was packed before, or mapped from a file, is taken as it is.
/// let mut images = search.regions(2)?;
/// images.push(&Regions::normalized(&regions, vec![1, 1])?)?;
/// let images = images.finish()?;
/// let mut captions = search.words(2)?;
/// captions.push(&Words::normalized(&words, vec![1])?)?;
/// let captions = captions.finish()?;
/// let found = search.top_k(&images, &captions, 2, &|_, _| ())?;
/// // Words and regions ask: 0.8 twice. The other image has nothing above the threshold.
/// let [first, second] = &found.images_of_captions[0][..] else { unreachable!() };
/// assert_eq!((first.index, second.similarity), (1, 0.0));
/// assert!((first.similarity - 1.6).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
///
/// # Sides
/// Wherever regions or words are asked for, what its own builders finished is taken, by reference or
/// by value, and packed fragments where the engine reads those.
#[derive(Debug, Clone)]
pub struct Search {
    matcher: Matcher,
    threshold: f64,
    running: Running,
    pairs_at_once: usize,
}

/// Similarities that are in a GPU's memory at once: 256 MB.
const PAIRS_AT_ONCE: usize = 1 << 26;

/// Both sides, as one engine reads them.
trait Pairs {
    /// The similarity of every pair into `out` [I, C], which has that length; without `preserve`
    /// everything is as in f32 where the precision is `Exact`.
    fn similarities(
        &self,
        preserve: Option<&Preserve<'_>>,
        out: &mut [f32],
        on_progress: Progress<'_>,
    ) -> Result<Preserved>;

    /// The best of each.
    fn top_k(&self, k: usize, on_progress: Progress<'_>) -> Result<TopK>;

    /// The similarity of each listed (image, caption), all of them in range.
    fn listed(&self, pairs: &[(usize, usize)]) -> Result<Vec<f32>>;

    /// Why a pair, which is in range, has its similarity.
    fn evidence(&self, image: usize, caption: usize) -> Result<PairEvidence>;
}

impl Search {
    /// A search with the settings of a matcher, for tensors of the CPU.
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
        })
    }

    /// The same with another buffer of similarities on a GPU: fewer pairs are more chunks, and the
    /// same bytes. On the CPU it changes nothing.
    #[must_use]
    pub fn with_pairs_at_once(self, pairs_at_once: usize) -> Self {
        Self {
            pairs_at_once,
            ..self
        }
    }

    /// What runs, and why if that is not what was asked for.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// The numbers that relevance is computed in.
    pub fn precision(&self) -> Precision {
        self.running.precision()
    }

    /// Collects regions of a width, batch by batch, as the engine reads them.
    ///
    /// # Errors
    /// When the width is out of range.
    pub fn regions(&self, width: usize) -> Result<SearchRegionsBuilder> {
        SearchRegionsBuilder::new(&self.running, width)
    }

    /// Collects words of a width, batch by batch, as the engine reads them.
    ///
    /// # Errors
    /// When the width is out of range.
    pub fn words(&self, width: usize) -> Result<SearchWordsBuilder> {
        SearchWordsBuilder::new(&self.running, width)
    }

    /// Collects one batch of each and matches every image with every caption.
    ///
    /// # Errors
    /// As collecting and [`Search::similarities_into`].
    pub fn all_pairs(
        &self,
        regions: &Regions,
        words: &Words,
        on_progress: Progress<'_>,
    ) -> Result<AllPairs> {
        let mut images = self.regions(regions.width())?;
        images.push(regions)?;
        let mut captions = self.words(words.width())?;
        captions.push(words)?;
        let (images, captions) = (images.finish()?, captions.finish()?);
        let mut values = vec![0.0; regions.images() * words.captions()];
        let kept = self.similarities_into(images, captions, &mut values, on_progress)?;
        Ok(AllPairs { values, kept })
    }

    /// The similarity of every image with every caption; returns what was above the threshold.
    ///
    /// # Shapes
    /// `out` row-major [I, C], every number of it written.
    ///
    /// `Precision::Exact` promises that lists of the best and ranks are those of f32; asked for a
    /// whole matrix without saying which ranks matter, it is f32.
    ///
    /// # Errors
    /// When `out` has another length, the widths differ, or a side was collected for another engine
    /// or precision.
    pub fn similarities_into(
        &self,
        regions: impl Into<SearchRegions>,
        words: impl Into<SearchWords>,
        out: &mut [f32],
        on_progress: Progress<'_>,
    ) -> Result<Kept> {
        let (regions, words) = (regions.into(), words.into());
        let found = self.matrix(&regions, &words, None, out, on_progress)?;
        Ok(found.kept)
    }

    /// The similarity of every image with every caption, where only some of it must be as in f32.
    ///
    /// With `Precision::Exact` what `preserve` names is as with `Precision::F32`, to the last bit;
    /// other values are those of bf16. With any other precision this is
    /// [`Search::similarities_into`].
    ///
    /// # Shapes
    /// `out` row-major [I, C], every number of it written.
    ///
    /// # Errors
    /// As [`Search::similarities_into`], and when a matched pair is out of range.
    ///
    /// # Source
    /// `docs/exactness.md`.
    #[allow(
        clippy::too_many_arguments,
        reason = "five values beside the search itself"
    )]
    pub fn similarities_preserving(
        &self,
        regions: impl Into<SearchRegions>,
        words: impl Into<SearchWords>,
        preserve: &Preserve<'_>,
        out: &mut [f32],
        on_progress: Progress<'_>,
    ) -> Result<Preserved> {
        let (regions, words) = (regions.into(), words.into());
        check_pairs(&regions, &words, preserve.matched)?;
        self.matrix(&regions, &words, Some(preserve), out, on_progress)
    }

    /// The `k` best captions of each image and the `k` best images of each caption; fewer where
    /// there are fewer.
    ///
    /// Memory beside the fragments is that of the lists, `k (I + C)` entries; the engines `tensor`
    /// and `reference` hold the whole matrix.
    ///
    /// # Errors
    /// When the widths differ, or a side was collected for another engine or precision.
    pub fn top_k(
        &self,
        regions: impl Into<SearchRegions>,
        words: impl Into<SearchWords>,
        k: usize,
        on_progress: Progress<'_>,
    ) -> Result<TopK> {
        let (regions, words) = (regions.into(), words.into());
        self.pairs(&regions, &words)?.top_k(k, on_progress)
    }

    /// The similarity of one image with each of some captions, in their order.
    ///
    /// # Errors
    /// When an index is out of range, the widths differ, a side was collected for another engine or
    /// precision, or the engine is `cuda`, which matches all pairs.
    pub fn captions_for_image(
        &self,
        regions: impl Into<SearchRegions>,
        image: usize,
        words: impl Into<SearchWords>,
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
        words: impl Into<SearchWords>,
        caption: usize,
        regions: impl Into<SearchRegions>,
        candidates: &[usize],
    ) -> Result<Vec<f32>> {
        let pairs = candidates.iter().map(|&image| (image, caption));
        self.listed(&regions.into(), &words.into(), &pairs.collect::<Vec<_>>())
    }

    /// The evidence of one pair: words asking, whatever sides the similarity has.
    ///
    /// # Errors
    /// As [`Search::captions_for_image`].
    pub fn evidence(
        &self,
        regions: impl Into<SearchRegions>,
        image: usize,
        words: impl Into<SearchWords>,
        caption: usize,
    ) -> Result<PairEvidence> {
        let (regions, words) = (regions.into(), words.into());
        check_pairs(&regions, &words, &[(image, caption)])?;
        self.pairs(&regions, &words)?.evidence(image, caption)
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "five values beside the search itself"
    )]
    fn matrix(
        &self,
        regions: &SearchRegions,
        words: &SearchWords,
        preserve: Option<&Preserve<'_>>,
        out: &mut [f32],
        on_progress: Progress<'_>,
    ) -> Result<Preserved> {
        let expected = regions.images() * words.captions();
        if out.len() != expected {
            let found = out.len();
            return Err(Error::OutputLength { expected, found });
        }
        let pairs = self.pairs(regions, words)?;
        pairs.similarities(preserve, out, on_progress)
    }

    fn listed(
        &self,
        regions: &SearchRegions,
        words: &SearchWords,
        pairs: &[(usize, usize)],
    ) -> Result<Vec<f32>> {
        check_pairs(regions, words, pairs)?;
        self.pairs(regions, words)?.listed(pairs)
    }

    /// Both sides of one joint space, as the engine reads them.
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
            (Means::Packed(instructions), Held::Packed(regions), Held::Packed(words)) => {
                Box::new(PackedPairs {
                    config,
                    threshold,
                    precision,
                    fragments: tiles::Fragments {
                        instructions: *instructions,
                        regions,
                        words,
                    },
                })
            }
            (Means::Tensor | Means::Reference, Held::Tensors(regions), Held::Tensors(words)) => {
                Box::new(TensorPairs {
                    search: self,
                    regions,
                    words,
                })
            }
            #[cfg(feature = "cuda-kernels")]
            (Means::Cuda(machine), Held::Gpu(regions), Held::Gpu(words)) => {
                Box::new(DeviceSearch {
                    machine: &**machine,
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
