//! The first 128 bytes of a packed file: what it holds and how much of it.

use std::path::Path;

use bytemuck::{Pod, Zeroable};

use super::super::layout::Kind;
use super::checksum::checksum;
use crate::{Error, Precision, Result};

/// Bytes of a header.
pub const HEADER_BYTES: usize = size_of::<Header>();

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The first bytes. A byte above 127, both line ends and the end-of-file mark of old systems: what
/// passes through a tool for text does not keep them.
const MAGIC: [u8; 8] = *b"\x89UARD\r\n\x1a";

/// A file that was written on a machine with another byte order gives another number here.
const BYTE_ORDER: u32 = 0x0102_0304;

/// How each kind of fragment is written.
const KINDS: [(Kind, u32); 2] = [(Kind::Regions, 1), (Kind::Words, 2)];

/// How each precision is written.
const PRECISIONS: [(Precision, u32); 3] = [
    (Precision::F32, 1),
    (Precision::Bf16, 2),
    (Precision::Exact, 3),
];

/// The header, byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`BYTE_ORDER`].
    pub byte_order: u32,
    /// [`VERSION`].
    pub version: u32,
    /// As [`Header::kind`] reads it.
    pub kind: u32,
    /// As [`Header::precision`] reads it.
    pub precision: u32,
    /// Width D of the joint space.
    pub width: u64,
    /// Images or captions.
    pub entries: u64,
    /// Fragments of all entries.
    pub fragments: u64,
    /// Panels that hold them.
    pub panels: u64,
    /// The border of a block of images; zero for words.
    pub block_columns: u32,
    /// Rows of the table that follows.
    pub rows: u32,
    /// Bytes of the file.
    pub length: u64,
    /// Checksum of the table.
    pub table_checksum: u32,
    /// Zero.
    pub unused: [u32; 12],
    /// Checksum of all bytes of the header before it.
    pub checksum: u32,
}

impl Header {
    /// The header of a kind and a precision; all sizes are zero.
    pub fn new(kind: Kind, precision: Precision) -> Self {
        Self {
            magic: MAGIC,
            byte_order: BYTE_ORDER,
            version: VERSION,
            kind: number_of(&KINDS, &kind),
            precision: number_of(&PRECISIONS, &precision),
            ..Self::zeroed()
        }
    }

    /// Its bytes, with their checksum.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let checksum = self.own_checksum();
        bytemuck::cast(Self { checksum, ..self })
    }

    /// Reads the beginning of a file, whose length may be anything.
    ///
    /// # Errors
    /// When it is no such file, of another byte order or version, or damaged.
    pub fn decode(path: &Path, file: &[u8]) -> Result<Self> {
        let header: Self = bytemuck::pod_read_unaligned(opening(path, file)?);
        if header.byte_order != BYTE_ORDER {
            return Err(Error::PackedByteOrder {
                path: path.to_owned(),
                expected: BYTE_ORDER,
                found: header.byte_order,
            });
        }
        if header.version != VERSION {
            return Err(Error::PackedVersion {
                path: path.to_owned(),
                expected: VERSION,
                found: header.version,
            });
        }
        super::expect_checksum(path, "header", header.checksum, header.own_checksum())?;
        header.kind(path)?;
        header.precision(path)?;
        Ok(header)
    }

    /// What is packed.
    ///
    /// # Errors
    /// When there is no such kind.
    pub fn kind(&self, path: &Path) -> Result<Kind> {
        let kind = named(&KINDS, self.kind);
        kind.ok_or_else(|| super::field(path, "kind", "1 or 2", self.kind))
    }

    /// What it is packed for.
    ///
    /// # Errors
    /// When there is no such precision.
    pub fn precision(&self, path: &Path) -> Result<Precision> {
        let precision = named(&PRECISIONS, self.precision);
        precision.ok_or_else(|| super::field(path, "precision", "1, 2 or 3", self.precision))
    }

    fn own_checksum(&self) -> u32 {
        checksum(&bytemuck::bytes_of(self)[..HEADER_BYTES - size_of::<u32>()])
    }
}

fn opening<'a>(path: &Path, file: &'a [u8]) -> Result<&'a [u8]> {
    let first = &file[..file.len().min(MAGIC.len())];
    if first.is_empty() || !MAGIC.starts_with(first) {
        let found = match first {
            [] => "nothing".to_owned(),
            _ => format!("{first:02x?}"),
        };
        return Err(Error::NotPacked {
            path: path.to_owned(),
            expected: format!("{MAGIC:02x?}"),
            found,
        });
    }
    super::part_of(path, file, 0..HEADER_BYTES)
}

fn number_of<T: PartialEq>(numbers: &[(T, u32)], name: &T) -> u32 {
    let known = numbers.iter().find(|known| known.0 == *name);
    known.map_or(0, |known| known.1)
}

fn named<T: Copy>(numbers: &[(T, u32)], number: u32) -> Option<T> {
    let known = numbers.iter().find(|known| known.1 == number);
    known.map(|known| known.0)
}
