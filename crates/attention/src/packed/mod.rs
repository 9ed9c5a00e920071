//! Fragments packed for kernels, once for many searches: panels, Gram matrices, bounds of rounding.
//!
//! Fragments lie one after the other without padding between entries. Images are grouped into blocks of
//! about [`BLOCK_COLUMNS`] regions. A block begins at a panel of its own, so that it can be multiplied
//! alone. Packed fragments stay in memory, or are written to a file, which searches map without a copy;
//! `docs/packed-format.md` describes it.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use uard_attention::{PackedRegions, Precision};
//! use uard_core::Regions;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut builder = PackedRegions::builder(2, Precision::Exact)?;
//! for image in [[[1f32, 0.0], [0.0, 1.0]], [[0.6, 0.8], [0.0, 0.0]]] {
//!     let regions = Tensor::new(&[image], &Device::Cpu)?;
//!     builder.push(&Regions::normalized(&regions, vec![2])?)?;
//! }
//! let packed = builder.finish();
//! assert_eq!((packed.images(), packed.width()), (2, 2));
//!
//! let path = std::env::temp_dir().join(format!("regions-{}.packed", std::process::id()));
//! packed.write(&path)?;
//! let mapped = PackedRegions::open(&path)?;
//! mapped.verify()?;
//! assert_eq!(mapped.counts(), packed.counts());
//! # std::fs::remove_file(&path)?;
//! # Ok(())
//! # }
//! ```

mod builder;
mod file;
mod fragments;
pub(crate) mod gram;
mod layout;
mod panel;
mod rounding;
pub(crate) mod source;
mod storage;
mod work;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use bytemuck::Pod;
use candle_core::{Device, Tensor};
use uard_core::{Regions, Words};
use uard_linalg::panels::{ColumnPanels, Element, RowPanels, padded_depth};

use crate::{Error, Precision, Result};
use builder::Builder;
use fragments::{Fragments, Part, Shape};
pub use fragments::{LARGEST_WIDTH, MOST_FRAGMENTS};
use layout::Kind;
pub use layout::{BLOCK_COLUMNS, ImageBlock, gram_stride};
use source::with_batch;

/// Regions of many images, packed as columns. A clone shares their memory.
///
/// There may be no image; then there is no block either.
#[derive(Debug, Clone)]
pub struct PackedRegions {
    fragments: Fragments,
}

/// Words of many captions, packed as rows. A clone shares their memory.
///
/// There may be no caption.
#[derive(Debug, Clone)]
pub struct PackedWords {
    fragments: Fragments,
}

/// Packs regions batch by batch, so that no padded tensor of a whole split is needed.
///
/// The bytes do not depend on how images are cut into batches, or on the number of threads.
pub struct RegionsBuilder {
    builder: Builder,
}

/// Packs words batch by batch, so that no padded tensor of a whole split is needed.
///
/// The bytes do not depend on how captions are cut into batches, or on the number of threads.
pub struct WordsBuilder {
    builder: Builder,
}

impl PackedRegions {
    /// How many images there are.
    pub fn images(&self) -> usize {
        self.counts().len()
    }

    /// The blocks of images, in order. Each image is in one of them.
    pub fn blocks(&self) -> &[ImageBlock] {
        self.fragments.layout().blocks()
    }

    /// The regions of one image, for callers that no longer have them: unit vectors, rounded to bf16
    /// where f32 is not stored.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn image(&self, image: usize) -> Result<Regions> {
        let Some(&count) = self.counts().get(image) else {
            return Err(Error::NoSuchEntry {
                what: "image",
                index: image,
                count: self.images(),
            });
        };
        let rows = self.fragments.vectors(image);
        let rows = Tensor::from_vec(rows, (1, count, self.width()), &Device::Cpu)?;
        Ok(Regions::normalized(&rows, vec![count])?)
    }

    /// Panels of `T` as columns.
    ///
    /// # Panics
    /// When panels of `T` are not stored.
    pub(crate) fn panels<T: Element + Pod>(&self) -> ColumnPanels<'_, T> {
        ColumnPanels::new(self.fragments.panels(), padded_depth(self.width()))
    }
}

impl PackedWords {
    /// How many captions there are.
    pub fn captions(&self) -> usize {
        self.counts().len()
    }

    /// Panels of `T` as rows.
    ///
    /// # Panics
    /// When panels of `T` are not stored.
    pub(crate) fn panels<T: Element + Pod>(&self) -> RowPanels<'_, T> {
        RowPanels::new(self.fragments.panels(), padded_depth(self.width()))
    }
}

impl RegionsBuilder {
    /// Adds images of `packed` by copying their numbers: the same bytes as packing their regions
    /// again, for callers that no longer have the regions. After an error nothing was added.
    ///
    /// # Errors
    /// When they have another width or precision, or `images` names one that is not there.
    pub fn push_packed(&mut self, packed: &PackedRegions, images: &[usize]) -> Result<()> {
        self.builder.push_packed(&packed.fragments, images)
    }
}

