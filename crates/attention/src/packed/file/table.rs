//! The table of a packed file: offset and length of each part. Every part fills whole lines of 64
//! bytes, and the next one follows without a gap.

use bytemuck::{Pod, Zeroable};

use super::super::fragments::{Part, Shape};
use super::super::layout::Layout;
use super::super::storage::LINE_BYTES;
use super::header::HEADER_BYTES;

/// How many bytes a row of the table has.
pub const ROW_BYTES: usize = size_of::<Row>();

/// A part of a file, which has a row in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilePart {
    /// How many fragments each entry has, as u32.
    Counts,
    /// Numbers that kernels read.
    Stored(Part),
}

impl FilePart {
    /// The parts of a file, in order.
    pub fn all(shape: Shape) -> impl Iterator<Item = Self> {
        let stored = Part::ALL.into_iter();
        let stored = stored.filter(move |part| part.is_needed(shape.precision));
        std::iter::once(Self::Counts).chain(stored.map(Self::Stored))
    }

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counts => "counts",
            Self::Stored(part) => part.name(),
        }
    }

    /// Its number in the table.
    pub fn code(self) -> u32 {
        match self {
            Self::Counts => 1,
            Self::Stored(Part::F32) => 2,
            Self::Stored(Part::Bf16) => 3,
            Self::Stored(Part::Grams) => 4,
            Self::Stored(Part::Residuals) => 5,
            Self::Stored(Part::Norms) => 6,
        }
    }

    /// How many bytes it has.
    fn bytes(self, shape: Shape, layout: &Layout) -> usize {
        match self {
            Self::Counts => bytes_of_counts(layout.counts().len()),
            Self::Stored(part) => part.bytes(shape, layout),
        }
    }
}

/// Bytes of the counts of `entries` entries, padded to whole lines.
pub fn bytes_of_counts(entries: usize) -> usize {
    let lines = entries.div_ceil(LINE_BYTES / size_of::<u32>());
    lines.saturating_mul(LINE_BYTES)
}

/// The offset of the first part: the first line after header and table.
pub fn first_offset(shape: Shape) -> usize {
    (HEADER_BYTES + FilePart::all(shape).count() * ROW_BYTES).next_multiple_of(LINE_BYTES)
}

/// A row of the table, byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Row {
    /// [`FilePart::code`] of the part.
    pub code: u32,
    /// Checksum of the part.
    pub checksum: u32,
    /// The offset of its first byte in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// Zero.
    pub unused: u64,
}

/// The parts and rows that follow from shape and layout, with checksums of zero. The file ends where the
/// last part does.
pub fn plan(shape: Shape, layout: &Layout) -> Vec<(FilePart, Row)> {
    let mut offset = first_offset(shape);
    let place = |part: FilePart| {
        let bytes = part.bytes(shape, layout);
        let row = Row {
            code: part.code(),
            checksum: 0,
            offset: offset as u64,
            bytes: bytes as u64,
            unused: 0,
        };
        offset = offset.saturating_add(bytes);
        (part, row)
    };
    FilePart::all(shape).map(place).collect()
}
