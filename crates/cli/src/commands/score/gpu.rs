//! All pairs of two arrays on an NVIDIA GPU.

#[cfg(feature = "cuda-kernels")]
pub use with_kernels::Pairs;
#[cfg(not(feature = "cuda-kernels"))]
pub use without_kernels::Pairs;

#[cfg(feature = "cuda-kernels")]
mod with_kernels {
    use candle_core::Device;
    use uard_attention::kernel::cuda::{
        DeviceRegions, DeviceRegionsBuilder, DeviceSearch, DeviceWords, DeviceWordsBuilder, Half,
        open,
    };
    use uard_attention::search::Progress;
    use uard_attention::{Matcher, Precision};
    use uard_core::gpu::Driver;
    use uard_core::{Regions, Words};

    use crate::arrays::RaggedArray;
    use crate::commands::score::blocks;

    /// Fragments in the memory of a GPU.
    pub struct Pairs {
        search: DeviceSearch<Driver>,
        regions: DeviceRegions<Driver>,
        words: DeviceWords<Driver>,
    }

    impl Pairs {
        /// Reads both arrays block by block and copies them, in bf16 where that was asked for, else
        /// in f16.
        pub fn copy(
            matcher: &Matcher,
            (threshold, precision): (f64, Precision),
            (regions, words): (&RaggedArray, &RaggedArray),
        ) -> anyhow::Result<Self> {
            let machine = open(&Device::Cpu)?;
            let half = match precision {
                Precision::Bf16 => Half::Bf16,
                _ => Half::F16,
            };
            let mut of_images = DeviceRegionsBuilder::new(regions.width(), half)?;
            for block in blocks(regions.entries()) {
                let block = regions.block(block)?;
                of_images.push(&Regions::normalized(&block.rows, block.counts)?)?;
            }
            let mut of_captions = DeviceWordsBuilder::new(words.width(), half)?;
            for block in blocks(words.entries()) {
                let block = words.block(block)?;
                of_captions.push(&Words::normalized(&block.rows, block.counts)?)?;
            }
            Ok(Self {
                regions: of_images.finish(&*machine)?,
                words: of_captions.finish(&*machine)?,
                search: DeviceSearch::new(machine, matcher, threshold)?,
            })
        }

        /// Similarities [images, captions].
        pub fn score(&self, values: &mut [f32], on_progress: Progress<'_>) -> anyhow::Result<()> {
            let sides = (&self.regions, &self.words);
            self.search.similarities_into(sides, values, on_progress)?;
            Ok(())
        }
    }
}

#[cfg(not(feature = "cuda-kernels"))]
mod without_kernels {
    use uard_attention::search::Progress;
    use uard_attention::{Matcher, Precision};

    use crate::arrays::RaggedArray;
    use crate::exit::wrong;

    /// Nothing: this build has no kernels for a GPU, and `check` has said so before.
    pub enum Pairs {}

    impl Pairs {
        pub fn copy(
            _: &Matcher,
            _: (f64, Precision),
            _: (&RaggedArray, &RaggedArray),
        ) -> anyhow::Result<Self> {
            Err(wrong("--kernel cuda: this binary was built without it"))
        }

        pub fn score(&self, _: &mut [f32], _: Progress<'_>) -> anyhow::Result<()> {
            match *self {}
        }
    }
}
