//! The header of a packed file, 128 bytes: kind, precision and sizes.

use std::path::Path;

use bytemuck::{Pod, Zeroable};

use super::super::layout::Kind;
use super::checksum::checksum;
use crate::{Error, Precision, Result};

/// How many bytes a header has.
pub const HEADER_BYTES: usize = size_of::<Header>();

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The first bytes of a file. They contain a byte above 127, both line ends and the end-of-file mark of
/// old systems, which tools for text would change.
const MAGIC: [u8; 8] = *b"\x89UARD\r\n\x1a";

/// A number that is read as another one if the file was written in another byte order.
const BYTE_ORDER: u32 = 0x0102_0304;

/// The number of each kind of fragment in a file.
const KINDS: [(Kind, u32); 2] = [(Kind::Regions, 1), (Kind::Words, 2)];

/// The number of each precision in a file.
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
    /// The number of [`Header::kind`].
    pub kind: u32,
    /// The number of [`Header::precision`].
    pub precision: u32,
    /// Width D of the joint space.
    pub width: u64,
    /// How many images or captions there are.
    pub entries: u64,
    /// How many fragments all entries have together.
    pub fragments: u64,
    /// How many panels hold all fragments.
    pub panels: u64,
    /// [`BLOCK_COLUMNS`](super::super::layout::BLOCK_COLUMNS) for regions; zero for words.
    pub block_columns: u32,
    /// How many rows the table after the header has.
    pub rows: u32,
    /// How many bytes the file has.
    pub length: u64,
    /// Checksum of the table.
    pub table_checksum: u32,
    /// Zero.
    pub unused: [u32; 12],
    /// Checksum of the header's bytes before this field.
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

    /// The bytes of the header, with their checksum.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let checksum = self.own_checksum();
        bytemuck::cast(Self { checksum, ..self })
    }

    /// Reads the header of a file of any length.
    ///
    /// # Errors
    /// When the file does not begin with [`MAGIC`], has another byte order or version, or its header is
    /// damaged.
    pub fn decode(path: &Path, file: &[u8]) -> Result<Self> {
        let header: Self = bytemuck::pod_read_unaligned(header_bytes(path, file)?);
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

    /// Whether regions or words are packed.
    ///
    /// # Errors
    /// When the header's number stands for no kind.
    pub fn kind(&self, path: &Path) -> Result<Kind> {
        let kind = name_of(&KINDS, self.kind);
        kind.ok_or_else(|| super::field(path, "kind", "1 or 2", self.kind))
    }

    /// The precision for which the fragments are packed.
    ///
    /// # Errors
    /// When the header's number stands for no precision.
    pub fn precision(&self, path: &Path) -> Result<Precision> {
        let precision = name_of(&PRECISIONS, self.precision);
        precision.ok_or_else(|| super::field(path, "precision", "1, 2 or 3", self.precision))
    }

    /// The checksum of the header's bytes before the field `checksum`.
    fn own_checksum(&self) -> u32 {
        checksum(&bytemuck::bytes_of(self)[..HEADER_BYTES - size_of::<u32>()])
    }
}

/// The bytes of the header, of a file that begins with [`MAGIC`].
fn header_bytes<'a>(path: &Path, file: &'a [u8]) -> Result<&'a [u8]> {
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

/// The number that stands for a kind or a precision in a file; zero if there is none.
fn number_of<T: PartialEq>(numbers: &[(T, u32)], name: &T) -> u32 {
    let known = numbers.iter().find(|known| known.0 == *name);
    known.map_or(0, |known| known.1)
}

/// The kind or the precision for which a number in a file stands.
fn name_of<T: Copy>(numbers: &[(T, u32)], number: u32) -> Option<T> {
    let known = numbers.iter().find(|known| known.1 == number);
    known.map(|known| known.0)
}
