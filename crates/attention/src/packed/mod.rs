//! What do kernels read? Fragments packed once: panels, Gram matrices, rounding residuals.
//!
//! Fragments lie one after the other without padding between entries. Images are grouped into
//! blocks of about [`BLOCK_COLUMNS`] regions; a block begins at a panel of its own, so that it can
//! be multiplied alone.

use std::ops::Range;

use half::bf16;
use uard_core::panels::{ColumnPanels, Element, PANEL, RowPanels, padded_depth, panels_for};
use uard_core::{Regions, Words};

use crate::{Precision, Result};

/// Regions that a block of images holds at most, if no single image has more.
pub const BLOCK_COLUMNS: usize = 288;

/// Distance of the rows of a Gram matrix of `count` fragments: whole lines of 16.
pub fn gram_stride(count: usize) -> usize {
    count.next_multiple_of(PANEL)
}

/// Images whose regions are multiplied together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBlock {
    /// The images.
    pub images: Range<usize>,
    /// Their panels.
    pub panels: Range<usize>,
}

/// Regions of many images, packed as columns.
#[derive(Debug, Clone)]
pub struct PackedRegions {
    fragments: Fragments,
    blocks: Vec<ImageBlock>,
}

/// Words of many captions, packed as rows.
#[derive(Debug, Clone)]
pub struct PackedWords {
    fragments: Fragments,
}

#[derive(Debug, Clone)]
struct Fragments {
    width: usize,
    precision: Precision,
    counts: Vec<usize>,
    /// Place of each entry's first fragment, counted in vectors over all panels.
    places: Vec<usize>,
    f32: Vec<f32>,
    bf16: Vec<bf16>,
    /// Gram matrices, one after the other, and where each begins.
    grams: Vec<f32>,
    gram_starts: Vec<usize>,
    /// |v - bf16(v)| of each vector of the panels, rounded up; empty unless `Exact`.
    residuals: Vec<f32>,
}

impl PackedRegions {
    /// Packs regions for kernels of a precision.
    ///
    /// # Errors
    /// When the tensor cannot be read as f32 on the CPU.
    pub fn pack(regions: &Regions, precision: Precision) -> Result<Self> {
        let counts = regions.counts();
        let (mut blocks, mut places) = (Vec::<ImageBlock>::new(), Vec::new());
        let mut next = 0;
        for (image, &count) in counts.iter().enumerate() {
            let fits =
                |block: &ImageBlock| next + count - block.panels.start * PANEL <= BLOCK_COLUMNS;
            if !blocks.last().is_some_and(fits) {
                next = panels_for(next) * PANEL;
                let panel = next / PANEL;
                blocks.push(ImageBlock {
                    images: image..image,
                    panels: panel..panel,
                });
            }
            places.push(next);
            next += count;
            if let Some(block) = blocks.last_mut() {
                block.images.end = image + 1;
                block.panels.end = panels_for(next);
            }
        }
        let rows = regions
            .rows()
            .to_dtype(candle_core::DType::F32)?
            .to_vec3::<f32>()?;
        let fragments = Fragments::pack::<false>(&rows, counts, places, precision);
        Ok(Self { fragments, blocks })
    }

    /// Images.
    pub fn images(&self) -> usize {
        self.fragments.counts.len()
    }

    /// The blocks, in order; together they hold every image once.
    pub fn blocks(&self) -> &[ImageBlock] {
        &self.blocks
    }

    /// Panels as columns, f32.
    ///
    /// # Panics
    /// When they were not packed (`precision` is `Bf16`).
    pub(crate) fn f32(&self) -> ColumnPanels<'_, f32> {
        ColumnPanels::new(self.fragments.f32(), padded_depth(self.fragments.width))
    }

    /// Panels as columns, bf16.
    ///
    /// # Panics
    /// When they were not packed (`precision` is `F32`).
    pub(crate) fn bf16(&self) -> ColumnPanels<'_, bf16> {
        ColumnPanels::new(self.fragments.bf16(), padded_depth(self.fragments.width))
    }
}

impl PackedWords {
    /// Packs words for kernels of a precision.
    ///
    /// # Errors
    /// When the tensor cannot be read as f32 on the CPU.
    pub fn pack(words: &Words, precision: Precision) -> Result<Self> {
        let starts = words.counts().iter().scan(0, |next, count| {
            let place = *next;
            *next += count;
            Some(place)
        });
        let places = starts.collect();
        let rows = words
            .rows()
            .to_dtype(candle_core::DType::F32)?
            .to_vec3::<f32>()?;
        let fragments = Fragments::pack::<true>(&rows, words.counts(), places, precision);
        Ok(Self { fragments })
    }

    /// Captions.
    pub fn captions(&self) -> usize {
        self.fragments.counts.len()
    }

