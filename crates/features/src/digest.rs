//! SHA-256 of files and of lists of fields, in hex.

use std::path::Path;

use sha2::{Digest, Sha256};
use uard_files::MappedFile;

use crate::{Error, Result};

/// SHA-256 over fields with their lengths, so that moving a byte from one to the next shows.
#[derive(Default)]
pub(crate) struct Fields(Sha256);

impl Fields {
    pub(crate) fn add(&mut self, field: &[u8]) {
        self.0.update((field.len() as u64).to_le_bytes());
        self.0.update(field);
    }

    pub(crate) fn add_number(&mut self, number: usize) {
        self.0.update((number as u64).to_le_bytes());
    }

    /// 64 lower-case hexadecimal digits.
    pub(crate) fn hex(self) -> String {
        let bytes = self.0.finalize();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// SHA-256 of a file's bytes, in hex.
pub(crate) fn file_sha256(path: &Path) -> Result<String> {
    let mut fields = Fields::default();
    let file = MappedFile::open(path).map_err(Error::io(path, "read"))?;
    fields.0.update(&*file);
    Ok(fields.hex())
}
