//! What do the first 128 bytes of a file say? What it is, and how much of it.

use std::path::Path;

use super::super::layout::Kind;
use super::checksum::checksum;
use crate::{Error, Precision, Result};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 128;

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The first bytes. A byte above 127, both line ends and the end-of-file mark of old systems: what
/// passes through a tool for text does not keep them.
const MAGIC: [u8; 8] = *b"\x89UARD\r\n\x1a";

/// Reads as this number only where numbers begin with their lowest byte.
const BYTE_ORDER: u32 = 0x0102_0304;

/// Where the header's own checksum lies: it covers what is before.
const CHECKSUM_AT: usize = HEADER_BYTES - 4;

/// What fragments are packed for, as a number.
const PRECISIONS: [(Precision, u32); 3] = [
    (Precision::F32, 1),
    (Precision::Bf16, 2),
    (Precision::Exact, 3),
];

/// What the header says beside magic, byte order, version and its own checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What is packed.
    pub kind: Kind,
    /// What it is packed for.
    pub precision: Precision,
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
}

impl Header {
    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        let kind = match self.kind {
            Kind::Regions => 1,
            Kind::Words => 2,
        };
        let precision = PRECISIONS.iter().find(|known| known.0 == self.precision);
        let precision = precision.map_or(0, |known| known.1);
        for (at, number) in [
            (8, BYTE_ORDER),
            (12, VERSION),
            (16, kind),
            (20, precision),
            (56, self.block_columns),
            (60, self.rows),
            (72, self.table_checksum),
        ] {
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        for (at, number) in [
            (24, self.width),
            (32, self.entries),
            (40, self.fragments),
            (48, self.panels),
            (64, self.length),
        ] {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let own = checksum(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    /// Reads the beginning of a file, whose length may be anything.
    ///
    /// # Errors
    /// When it is no such file, of another byte order or version, or damaged.
    pub fn decode(path: &Path, file: &[u8]) -> Result<Self> {
        let bytes = opening(path, file)?;
        let [order, version] = [u32_at(bytes, 8), u32_at(bytes, 12)];
        if order != BYTE_ORDER {
            return Err(Error::PackedByteOrder {
                path: path.to_owned(),
                expected: BYTE_ORDER,
                found: order,
            });
        }
        if version != VERSION {
            return Err(Error::PackedVersion {
                path: path.to_owned(),
                expected: VERSION,
                found: version,
            });
        }
        super::expect_checksum(
            path,
            "header",
            u32_at(bytes, CHECKSUM_AT),
            checksum(&bytes[..CHECKSUM_AT]),
        )?;
        Ok(Self {
            kind: kind(path, u32_at(bytes, 16))?,
            precision: precision(path, u32_at(bytes, 20))?,
            width: u64_at(bytes, 24),
            entries: u64_at(bytes, 32),
            fragments: u64_at(bytes, 40),
            panels: u64_at(bytes, 48),
            block_columns: u32_at(bytes, 56),
            rows: u32_at(bytes, 60),
            length: u64_at(bytes, 64),
            table_checksum: u32_at(bytes, 72),
        })
    }
}

fn opening<'a>(path: &Path, file: &'a [u8]) -> Result<&'a [u8; HEADER_BYTES]> {
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
    file.first_chunk().ok_or_else(|| Error::PackedLength {
        path: path.to_owned(),
        expected: HEADER_BYTES as u64,
        found: file.len() as u64,
    })
}

fn kind(path: &Path, code: u32) -> Result<Kind> {
    match code {
        1 => Ok(Kind::Regions),
        2 => Ok(Kind::Words),
        _ => Err(super::field(path, "kind", "1 or 2", code)),
    }
}

fn precision(path: &Path, code: u32) -> Result<Precision> {
    let known = PRECISIONS.iter().find(|known| known.1 == code);
    known
        .map(|known| known.0)
        .ok_or_else(|| super::field(path, "precision", "1, 2 or 3", code))
}

/// # Panics
/// When the number leaves the bytes, whose length the caller knows.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// # Panics
/// When the number leaves the bytes, whose length the caller knows.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
