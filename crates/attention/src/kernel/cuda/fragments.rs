//! One side in a machine's memory: rows in 16 bits, Gram matrices in f32, where each entry begins.

use half::{bf16, f16};
use uard_core::gpu::{Machine, Numbers};
use uard_core::{Regions, Words};

use super::tiling::DEPTH;
use crate::packed::gram::GramScratch;
use crate::packed::gram_stride;
use crate::packed::source::{Batch, with_numbers};
use crate::{Error, Result};

/// The 16 bits that fragments are rounded to; products are summed in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Eight digits of f32's exponent, seven of its mantissa.
    Bf16,
    /// Ten digits of mantissa: three more than bf16, which unit vectors can use.
    F16,
}

impl Half {
    fn bits(self, number: f32) -> u16 {
        match self {
            Self::Bf16 => bf16::from_f32(number).to_bits(),
            Self::F16 => f16::from_f32(number).to_bits(),
        }
    }
}

/// Regions of many images in a machine's memory.
#[derive(Debug)]
pub struct DeviceRegions<M: Machine>(pub(super) Fragments<M>);

/// Words of many captions in a machine's memory.
#[derive(Debug)]
pub struct DeviceWords<M: Machine>(pub(super) Fragments<M>);

#[derive(Debug)]
pub(super) struct Fragments<M: Machine> {
    pub half: Half,
    pub width: usize,
    pub counts: Vec<usize>,
    /// Rows of `padded` numbers, entry after entry.
    pub rows: Numbers<M, u16>,
    pub padded: usize,
    /// First row of each entry, and the end.
    pub starts: Numbers<M, u32>,
    pub grams: Numbers<M, f32>,
    /// Where each entry's Gram matrix begins.
    pub gram_starts: Numbers<M, u32>,
}

/// Collects regions batch by batch on the host.
pub struct DeviceRegionsBuilder(Builder);

/// Collects words batch by batch on the host.
pub struct DeviceWordsBuilder(Builder);

struct Builder {
    what: &'static str,
    half: Half,
    width: usize,
    counts: Vec<usize>,
    rows: Vec<u16>,
    grams: Vec<f32>,
    gram_starts: Vec<u32>,
    scratch: GramScratch,
}

impl Builder {
    fn new(what: &'static str, width: usize, half: Half) -> Self {
        Self {
            what,
            half,
            width,
            counts: Vec::new(),
            rows: Vec::new(),
            grams: Vec::new(),
            gram_starts: Vec::new(),
            scratch: GramScratch::new(),
        }
    }

    fn push(&mut self, batch: Batch<'_>) -> Result<()> {
        if batch.width != self.width {
            return Err(Error::PackedWidth {
                what: self.what,
                expected: self.width,
                found: batch.width,
            });
        }
        self.require_finite(&batch)?;
        let padded = self.width.next_multiple_of(DEPTH);
        for (entry, &count) in batch.counts.iter().enumerate() {
            for row in batch.rows(entry).chunks_exact(self.width) {
                let end = self.rows.len() + padded;
                self.rows
                    .extend(row.iter().map(|&number| self.half.bits(number)));
                self.rows.resize(end, 0);
            }
            let start = self.grams.len();
            self.gram_starts.push(u32::try_from(start).map_err(|_| {
                uard_core::gpu::GpuError::TooLarge {
                    what: "numbers of all Gram matrices",
                    found: start,
                    most: u32::MAX as usize,
                }
            })?);
            self.grams.resize(start + count * gram_stride(count), 0.0);
            self.scratch
                .compute(batch.rows(entry), self.width, &mut self.grams[start..]);
        }
        self.counts.extend_from_slice(batch.counts);
        Ok(())
    }

    fn require_finite(&self, batch: &Batch<'_>) -> Result<()> {
        for (entry, &count) in batch.counts.iter().enumerate() {
            for fragment in 0..count {
                if !batch.row(entry, fragment).iter().all(|x| x.is_finite()) {
                    return Err(Error::NotFinite {
                        what: self.what,
                        entry: self.counts.len() + entry,
                        fragment,
                    });
                }
            }
        }
        Ok(())
    }

    fn finish<M: Machine>(self, machine: &M) -> Result<Fragments<M>> {
        let mut starts = vec![0u32];
        for &count in &self.counts {
            starts.push(starts.last().copied().unwrap_or(0) + count as u32);
        }
        Ok(Fragments {
            half: self.half,
            width: self.width,
            padded: self.width.next_multiple_of(DEPTH),
            rows: Numbers::copied(machine, &self.rows)?,
            starts: Numbers::copied(machine, &starts)?,
            grams: Numbers::copied(machine, &self.grams)?,
            gram_starts: Numbers::copied(machine, &self.gram_starts)?,
            counts: self.counts,
        })
    }
}

macro_rules! delegate_to_builder {
    ($($device:ident, $builder:ident, $fragments:ident, $what:literal;)*) => {$(
        impl $builder {
            /// A builder of nothing yet.
            ///
            /// # Errors
            /// When the width is zero.
            pub fn new(width: usize, half: Half) -> Result<Self> {
                if width == 0 {
                    return Err(Error::Setting {
                        setting: "width of packed fragments",
                        found: width.to_string(),
                        expected: "at least 1",
                    });
                }
                Ok(Self(Builder::new($what, width, half)))
            }

            /// Adds a batch, from whatever device; after an error nothing of it was added.
            ///
            /// # Errors
            /// When the batch has another width, or a number is NaN or infinite.
            pub fn push(&mut self, fragments: &$fragments) -> Result<()> {
                with_numbers(fragments.rows(), |numbers| {
                    self.0.push(Batch {
                        numbers,
                        counts: fragments.counts(),
                        longest: fragments.longest(),
                        width: fragments.width(),
                    })
                })
            }

            /// Copies all that was pushed to a machine.
            ///
            /// # Errors
            /// When there is too little memory.
            pub fn finish<M: Machine>(self, machine: &M) -> Result<$device<M>> {
                self.0.finish(machine).map($device)
            }
        }

        impl<M: Machine> $device<M> {
            /// Copies one batch to a machine.
            ///
            /// # Errors
            /// As `push` and `finish` of the builder.
            pub fn copied(machine: &M, fragments: &$fragments, half: Half) -> Result<Self> {
                let mut builder = $builder::new(fragments.width(), half)?;
                builder.push(fragments)?;
                builder.finish(machine)
            }

            /// Fragments of each entry.
            pub fn counts(&self) -> &[usize] {
                &self.0.counts
            }

            /// Width D of the joint space.
            pub fn width(&self) -> usize {
                self.0.width
            }
        }
    )*};
}

delegate_to_builder!(
    DeviceRegions, DeviceRegionsBuilder, Regions, "regions";
    DeviceWords, DeviceWordsBuilder, Words, "words";
);
