//! SHA-256 of bytes, of files and of lists of fields, in hex.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::MappedFile;

/// SHA-256 over fields and their lengths, so that moving a byte from one field to the next changes
/// it.
#[derive(Default)]
pub struct FieldsHash(Sha256);

impl FieldsHash {
    /// Adds the bytes of the next field.
    pub fn add(&mut self, field: &[u8]) {
        self.0.update((field.len() as u64).to_le_bytes());
        self.0.update(field);
    }

    /// Adds a number as 8 bytes, little endian.
    pub fn add_number(&mut self, number: usize) {
        self.0.update((number as u64).to_le_bytes());
    }

    /// 64 lower-case hexadecimal digits.
    pub fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

/// SHA-256 of bytes: 64 lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file's bytes: 64 lower-case hexadecimal digits.
///
/// # Errors
/// When the file cannot be read.
pub fn file_sha256(path: &Path) -> io::Result<String> {
    Ok(sha256(&MappedFile::open(path)?))
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
