//! How is a file read without loading it? Mapped into memory, read-only.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::{Error, Result};

/// A file in memory; pages are read when they are touched.
pub struct Mapped(Mmap);

impl Mapped {
    /// Maps a whole file.
    ///
    /// # Errors
    /// When it cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        // SAFETY: the map is read-only and private to this value; it is read as integers, f32 and
        // bf16, for which every bit pattern is a value, and its length is checked before any use.
        // That nobody shortens or changes the file while it is mapped cannot be enforced by any
        // process: our own writer never touches a file in place, it renames a new one over it,
        // and the map keeps the old one alive.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        Ok(Self(map))
    }

    /// Its bytes, which begin on a page.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
