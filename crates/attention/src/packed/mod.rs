//! What do kernels read? Fragments packed once: panels, Gram matrices, bounds of rounding.
//!
//! Fragments lie one after the other without padding between entries. Images are grouped into
//! blocks of about [`BLOCK_COLUMNS`] regions; a block begins at a panel of its own, so that it can
//! be multiplied alone. What is packed stays in memory, or is written to a file once and mapped
//! from it, without a copy, by whoever matches; `docs/packed-format.md` describes the file.
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

use std::path::Path;

use half::bf16;
use uard_core::{Regions, Words};
use uard_linalg::panels::{ColumnPanels, RowPanels, padded_depth};

use crate::{Precision, Result};
use builder::Builder;
use fragments::{Fragments, Part, Shape};
pub use fragments::{LARGEST_WIDTH, MOST_FRAGMENTS};
use layout::Kind;
pub use layout::{BLOCK_COLUMNS, ImageBlock, gram_stride};
use source::{Batch, with_numbers};

/// Regions of many images, packed as columns. A clone shares them.
///
/// No image at all is a collection like any other: it has no block.
#[derive(Debug, Clone)]
pub struct PackedRegions {
    fragments: Fragments,
}

/// Words of many captions, packed as rows. A clone shares them.
///
/// No caption at all is a collection like any other.
#[derive(Debug, Clone)]
pub struct PackedWords {
    fragments: Fragments,
}

/// Packs regions batch by batch, so that a split never exists as one padded tensor.
///
/// How images are cut into batches changes no byte, and neither does the number of threads.
pub struct RegionsBuilder {
    builder: Builder,
}

/// Packs words batch by batch, so that a split never exists as one padded tensor.
///
/// How captions are cut into batches changes no byte, and neither does the number of threads.
pub struct WordsBuilder {
    builder: Builder,
}

impl PackedRegions {
    /// Images.
    pub fn images(&self) -> usize {
        self.counts().len()
    }

    /// The blocks, in order; together they hold every image once.
    pub fn blocks(&self) -> &[ImageBlock] {
        self.fragments.layout().blocks()
    }

    /// Panels as columns, f32.
    ///
    /// # Panics
    /// When they were not packed (`precision` is `Bf16`).
    pub(crate) fn f32(&self) -> ColumnPanels<'_, f32> {
        ColumnPanels::new(self.fragments.f32(), padded_depth(self.width()))
    }

    /// Panels as columns, bf16.
    ///
    /// # Panics
    /// When they were not packed (`precision` is `F32`).
    pub(crate) fn bf16(&self) -> ColumnPanels<'_, bf16> {
        ColumnPanels::new(self.fragments.bf16(), padded_depth(self.width()))
    }
}

impl PackedWords {
    /// Captions.
    pub fn captions(&self) -> usize {
        self.counts().len()
    }

    /// Panels as rows, f32.
    ///
    /// # Panics
    /// When they were not packed (`precision` is `Bf16`).
    pub(crate) fn f32(&self) -> RowPanels<'_, f32> {
        RowPanels::new(self.fragments.f32(), padded_depth(self.width()))
    }

    /// Panels as rows, bf16.
    ///
    /// # Panics
    /// When they were not packed (`precision` is `F32`).
    pub(crate) fn bf16(&self) -> RowPanels<'_, bf16> {
        RowPanels::new(self.fragments.bf16(), padded_depth(self.width()))
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

            /// Writes a file, as `docs/packed-format.md` describes it; the same fragments give
            /// the same bytes.
            ///
            /// The file is written beside its place under a hidden name, brought to disk and then
            /// renamed. A file that is mapped is therefore never changed: whoever opened the old
            /// one keeps reading it. (On Windows a mapped file cannot be replaced, which is an
            /// error here.)
            ///
            /// # Errors
            /// When the system refuses; the old file, if any, is still there then.
            pub fn write(&self, path: &Path) -> Result<()> {
                file::write(&self.fragments, path)
            }

            /// Maps a file that [`Self::write`] wrote, without reading its numbers.
            ///
            /// Header, table and counts are checked completely: format, version, checksums, and
            /// that every part lies where and is as long as they say. Damage there, and a file
            /// that is too short or too long, is an error here. The numbers themselves are
            /// gigabytes, so their checksums are left to [`Self::verify`]: damaged numbers give
            /// wrong similarities, and never an access outside the file.
            ///
            /// # Errors
            /// What was expected and what was found, and the file's name.
            pub fn open(path: &Path) -> Result<Self> {
                let fragments = file::open(path, $kind)?;
                Ok(Self { fragments })
            }

            /// Reads all numbers of the file once and compares their checksums. Worth it whenever
            /// a file has been copied; nothing is done for what was packed in memory.
            ///
            /// # Errors
            /// With the part whose bytes are not those that were written.
            pub fn verify(&self) -> Result<()> {
                file::verify(&self.fragments)
            }

            /// Width D of the joint space.
            pub fn width(&self) -> usize {
                self.fragments.shape().width
            }

            /// What they were packed for.
            pub fn precision(&self) -> Precision {
                self.fragments.shape().precision
            }

            /// Whether kernels of a precision find what they read: their own, and any in what was
            /// packed for [`Precision::Exact`].
            pub fn supports(&self, precision: Precision) -> bool {
                self.fragments.supports(precision)
            }

            /// Fragments of each entry.
            pub fn counts(&self) -> &[usize] {
                self.fragments.layout().counts()
            }

            /// Place of the first fragment of an entry, counted in vectors over all panels.
            pub(crate) fn place(&self, entry: usize) -> usize {
                self.fragments.layout().places()[entry]
            }

            /// Products of an entry's fragments with each other: rows of `gram_stride(count)`.
            pub(crate) fn gram(&self, entry: usize) -> &[f32] {
                self.fragments.gram(entry)
            }

            /// Bounds on |v - bf16(v)| of an entry's fragments.
            ///
            /// # Panics
            /// When they were not packed (`precision` is not `Exact`).
            pub(crate) fn residuals(&self, entry: usize) -> &[f32] {
                self.fragments.bounds(Part::Residuals, entry)
            }

            /// Bounds on |v| of an entry's fragments: they are unit vectors up to rounding only.
            ///
            /// # Panics
            /// When they were not packed (`precision` is not `Exact`).
            #[allow(dead_code, reason = "for exact mode")]
            pub(crate) fn norms(&self, entry: usize) -> &[f32] {
                self.fragments.bounds(Part::Norms, entry)
            }
        }

        impl $builder {
            /// Adds a batch; after an error nothing of it was added.
            ///
            /// Numbers that are not f32, not in order or not on the CPU are converted first; f32
            /// on the CPU is read where it lies.
            ///
            /// # Errors
            /// When the batch has another width, an entry has more than [`MOST_FRAGMENTS`]
            /// fragments, a number is NaN or infinite (named by its entry, counted over all
            /// batches, and its fragment), or the tensor cannot be read.
            pub fn push(&mut self, fragments: &$fragments) -> Result<()> {
                with_numbers(fragments.rows(), |numbers| {
                    self.builder.push(Batch {
                        numbers,
                        counts: fragments.counts(),
                        longest: fragments.longest(),
                        width: fragments.width(),
                    })
                })
            }

            /// All that was pushed.
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
