//! Regions or words in a GPU's memory: rows in f16 or bf16, Gram matrices in f32, and the start of
//! each entry.
//!
//! An entry is an image or a caption.

use half::{bf16, f16};
use uard_core::gpu::{Gpu, Numbers};

use super::tiling::DEPTH;
use crate::packed::gram::gram;
use crate::packed::gram_stride;
use crate::packed::source::Batch;
use crate::{Error, Precision, Result};

/// Regions of many images, or words of many captions, in a GPU's memory.
#[derive(Debug)]
pub(crate) struct DeviceFragments {
    /// `F16` or `Bf16`.
    pub precision: Precision,
    pub width: usize,
    /// Fragments of each entry.
    pub counts: Vec<usize>,
    /// Rows of `padded` numbers, entry after entry.
    pub(super) rows: Numbers<u16>,
    /// The width, padded to whole slices of [`DEPTH`].
    pub(super) padded: usize,
    /// The first row of each entry, and the number of rows at the end.
    pub(super) starts: Numbers<u32>,
    /// Gram matrices with rows of [`gram_stride`], entry after entry.
    pub(super) grams: Numbers<f32>,
    /// The first number of each entry's Gram matrix.
    pub(super) gram_starts: Numbers<u32>,
}

/// Collects fragments batch by batch in host memory.
pub(crate) struct DeviceBuilder {
    /// `regions` or `words`, for messages.
    what: &'static str,
    precision: Precision,
    width: usize,
    counts: Vec<usize>,
    rows: Vec<u16>,
    grams: Vec<f32>,
    gram_starts: Vec<u32>,
}

impl DeviceBuilder {
    /// An empty builder for fragments in `F16` or `Bf16`.
    ///
    /// # Errors
    /// When the width is zero.
    pub fn new(what: &'static str, width: usize, precision: Precision) -> Result<Self> {
        if width == 0 {
            return Err(Error::Setting {
                setting: "width of packed fragments",
                found: width.to_string(),
                expected: "at least 1",
            });
        }
        Ok(Self {
            what,
            precision,
            width,
            counts: Vec::new(),
            rows: Vec::new(),
            grams: Vec::new(),
            gram_starts: Vec::new(),
        })
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// When the batch has another width, or a number is NaN or infinite; then nothing of it was
    /// added. When all Gram matrices together have more than 2^32 numbers; the builder is then of
    /// no use.
    pub fn push(&mut self, batch: Batch<'_>) -> Result<()> {
        if batch.width != self.width {
            return Err(Error::PackedWidth {
                what: self.what,
                expected: self.width,
                found: batch.width,
            });
        }
        if let Some((entry, fragment)) = batch.not_finite() {
            return Err(Error::NotFinite {
                what: self.what,
                entry: self.counts.len() + entry,
                fragment,
            });
        }
        let padded = self.width.next_multiple_of(DEPTH);
        let bits: fn(f32) -> u16 = match self.precision {
            Precision::F16 => |number| f16::from_f32(number).to_bits(),
            _ => |number| bf16::from_f32(number).to_bits(),
        };
        for (entry, &count) in batch.counts.iter().enumerate() {
            for row in batch.rows(entry).chunks_exact(self.width) {
                let end = self.rows.len() + padded;
                self.rows.extend(row.iter().map(|&number| bits(number)));
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
            gram(batch.rows(entry), self.width, &mut self.grams[start..]);
        }
        self.counts.extend_from_slice(batch.counts);
        Ok(())
    }

    /// Copies all batches to a GPU.
    ///
    /// # Errors
    /// When there is too little memory.
    pub fn finish(self, gpu: &dyn Gpu) -> Result<DeviceFragments> {
        let mut starts = vec![0u32];
        for &count in &self.counts {
            starts.push(starts.last().copied().unwrap_or(0) + count as u32);
        }
        Ok(DeviceFragments {
            precision: self.precision,
            width: self.width,
            padded: self.width.next_multiple_of(DEPTH),
            rows: Numbers::copied(gpu, &self.rows)?,
            starts: Numbers::copied(gpu, &starts)?,
            grams: Numbers::copied(gpu, &self.grams)?,
            gram_starts: Numbers::copied(gpu, &self.gram_starts)?,
            counts: self.counts,
        })
    }
}
