//! Who matches whom? All pairs, the best of each, listed pairs, and why: on packed fragments.
//!
//! Work is cut into tasks (a block of images, a range of captions) that do not depend on the number
//! of threads, and every similarity depends on its pair alone: the same bytes for any number of
//! threads, for any cut, and for a pair asked alone.
//!
//! Beside packed fragments and results, a thread holds about 1 MB: the relevance of 32 words and of
//! one caption with a block of images, and the similarities of a task.

mod by_tensor;
pub(crate) mod listed;
mod pair;
pub(crate) mod similarities;
pub(crate) mod tiles;
pub(crate) mod top;

use uard_core::{Regions, Words};

use crate::kernel::answers::Answers;
use crate::kernel::{Kernel, Running};
use crate::packed::{PackedRegions, PackedWords};
use crate::{Error, Kept, Matcher, MatcherConfig, Precision, Result};

pub use crate::exact::{Preserve, Preserved};
pub use by_tensor::all_pairs;
pub(crate) use top::offer;
pub use top::{Ranked, TopK};

/// The similarity of every pair.
#[derive(Debug, Clone, PartialEq)]
pub struct AllPairs {
    /// Row-major [I, C].
    pub values: Vec<f32>,
    /// How much was above the threshold, over all pairs.
    pub kept: Kept,
}

/// Told the pairs done and the pairs in all, from any thread.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Matches packed fragments with one threshold, kernel and precision.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use uard_attention::kernel::Kernel;
/// use uard_attention::search::Search;
/// use uard_attention::{Matcher, MatcherConfig, PackedRegions, PackedWords, Precision};
/// use uard_core::{Regions, Words};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Two images of one region each, and a caption whose only word is near the second.
/// let regions = Tensor::new(&[[[1f32, 0.0]], [[0.0, 1.0]]], &Device::Cpu)?;
/// let words = Tensor::new(&[[[0.6f32, 0.8]]], &Device::Cpu)?;
/// let regions = Regions::normalized(&regions, vec![1, 1])?;
/// let words = Words::normalized(&words, vec![1])?;
/// let regions = PackedRegions::pack(&regions, Precision::F32)?;
/// let words = PackedWords::pack(&words, Precision::F32)?;
/// let matcher = Matcher::new(MatcherConfig::default())?;
/// let search = Search::new(&matcher, 0.7, Kernel::Auto, Precision::F32)?;
/// let found = search.top_k(&regions, &words, 2, &|_, _| ())?;
/// // Words and regions ask: 0.8 twice. The other image has nothing above the threshold.
/// let [first, second] = &found.images_of_captions[0][..] else { unreachable!() };
/// assert_eq!((first.index, second.similarity), (1, 0.0));
/// assert!((first.similarity - 1.6).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Search {
    config: MatcherConfig,
    threshold: f64,
    running: Running,
    precision: Precision,
}

impl Search {
    /// A search with the settings of a matcher.
    ///
    /// # Errors
    /// When the kernel cannot run here or reads no packed fragments, or the threshold is not
    /// finite.
    pub fn new(
        matcher: &Matcher,
        threshold: f64,
        kernel: Kernel,
        precision: Precision,
    ) -> Result<Self> {
        MatcherConfig::check_threshold(threshold)?;
        Ok(Self {
            config: *matcher.config(),
            threshold,
            running: kernel.resolve()?,
            precision,
        })
    }

    /// What runs, and why if that is not what was asked for.
    pub fn kernel(&self) -> Running {
        self.running
    }

    /// The numbers that relevance is computed in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Packs fragments and matches every image with every caption.
    ///
    /// # Errors
    /// As packing and [`Search::similarities_into`].
    pub fn all_pairs(
        &self,
        regions: &Regions,
        words: &Words,
        on_progress: Progress<'_>,
    ) -> Result<AllPairs> {
        let regions = PackedRegions::pack(regions, self.precision)?;
        let words = PackedWords::pack(words, self.precision)?;
        let mut values = vec![0.0; regions.images() * words.captions()];
        let kept = self.similarities_into(&regions, &words, &mut values, on_progress)?;
        Ok(AllPairs { values, kept })
    }

    /// The rule as the kernel computes it.
    pub(crate) fn answers(&self) -> Answers {
        Answers::new(&self.config, self.threshold, self.running.instructions())
    }

    /// The settings.
    pub(crate) fn config(&self) -> &MatcherConfig {
        &self.config
    }

    /// The threshold that was given; the rule may have its own.
    pub(crate) fn threshold(&self) -> f64 {
        self.threshold
    }

    /// Fragments of one joint space, packed for this precision.
    pub(crate) fn fragments<'a>(
        &self,
        regions: &'a PackedRegions,
        words: &'a PackedWords,
    ) -> Result<tiles::Fragments<'a>> {
        if regions.width() != words.width() {
            return Err(Error::WidthMismatch {
                regions: regions.width(),
                words: words.width(),
            });
        }
        let asked = self.precision;
        let packed = [
            ("regions", regions.precision()),
            ("words", words.precision()),
        ];
        for (what, packed) in packed {
            let has_f32 = packed.needs_f32() || !asked.needs_f32();
            let has_bf16 = packed.needs_bf16() || !asked.needs_bf16();
            if !(has_f32 && has_bf16) {
                return Err(Error::NotPackedFor {
                    what,
                    packed,
                    asked,
                });
            }
        }
        Ok(tiles::Fragments {
            instructions: self.running.instructions(),
            regions,
            words,
        })
    }
}
