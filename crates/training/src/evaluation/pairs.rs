//! How do all pairs of a split get their similarity while its fragments come in block by block?

#[cfg(feature = "cuda-kernels")]
mod gpu;

use candle_core::Device;
use uard_attention::kernel::Kernel;
use uard_attention::packed::{RegionsBuilder, WordsBuilder};
use uard_attention::search::{AllPairs, Preserve, Search};
use uard_attention::{Kept, Matcher, PackedRegions, PackedWords, Precision};
use uard_core::{Regions, Words};

use super::{How, OnProgress, Stage};
use crate::Result;

/// Collects fragments, and matches them with each other.
pub(super) enum Pairs<'a> {
    /// For kernels on packed fragments.
    Packed(Box<Packed>),
    /// For what reads the tensors themselves.
    Tensors(Tensors<'a>),
    /// For kernels on a GPU.
    #[cfg(feature = "cuda-kernels")]
    Gpu(Box<gpu::OnGpu>),
}

pub(super) struct Packed {
    search: Search,
    regions: RegionsBuilder,
    words: WordsBuilder,
}

pub(super) struct Tensors<'a> {
    matcher: &'a Matcher,
    kernel: Kernel,
    threshold: f64,
    regions: Vec<Regions>,
    words: Vec<Words>,
}

impl<'a> Pairs<'a> {
    /// Kernels on packed fragments run on the CPU. On a CUDA device `auto` is our kernels there, on
    /// another the batch similarity on the device itself; a kernel asked for by name gets its
    /// fragments from the device.
    pub(super) fn new(
        matcher: &'a Matcher,
        (how, threshold): (How, f64),
        width: usize,
        device: &Device,
    ) -> Result<Self> {
        let kernel = match how.kernel {
            // What is exact is so on the CPU.
            Kernel::Auto if how.precision == Precision::Exact => Kernel::Auto,
            Kernel::Auto if device.is_cuda() && cfg!(feature = "cuda-kernels") => Kernel::Cuda,
            Kernel::Auto if !device.is_cpu() => Kernel::Tensor,
            kernel => kernel,
        };
        #[cfg(feature = "cuda-kernels")]
        if kernel == Kernel::Cuda {
            let asked = (how.precision, threshold);
            return Ok(Self::Gpu(Box::new(gpu::OnGpu::new(
                matcher, asked, width, device,
            )?)));
        }
        if kernel.is_packed() {
            return Ok(Self::Packed(Box::new(Packed {
                search: Search::new(matcher, threshold, kernel, how.precision)?,
                regions: PackedRegions::builder(width, how.precision)?,
                words: PackedWords::builder(width, how.precision)?,
            })));
        }
        Ok(Self::Tensors(Tensors {
            matcher,
            kernel,
            threshold,
            regions: Vec::new(),
            words: Vec::new(),
        }))
    }

    pub(super) fn add_images(&mut self, regions: Regions) -> Result<()> {
        match self {
            Self::Packed(packed) => packed.regions.push(&regions)?,
            Self::Tensors(tensors) => tensors.regions.push(regions),
            #[cfg(feature = "cuda-kernels")]
            Self::Gpu(gpu) => gpu.regions.push(&regions)?,
        }
        Ok(())
    }

    pub(super) fn add_captions(&mut self, words: Words) -> Result<()> {
        match self {
            Self::Packed(packed) => packed.words.push(&words)?,
            Self::Tensors(tensors) => tensors.words.push(words),
            #[cfg(feature = "cuda-kernels")]
            Self::Gpu(gpu) => gpu.words.push(&words)?,
        }
        Ok(())
    }

    /// The similarity of all that was added.
    pub(super) fn matched(
        self,
        image_of_caption: &[usize],
        on_progress: OnProgress<'_>,
    ) -> Result<AllPairs> {
        match self {
            Self::Packed(packed) => packed.matched(image_of_caption, on_progress),
            Self::Tensors(tensors) => tensors.matched(on_progress),
            #[cfg(feature = "cuda-kernels")]
            Self::Gpu(gpu) => gpu.matched(on_progress),
        }
    }
}

impl Packed {
    fn matched(self, image_of_caption: &[usize], on_progress: OnProgress<'_>) -> Result<AllPairs> {
        let (regions, words) = (self.regions.finish(), self.words.finish());
        let mut values = vec![0.0; regions.images() * words.captions()];
        let on_pairs = |done, all| on_progress(Stage::Matching, done, all);
        let captions = image_of_caption.iter().enumerate();
        let matched: Vec<(usize, usize)> =
            captions.map(|(caption, &image)| (image, caption)).collect();
        let preserve = Preserve {
            top: 0,
            matched: &matched,
        };
        let found = self.search.similarities_preserving(
            (&regions, &words),
            &preserve,
            &mut values,
            &on_pairs,
        )?;
        let kept = found.kept;
        Ok(AllPairs { values, kept })
    }
}

impl Tensors<'_> {
    fn matched(&self, on_progress: OnProgress<'_>) -> Result<AllPairs> {
        let images: usize = self.regions.iter().map(Regions::images).sum();
        let captions: usize = self.words.iter().map(Words::captions).sum();
        let (mut values, mut kept) = (vec![0.0; images * captions], Kept::default());
        let (mut first_caption, mut done) = (0, 0);
        for words in &self.words {
            let mut first_image = 0;
            for regions in &self.regions {
                let block = (regions, words);
                let on_pairs = |some, _| on_progress(Stage::Matching, done + some, values.len());
                let found =
                    self.kernel
                        .all_pairs(self.matcher, block, self.threshold, &on_pairs)?;
                kept += found.kept;
                done += found.values.len();
                for (row, block) in found.values.chunks(words.captions()).enumerate() {
                    let start = (first_image + row) * captions + first_caption;
                    values[start..start + words.captions()].copy_from_slice(block);
                }
                first_image += regions.images();
            }
            first_caption += words.captions();
        }
        Ok(AllPairs { values, kept })
    }
}