macro_rules! delegate_to_fragments {
    ($($type:ident, $builder:ident, $fragments:ident, $kind:expr;)*) => {$(
        impl $type {
            /// Packs one batch for kernels of a precision.
            ///
            /// # Errors
            /// As `push` of the builder.
            pub fn pack(fragments: &$fragments, precision: Precision) -> Result<Self> {
                let mut builder = Self::builder(fragments.width(), precision)?;
                builder.push(fragments)?;
                Ok(builder.finish())
            }

            /// Packs many batches of one width for kernels of a precision.
            ///
            /// # Errors
            /// When the width is zero or above [`LARGEST_WIDTH`].
            pub fn builder(width: usize, precision: Precision) -> Result<$builder> {
                let builder = Builder::new($kind, Shape::new(width, precision)?);
                Ok($builder { builder })
            }

            /// Writes a file in the format of `docs/packed-format.md`. Equal fragments give equal
            /// bytes.
            ///
            /// The file is written under a hidden name in the same folder, flushed to disk and then
            /// renamed. So a mapped file is never changed: a process that has the old one open
            /// still reads that. (On Windows a mapped file cannot be replaced, which is an error
            /// here.)
            ///
            /// # Errors
            /// When the file cannot be written; an old file of that name then stays.
            pub fn write(&self, path: &Path) -> Result<()> {
                file::write(&self.fragments, path)
            }

            /// Writes the bytes of such a file into any writer, for callers that write the file
            /// themselves.
            ///
            /// # Errors
            /// When `out` cannot be written.
            pub fn write_to(&self, out: impl io::Write) -> io::Result<()> {
                file::encode(&self.fragments, out)
            }

            /// Maps a file that [`Self::write`] wrote, without reading its numbers.
            ///
            /// Header, table and counts are checked completely: format, version, checksums, and the
            /// offset and length of every part. The numbers themselves may be gigabytes, so only
            /// [`Self::verify`] compares their checksums: damaged numbers give wrong similarities,
            /// but no access outside of the file.
            ///
            /// # Errors
            /// When the file cannot be mapped, header, table or counts are damaged, or the file is
            /// too short or too long.
            pub fn open(path: &Path) -> Result<Self> {
                let fragments = file::open(path, $kind)?;
                Ok(Self { fragments })
            }

            /// Reads all numbers of the file and compares their checksums, for example after the
            /// file was copied. Fragments that were packed in memory have none to compare.
            ///
            /// # Errors
            /// When the bytes of a part are not those that were written; the error names the part.
            pub fn verify(&self) -> Result<()> {
                file::verify(&self.fragments)
            }

            /// Width D of the joint space.
            pub fn width(&self) -> usize {
                self.fragments.shape().width
            }

            /// The precision that they were packed for.
            pub fn precision(&self) -> Precision {
                self.fragments.shape().precision
            }

            /// Whether kernels of a precision can read them: the precision that they were packed
            /// for, or f32 and bf16 too if that is [`Precision::Exact`].
            pub fn supports(&self, precision: Precision) -> bool {
                self.fragments.supports(precision)
            }

            /// How many fragments each entry has.
            pub fn counts(&self) -> &[usize] {
                self.fragments.layout().counts()
            }

            /// The place of the first fragment of an entry, counted in vectors over all panels.
            pub(crate) fn place(&self, entry: usize) -> usize {
                self.fragments.layout().places()[entry]
            }

            /// Products of an entry's fragments with each other: rows of `gram_stride(count)`.
            pub(crate) fn gram(&self, entry: usize) -> &[f32] {
                self.fragments.gram(entry)
            }

            /// Upper bounds of |v - bf16(v)| of an entry's fragments.
            ///
            /// # Panics
            /// When they are not stored (`precision` is not `Exact`).
            pub(crate) fn residuals(&self, entry: usize) -> &[f32] {
                self.fragments.bounds(Part::Residuals, entry)
            }

            /// Upper bounds of |v| of an entry's fragments, which are unit vectors up to rounding.
            ///
            /// # Panics
            /// When they are not stored (`precision` is not `Exact`).
            pub(crate) fn norms(&self, entry: usize) -> &[f32] {
                self.fragments.bounds(Part::Norms, entry)
            }
        }

        impl $builder {
            /// Adds a batch. After an error nothing of it was added.
            ///
            /// A contiguous f32 tensor on the CPU is read without a copy; any other is converted
            /// first.
            ///
            /// # Errors
            /// When the batch has another width, an entry has more than [`MOST_FRAGMENTS`]
            /// fragments, a number is NaN or infinite (named by its entry, counted over all
            /// batches, and its fragment), or the tensor cannot be read.
            pub fn push(&mut self, fragments: &$fragments) -> Result<()> {
                with_batch(fragments.rows(), fragments.counts(), |batch| {
                    self.builder.push(batch)
                })
            }

            /// The packed fragments of all batches.
            pub fn finish(self) -> $type {
                $type { fragments: self.builder.finish() }
            }
        }
    )*};
}

delegate_to_fragments!(
    PackedRegions, RegionsBuilder, Regions, Kind::Regions;
    PackedWords, WordsBuilder, Words, Kind::Words;
);
