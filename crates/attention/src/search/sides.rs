//! Regions and words as an engine reads them, collected batch by batch in the same way for each.

use std::sync::Arc;

#[cfg(feature = "cuda-kernels")]
use uard_core::gpu::Machine;
use uard_core::{Regions, Words};

use crate::engine::{Means, Running};
#[cfg(feature = "cuda-kernels")]
use crate::kernel::cuda::{DeviceBuilder, DeviceFragments};
#[cfg(feature = "cuda-kernels")]
use crate::packed::source::{Batch, with_numbers};
use crate::packed::{RegionsBuilder, WordsBuilder};
use crate::{Error, PackedRegions, PackedWords, Precision, Result};

/// One side as an engine reads it; a clone shares it.
#[derive(Debug, Clone)]
pub(super) enum Held<P, B> {
    /// For kernels on packed fragments.
    Packed(P),
    /// For what reads the tensors themselves.
    Tensors(Arc<Batches<B>>),
    /// In the memory of a GPU.
    #[cfg(feature = "cuda-kernels")]
    Gpu(Arc<DeviceFragments>),
}

/// The batches of tensors, in the order in which they were pushed.
#[derive(Debug)]
pub(super) struct Batches<B> {
    pub what: &'static str,
    pub width: usize,
    pub batches: Vec<B>,
    /// Fragments of each entry, over all batches.
    pub counts: Vec<usize>,
}

/// Collects one side, batch by batch.
enum Collected<P, B> {
    Packed(P),
    Tensors(Batches<B>),
    #[cfg(feature = "cuda-kernels")]
    Gpu(Arc<dyn Machine>, DeviceBuilder),
}

impl<B> Batches<B> {
    /// The batch that holds an entry, and its place there.
    pub fn find(&self, index: usize, entries_of: impl Fn(&B) -> usize) -> Result<(&B, usize)> {
        let mut place = index;
        for batch in &self.batches {
            match place.checked_sub(entries_of(batch)) {
                Some(rest) => place = rest,
                None => return Ok((batch, place)),
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
        $held:ident, $builder:ident, $batch:ident, $packed:ident, $packed_builder:ident,
        $entries:ident, $what:literal, $doc:literal;
    )*) => {$(
        #[doc = concat!($doc, " as the engine of a search reads them. A clone shares them.")]
        #[derive(Debug, Clone)]
        pub struct $held(pub(super) Held<$packed, $batch>);

        #[doc = concat!($doc, ", collected batch by batch for the engine of a search.")]
        pub struct $builder(Collected<$packed_builder, $batch>);

        impl $builder {
            pub(super) fn new(running: &Running, width: usize) -> Result<Self> {
                let packed = || $packed::builder(width, running.precision());
                let collected = match &running.means {
                    Means::Packed(_) => Collected::Packed(packed()?),
                    Means::Tensor | Means::Reference => Collected::Tensors(Batches {
                        what: $what,
                        width,
                        batches: Vec::new(),
                        counts: Vec::new(),
                    }),
                    #[cfg(feature = "cuda-kernels")]
                    Means::Cuda(machine) => {
                        let builder = DeviceBuilder::new($what, width, running.precision())?;
                        Collected::Gpu(Arc::clone(machine), builder)
                    }
                };
                Ok(Self(collected))
            }

            /// Adds a batch, from whatever device; after an error nothing of it was added.
            ///
            /// # Errors
            /// When the batch has another width; for packed fragments and for a GPU also when a
            /// number is NaN or infinite, or an entry is too large.
            pub fn push(&mut self, batch: &$batch) -> Result<()> {
                match &mut self.0 {
                    Collected::Packed(builder) => builder.push(batch),
                    Collected::Tensors(batches) => {
                        batches.push(batch.detach(), batch.width(), batch.counts())
                    }
                    #[cfg(feature = "cuda-kernels")]
                    Collected::Gpu(_, builder) => with_numbers(batch.rows(), |numbers| {
                        builder.push(Batch {
                            numbers,
                            counts: batch.counts(),
                            longest: batch.longest(),
                            width: batch.width(),
                        })
                    }),
                }
            }

            /// All that was pushed.
            ///
            /// # Errors
            /// When a GPU has too little memory.
            pub fn finish(self) -> Result<$held> {
                Ok($held(match self.0 {
                    Collected::Packed(builder) => Held::Packed(builder.finish()),
                    Collected::Tensors(batches) => Held::Tensors(Arc::new(batches)),
                    #[cfg(feature = "cuda-kernels")]
                    Collected::Gpu(machine, builder) => {
                        Held::Gpu(Arc::new(builder.finish(&*machine)?))
                    }
                }))
            }
        }

        impl $held {
            #[doc = concat!("How many ", stringify!($entries), " there are.")]
            pub fn $entries(&self) -> usize {
                self.counts().len()
            }

            #[doc = concat!("How many ", $what, " each of them has.")]
            pub fn counts(&self) -> &[usize] {
                match &self.0 {
                    Held::Packed(packed) => packed.counts(),
                    Held::Tensors(batches) => &batches.counts,
                    #[cfg(feature = "cuda-kernels")]
                    Held::Gpu(fragments) => &fragments.counts,
                }
            }

            /// Refuses what was collected for another precision.
            pub(super) fn check(&self, asked: Precision) -> Result<()> {
                let packed = match &self.0 {
                    Held::Packed(packed) if !packed.supports(asked) => packed.precision(),
                    #[cfg(feature = "cuda-kernels")]
                    Held::Gpu(fragments) if fragments.precision != asked => fragments.precision,
                    _ => return Ok(()),
                };
                Err(Error::NotPackedFor { what: $what, packed, asked })
            }

            /// Width D of the joint space.
            pub fn width(&self) -> usize {
                match &self.0 {
                    Held::Packed(packed) => packed.width(),
                    Held::Tensors(batches) => batches.width,
                    #[cfg(feature = "cuda-kernels")]
                    Held::Gpu(fragments) => fragments.width,
                }
            }
        }

        impl From<$packed> for $held {
            fn from(packed: $packed) -> Self {
                Self(Held::Packed(packed))
            }
        }

        impl From<&$packed> for $held {
            fn from(packed: &$packed) -> Self {
                Self(Held::Packed(packed.clone()))
            }
        }

        impl From<&Self> for $held {
            fn from(held: &Self) -> Self {
                held.clone()
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
