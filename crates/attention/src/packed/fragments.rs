//! Packed fragments and their parts: which numbers are stored for a precision, and how many bytes they
//! are.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use half::bf16;
use uard_linalg::matmul::Matmul;
use uard_linalg::panels::{Element, PANEL, padded_depth};

use super::file::Origin;
use super::layout::Layout;
use super::storage::{LINE_BYTES, Section};
use crate::{Error, Precision, Result};

/// The widest joint space: the bounds of rounding are proven up to this width.
pub const LARGEST_WIDTH: usize = 1 << 24;

/// The most fragments of one entry, whose Gram matrix has the square of that many numbers.
pub const MOST_FRAGMENTS: usize = 1 << 16;

/// A kind of numbers, stored for all entries together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Panels of f32.
    F32,
    /// Panels of bf16.
    Bf16,
    /// Gram matrices in f32, one after the other.
    Grams,
    /// For each fragment an upper bound of |v - bf16(v)|, in f32.
    Residuals,
    /// For each fragment an upper bound of |v|, in f32.
    Norms,
}

impl Part {
    /// All parts, in their order in memory and in files.
    pub const ALL: [Self; 5] = [
        Self::F32,
        Self::Bf16,
        Self::Grams,
        Self::Residuals,
        Self::Norms,
    ];

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32 panels",
            Self::Bf16 => "bf16 panels",
            Self::Grams => "Gram matrices",
            Self::Residuals => "residuals",
            Self::Norms => "norms",
        }
    }

    /// Whether kernels of a precision read it.
    pub fn is_needed(self, precision: Precision) -> bool {
        match self {
            Self::F32 => precision.needs_f32(),
            Self::Bf16 => precision.needs_bf16(),
            Self::Grams => true,
            Self::Residuals | Self::Norms => precision == Precision::Exact,
        }
    }

    /// Bytes of one panel; zero for a part that is not stored in panels.
    pub fn bytes_of_panel(self, width: usize) -> usize {
        match self {
            Self::F32 => PANEL * padded_depth(width) * size_of::<f32>(),
            Self::Bf16 => PANEL * padded_depth(width) * size_of::<bf16>(),
            Self::Grams => 0,
            Self::Residuals | Self::Norms => PANEL * size_of::<f32>(),
        }
    }

    /// Bytes of all entries, a whole number of lines; zero if the precision does not need the part.
    pub fn bytes(self, shape: Shape, layout: &Layout) -> usize {
        match self {
            _ if !self.is_needed(shape.precision) => 0,
            Self::Grams => layout.gram_numbers().saturating_mul(size_of::<f32>()),
            _ => layout
                .panels()
                .saturating_mul(self.bytes_of_panel(shape.width)),
        }
    }
}

/// What all packed fragments of a collection have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width D of the joint space.
    pub width: usize,
    /// The precision that they are packed for.
    pub precision: Precision,
}

impl Shape {
    /// Checks the width and the precision.
    ///
    /// # Errors
    /// When the width is zero or above [`LARGEST_WIDTH`], or the precision is f16, which only a GPU has.
    pub fn new(width: usize, precision: Precision) -> Result<Self> {
        if precision == Precision::F16 {
            return Err(Error::Setting {
                setting: "precision of packed fragments",
                found: precision.to_string(),
                expected: "f32, bf16 or exact: f16 is for a GPU",
            });
        }
        if (1..=LARGEST_WIDTH).contains(&width) {
            return Ok(Self { width, precision });
        }
        Err(Error::Setting {
            setting: "width of packed fragments",
            found: width.to_string(),
            expected: "1 to 16777216 numbers",
        })
    }
}

/// Packed fragments of either kind.
#[derive(Debug, Clone)]
pub struct Fragments {
    shape: Shape,
    layout: Arc<Layout>,
    /// The numbers of each of [`Part::ALL`], empty where the precision does not need them.
    parts: [Section; Part::ALL.len()],
    /// The file that the parts are mapped from, if any.
    origin: Option<Arc<Origin>>,
}

impl Fragments {
    /// Fragments of these parts.
    ///
    /// # Panics
    /// When a part has another size than follows from shape and layout, a mistake of the caller.
    pub fn new(
        shape: Shape,
        layout: Layout,
        parts: [Section; Part::ALL.len()],
        origin: Option<Arc<Origin>>,
    ) -> Self {
        for (part, section) in Part::ALL.into_iter().zip(&parts) {
            let bytes = part.bytes(shape, &layout);
            assert_eq!(section.as_bytes().len(), bytes, "{}", part.name());
        }
        Self {
            shape,
            layout: Arc::new(layout),
            parts,
            origin,
        }
    }

    /// Width and precision.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Where the fragments of each entry lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The file that they are mapped from, if any.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// A part; empty where the precision does not need it.
    pub fn part(&self, part: Part) -> &Section {
        &self.parts[part as usize]
    }

    /// Whether all parts are stored that kernels of a precision read.
    pub fn supports(&self, precision: Precision) -> bool {
        match self.shape.precision {
            Precision::Exact => precision != Precision::F16,
            packed => packed == precision,
        }
    }

    /// The numbers of all panels of `T`.
    ///
    /// # Panics
    /// When panels of `T` are not stored.
    pub fn panels<T: Element + Pod>(&self) -> &[T] {
        let (precision, part) = match T::MATMUL {
            Matmul::F32 => (Precision::F32, Part::F32),
            Matmul::Bf16 => (Precision::Bf16, Part::Bf16),
        };
        assert!(self.supports(precision), "packed for {precision}");
        self.part(part).numbers()
    }

    /// An entry of regions, row-major [R, D]: as they were packed, or rounded to bf16 where f32 is not
    /// stored.
    pub fn vectors(&self, entry: usize) -> Vec<f32> {
        let width = self.shape.width;
        let is_f32 = self.supports(Precision::F32);
        let part = if is_f32 { Part::F32 } else { Part::Bf16 };
        let words: &[u32] = self.part(part).numbers();
        // A word of a column is one f32, or two bf16 of which the first is the lower half.
        let lines = part.bytes_of_panel(width) / LINE_BYTES;
        let mut vectors = Vec::with_capacity(self.layout.counts()[entry] * width);
        for place in self.layout.places_of(entry) {
            let end = vectors.len() + width;
            for line in 0..lines {
                let word = words[number_index(place, line, lines)];
                match is_f32 {
                    true => vectors.push(f32::from_bits(word)),
                    false => vectors.extend([
                        f32::from_bits(word << 16),
                        f32::from_bits(word & 0xffff_0000),
                    ]),
                }
            }
            vectors.truncate(end);
        }
        vectors
    }

    /// An entry's Gram matrix.
    pub fn gram(&self, entry: usize) -> &[f32] {
        &self.part(Part::Grams).numbers()[self.layout.gram_of(entry)]
    }

    /// The bounds of an entry's fragments; `part` is [`Part::Residuals`] or [`Part::Norms`].
    pub fn bounds(&self, part: Part, entry: usize) -> &[f32] {
        let places: Range<usize> = self.layout.places_of(entry);
        &self.part(part).numbers()[places]
    }
}

/// The index of a vector's u32 on a line of its panel, for panels of `lines` lines.
pub fn number_index(place: usize, line: usize, lines: usize) -> usize {
    (place / PANEL * lines + line) * PANEL + place % PANEL
}
