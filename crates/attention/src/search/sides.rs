//! Regions and words in the form that an engine reads, and their builders, the same for every engine.

use std::sync::Arc;

#[cfg(feature = "cuda-kernels")]
use uard_core::gpu::Gpu;
use uard_core::{Regions, Words};

use crate::engine::{Means, Running};
#[cfg(feature = "cuda-kernels")]
use crate::kernel::cuda::{DeviceBuilder, DeviceFragments};
#[cfg(feature = "cuda-kernels")]
use crate::packed::source::with_batch;
use crate::packed::{RegionsBuilder, WordsBuilder};
use crate::{Error, PackedRegions, PackedWords, Precision, Result};

/// Regions or words in the form that an engine reads. A clone shares them.
#[derive(Debug, Clone)]
pub(super) enum EngineFragments<P, B> {
    /// Packed, for kernels on the CPU.
    Packed(P),
    /// As tensors, for the engines `tensor` and `reference`.
    Tensors(Arc<Batches<B>>),
    /// In the memory of a GPU.
    #[cfg(feature = "cuda-kernels")]
    Gpu(Arc<DeviceFragments>),
}

/// Batches of tensors, in the order in which they were pushed.
#[derive(Debug)]
pub(super) struct Batches<B> {
    /// `regions` or `words`.
    pub what: &'static str,
    pub width: usize,
    pub batches: Vec<B>,
    /// How many fragments each entry has, over all batches.
    pub counts: Vec<usize>,
}

/// Collects regions or words, batch by batch, in the form that an engine reads.
enum EngineBuilder<P, B> {
    Packed(P),
    Tensors(Batches<B>),
    #[cfg(feature = "cuda-kernels")]
    Gpu(Arc<dyn Gpu>, DeviceBuilder),
}

impl<B> Batches<B> {
    /// The batch that holds an entry, and the entry's index there.
    pub fn find(&self, index: usize, entries_of: impl Fn(&B) -> usize) -> Result<(&B, usize)> {
        let mut index_in_batch = index;
        for batch in &self.batches {
            match index_in_batch.checked_sub(entries_of(batch)) {
                Some(rest) => index_in_batch = rest,
                None => return Ok((batch, index_in_batch)),
            }
        }
        let (what, count) = (self.what, self.counts.len());
        Err(Error::NoSuchEntry { what, index, count })
    }

    fn push(&mut self, batch: B, width: usize, counts: &[usize]) -> Result<()> {
        if width != self.width {
            return Err(Error::PackedWidth {
                what: self.what,
                expected: self.width,
                found: width,
            });
        }
        self.counts.extend_from_slice(counts);
        self.batches.push(batch);
        Ok(())
    }
}

macro_rules! sides {
    ($(
        $side:ident, $builder:ident, $batch:ident, $packed:ident, $packed_builder:ident,
        $entries:ident, $what:literal, $doc:literal;
    )*) => {$(
        #[doc = concat!($doc, " in the form that the engine of a search reads. A clone shares them.")]
        #[derive(Debug, Clone)]
        pub struct $side(pub(super) EngineFragments<$packed, $batch>);

        #[doc = concat!($doc, ", to be collected batch by batch for the engine of a search.")]
        pub struct $builder(EngineBuilder<$packed_builder, $batch>);

        impl $builder {
            pub(super) fn new(running: &Running, width: usize) -> Result<Self> {
                let packed = || $packed::builder(width, running.precision());
                let builder = match &running.means {
                    Means::Packed(_) => EngineBuilder::Packed(packed()?),
                    Means::Tensor | Means::Reference => EngineBuilder::Tensors(Batches {
                        what: $what,
                        width,
                        batches: Vec::new(),
                        counts: Vec::new(),
                    }),
                    #[cfg(feature = "cuda-kernels")]
                    Means::Cuda(gpu) => {
                        let builder = DeviceBuilder::new($what, width, running.precision())?;
                        EngineBuilder::Gpu(Arc::clone(gpu), builder)
                    }
                };
                Ok(Self(builder))
            }

            /// Adds a batch from any device. After an error nothing of it was added.
            ///
            /// # Errors
            /// When the batch has another width; for packed fragments and for a GPU also when a
            /// number is NaN or infinite, or an entry is too large.
            pub fn push(&mut self, batch: &$batch) -> Result<()> {
                match &mut self.0 {
                    EngineBuilder::Packed(builder) => builder.push(batch),
                    EngineBuilder::Tensors(batches) => {
                        batches.push(batch.detach(), batch.width(), batch.counts())
                    }
                    #[cfg(feature = "cuda-kernels")]
                    EngineBuilder::Gpu(_, builder) => {
                        with_batch(batch.rows(), batch.counts(), |batch| builder.push(batch))
                    }
                }
            }

            /// The collected fragments of all batches.
            ///
            /// # Errors
            /// When a GPU has too little memory.
            pub fn finish(self) -> Result<$side> {
                Ok($side(match self.0 {
                    EngineBuilder::Packed(builder) => EngineFragments::Packed(builder.finish()),
                    EngineBuilder::Tensors(batches) => EngineFragments::Tensors(Arc::new(batches)),
                    #[cfg(feature = "cuda-kernels")]
                    EngineBuilder::Gpu(gpu, builder) => {
                        EngineFragments::Gpu(Arc::new(builder.finish(&*gpu)?))
                    }
                }))
            }
        }

        impl $side {
            #[doc = concat!("How many ", stringify!($entries), " there are.")]
            pub fn $entries(&self) -> usize {
                self.counts().len()
            }

            #[doc = concat!("How many ", $what, " each of them has.")]
            pub fn counts(&self) -> &[usize] {
                match &self.0 {
                    EngineFragments::Packed(packed) => packed.counts(),
                    EngineFragments::Tensors(batches) => &batches.counts,
                    #[cfg(feature = "cuda-kernels")]
                    EngineFragments::Gpu(fragments) => &fragments.counts,
                }
            }

            /// Refuses fragments that were collected for another precision.
            pub(super) fn check(&self, asked: Precision) -> Result<()> {
                let packed = match &self.0 {
                    EngineFragments::Packed(packed) if !packed.supports(asked) => packed.precision(),
                    #[cfg(feature = "cuda-kernels")]
                    EngineFragments::Gpu(fragments) if fragments.precision != asked => fragments.precision,
                    _ => return Ok(()),
                };
                Err(Error::NotPackedFor { what: $what, packed, asked })
            }

            /// Width D of the joint space.
            pub fn width(&self) -> usize {
                match &self.0 {
                    EngineFragments::Packed(packed) => packed.width(),
                    EngineFragments::Tensors(batches) => batches.width,
                    #[cfg(feature = "cuda-kernels")]
                    EngineFragments::Gpu(fragments) => fragments.width,
                }
            }
        }

        impl From<$packed> for $side {
            fn from(packed: $packed) -> Self {
                Self(EngineFragments::Packed(packed))
            }
        }

        impl From<&$packed> for $side {
            fn from(packed: &$packed) -> Self {
                Self(EngineFragments::Packed(packed.clone()))
            }
        }

        impl From<&Self> for $side {
            fn from(side: &Self) -> Self {
                side.clone()
            }
        }
    )*};
}

sides!(
    SearchRegions, SearchRegionsBuilder, Regions, PackedRegions, RegionsBuilder,
    images, "regions", "Regions of many images";
    SearchWords, SearchWordsBuilder, Words, PackedWords, WordsBuilder,
    captions, "words", "Words of many captions";
);