    /// Panels as rows, f32.
    ///
    /// # Panics
    /// When they were not packed (`precision` is `Bf16`).
    pub(crate) fn f32(&self) -> RowPanels<'_, f32> {
        RowPanels::new(self.fragments.f32(), padded_depth(self.fragments.width))
    }

    /// Panels as rows, bf16.
    ///
    /// # Panics
    /// When they were not packed (`precision` is `F32`).
    pub(crate) fn bf16(&self) -> RowPanels<'_, bf16> {
        RowPanels::new(self.fragments.bf16(), padded_depth(self.fragments.width))
    }
}

macro_rules! delegate_to_fragments {
    ($($type:ty),*) => {$(
        impl $type {
            /// Width D of the joint space.
            pub fn width(&self) -> usize {
                self.fragments.width
            }

            /// What they were packed for.
            pub fn precision(&self) -> Precision {
                self.fragments.precision
            }

            /// Fragments of each entry.
            pub fn counts(&self) -> &[usize] {
                &self.fragments.counts
            }

            /// Place of the first fragment of an entry, counted in vectors over all panels.
            pub(crate) fn place(&self, entry: usize) -> usize {
                self.fragments.places[entry]
            }

            /// Products of an entry's fragments with each other: rows of `gram_stride(count)`.
            pub(crate) fn gram(&self, entry: usize) -> &[f32] {
                let count = self.fragments.counts[entry];
                &self.fragments.grams[self.fragments.gram_starts[entry]..][..count * gram_stride(count)]
            }

            /// Bounds on |v - bf16(v)| of an entry's fragments, for `Precision::Exact`.
            pub(crate) fn residuals(&self, entry: usize) -> &[f32] {
                &self.fragments.residuals[self.fragments.places[entry]..][..self.fragments.counts[entry]]
            }
        }
    )*};
}

delegate_to_fragments!(PackedRegions, PackedWords);

impl Fragments {
    fn pack<const ROWS: bool>(
        rows: &[Vec<Vec<f32>>],
        counts: &[usize],
        places: Vec<usize>,
        precision: Precision,
    ) -> Self {
        let width = rows
            .first()
            .and_then(|rows| rows.first())
            .map_or(1, Vec::len);
        let depth = padded_depth(width);
        let vectors = counts
            .last()
            .map_or(0, |count| places[counts.len() - 1] + count);
        let numbers = panels_for(vectors) * PANEL * depth;
        let mut packed = Self {
            width,
            precision,
            counts: counts.to_vec(),
            places,
            f32: vec![0.0; if precision.needs_f32() { numbers } else { 0 }],
            bf16: vec![bf16::ZERO; if precision.needs_bf16() { numbers } else { 0 }],
            grams: Vec::new(),
            gram_starts: Vec::new(),
            residuals: vec![
                0.0;
                if precision == Precision::Exact {
                    vectors
                } else {
                    0
                }
            ],
        };
        for (entry, rows) in rows.iter().enumerate() {
            let rows = &rows[..counts[entry]];
            for (at, row) in rows.iter().enumerate() {
                let at = packed.places[entry] + at;
                if precision.needs_f32() {
                    place::<ROWS, f32>(&mut packed.f32, depth, at, row);
                }
                if precision.needs_bf16() {
                    place::<ROWS, bf16>(&mut packed.bf16, depth, at, row);
                }
                if precision == Precision::Exact {
                    packed.residuals[at] = residual(row);
                }
            }
            packed.gram_starts.push(packed.grams.len());
            packed.push_gram(rows);
        }
        packed
    }

    fn push_gram(&mut self, rows: &[Vec<f32>]) {
        let stride = gram_stride(rows.len());
        for a in rows {
            let start = self.grams.len();
            self.grams.resize(start + stride, 0.0);
            for (product, b) in self.grams[start..].iter_mut().zip(rows) {
                *product = a.iter().zip(b).map(|(a, b)| a * b).sum();
            }
        }
    }

    fn f32(&self) -> &[f32] {
        assert!(self.precision.needs_f32(), "packed for f32");
        &self.f32
    }

    fn bf16(&self) -> &[bf16] {
        assert!(self.precision.needs_bf16(), "packed for bf16");
        &self.bf16
    }
}

fn place<const ROWS: bool, T: Element>(values: &mut [T], depth: usize, at: usize, row: &[f32]) {
    if ROWS {
        RowPanels::place(values, depth, at, row);
    } else {
        ColumnPanels::place(values, depth, at, row);
    }
}

fn residual(row: &[f32]) -> f32 {
    let lost = row
        .iter()
        .map(|&x| f64::from(x) - f64::from(bf16::from_f32(x).to_f32()));
    (lost.map(|x| x * x).sum::<f64>().sqrt() as f32).next_up()
}
