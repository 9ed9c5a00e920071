//! How do packed fragments lie on disk? As `docs/packed-format.md` says, byte by byte.

mod checksum;
mod header;
mod read;
mod table;
mod write;

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

pub use read::{open, verify};
pub use write::write;
#[cfg(test)]
pub use {read::decode, write::encode};

use crate::{Error, Result};

/// The file that fragments were opened from.
#[derive(Debug)]
pub struct Origin {
    path: PathBuf,
    table: Vec<table::Row>,
}

/// Numbers are read as they lie in the file, lowest byte first.
fn refuse_big_endian(action: &'static str, path: &Path) -> Result<()> {
    if cfg!(target_endian = "little") {
        return Ok(());
    }
    let cause = "its numbers begin with the lowest byte, and this machine's with the highest; \
                 pack in memory here";
    Err(Error::io(action, path)(io::Error::new(
        io::ErrorKind::Unsupported,
        cause,
    )))
}

fn expect(path: &Path, name: &'static str, expected: u64, found: u64) -> Result<()> {
    match expected == found {
        true => Ok(()),
        false => Err(field(path, name, expected, found)),
    }
}

fn field(path: &Path, field: &'static str, expected: impl Display, found: impl Display) -> Error {
    Error::PackedField {
        path: path.to_owned(),
        field,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

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
