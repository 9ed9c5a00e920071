//! What is packed of each fragment, and how many bytes is it?

use std::ops::Range;
use std::sync::Arc;

use half::bf16;
use uard_linalg::panels::{PANEL, padded_depth};

use super::file::Origin;
use super::layout::Layout;
use super::storage::Section;
use crate::{Error, Precision, Result};

/// The widest joint space; bounds of rounding are proven up to here.
pub const LARGEST_WIDTH: usize = 1 << 24;

/// Fragments that one entry has at most: its Gram matrix is quadratic in them.
pub const MOST_FRAGMENTS: usize = 1 << 16;

/// A kind of numbers that is stored for all entries together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Panels of f32.
    F32,
    /// Panels of bf16.
    Bf16,
    /// Gram matrices in f32, one after the other.
    Grams,
    /// Bounds on |v - bf16(v)| in f32, one a place.
    Residuals,
    /// Bounds on |v| in f32, one a place.
    Norms,
}

impl Part {
    /// All of them, in the order of memory and files.
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

    /// Bytes of one panel, for what is stored panel by panel.
    pub fn bytes_of_panel(self, width: usize) -> usize {
        match self {
            Self::F32 => PANEL * padded_depth(width) * size_of::<f32>(),
            Self::Bf16 => PANEL * padded_depth(width) * size_of::<bf16>(),
            Self::Grams => 0,
            Self::Residuals | Self::Norms => PANEL * size_of::<f32>(),
        }
    }

    /// Bytes of all entries, whole lines.
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

/// What all fragments have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width D of the joint space.
    pub width: usize,
    /// What they are packed for.
    pub precision: Precision,
}

impl Shape {
    /// Checks the width and the precision.
    ///
    /// # Errors
    /// When the width is zero or above [`LARGEST_WIDTH`], or nothing is packed for the precision.
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
    layout: Layout,
    /// One for each of [`Part::ALL`], empty where the precision does not need it.
    parts: [Section; Part::ALL.len()],
    /// The file that the parts are mapped from.
    origin: Option<Arc<Origin>>,
}

impl Fragments {
    /// Joins what belongs together.
    ///
    /// # Panics
    /// When a part has another size than shape and layout ask for: the caller checks.
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
            layout,
            parts,
            origin,
        }
    }

    /// Width and precision.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The file that they are mapped from.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// The bytes of a part; none where the precision does not need it.
    pub fn part(&self, part: Part) -> &Section {
        &self.parts[part as usize]
    }

    /// Whether kernels of another precision find what they read.
    pub fn supports(&self, precision: Precision) -> bool {
        match self.shape.precision {
            Precision::Exact => precision != Precision::F16,
            packed => packed == precision,
        }
    }

    /// Numbers of the f32 panels.
    pub fn f32(&self) -> &[f32] {
        assert!(self.supports(Precision::F32), "packed for f32");
        self.part(Part::F32).numbers()
    }

    /// Numbers of the bf16 panels.
    pub fn bf16(&self) -> &[bf16] {
        assert!(self.supports(Precision::Bf16), "packed for bf16");
        self.part(Part::Bf16).numbers()
    }

    /// An entry's Gram matrix.
    pub fn gram(&self, entry: usize) -> &[f32] {
        &self.part(Part::Grams).numbers()[self.layout.gram_of(entry)]
    }

    /// A bound of each of an entry's fragments.
    pub fn bounds(&self, part: Part, entry: usize) -> &[f32] {
        let places: Range<usize> = self.layout.places_of(entry);
        &self.part(part).numbers()[places]
    }
}
