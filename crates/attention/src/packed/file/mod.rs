//! Files of packed fragments, in the format of `docs/packed-format.md`.

mod checksum;
mod header;
mod read;
mod table;
mod write;

use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};

#[cfg(test)]
pub use read::decode;
pub use read::{open, verify};
pub use write::{encode, write};

use crate::{Error, Result};

/// The file that fragments were opened from.
#[derive(Debug)]
pub struct Origin {
    path: PathBuf,
    /// The file's table, whose checksums [`verify`] compares.
    table: Vec<table::Row>,
}

/// A range of a file's bytes; an error if the file is too short.
fn part_of<'a>(path: &Path, file: &'a [u8], range: Range<usize>) -> Result<&'a [u8]> {
    let expected = range.end as u64;
    file.get(range).ok_or_else(|| Error::PackedLength {
        path: path.to_owned(),
        expected,
        found: file.len() as u64,
    })
}

/// Compares a field of a file with what it must be.
fn expect(path: &Path, name: &'static str, expected: u64, found: u64) -> Result<()> {
    match expected == found {
        true => Ok(()),
        false => Err(field(path, name, expected, found)),
    }
}

/// The error for a field of a file that has a wrong value.
fn field(path: &Path, field: &'static str, expected: impl Display, found: impl Display) -> Error {
    Error::PackedField {
        path: path.to_owned(),
        field,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// Compares the checksum of a part of a file with the stored one.
fn expect_checksum(path: &Path, part: &'static str, expected: u32, found: u32) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::PackedChecksum {
        path: path.to_owned(),
        part,
        expected,
        found,
    })
}
