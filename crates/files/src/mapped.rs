//! Files as slices of memory, read-only or written in place.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use memmap2::{Mmap, MmapMut};

/// The bytes of a file or pipe; pages are read when they are touched.
///
/// A file that another process shortens while it is mapped ends this process with SIGBUS as soon
/// as a page beyond its new end is touched: no process can prevent that. Files written through
/// [`UnfinishedFile`](crate::UnfinishedFile) are replaced, never shortened, so readers keep the
/// bytes that they opened. [`read`](crate::read) is for files in folders that others write.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a whole file; a pipe is read to its end first.
    ///
    /// # Errors
    /// As [`open`](crate::open); the system cannot map it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = crate::open(path)?;
        // SAFETY: the map is read-only and private to this value, and readers check its length
        // against what the file's header promises before any use. That nobody shortens the file
        // while it is mapped cannot be enforced by any process; the type's documentation says so.
        unsafe { Mmap::map(&file) }.map(Self)
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of a file that is being written, in any order.
#[derive(Debug)]
pub struct MappedFileMut(MmapMut);

impl MappedFileMut {
    /// Maps a file that was opened for reading and writing and has its full length. Its blocks
    /// should be written already: a full disk met through a map ends the process.
    ///
    /// # Errors
    /// The system cannot map it.
    pub fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is private to this value. Its file has a name that only its writer knows
        // until it is whole, so nobody shortens it meanwhile; no process can enforce more.
        unsafe { MmapMut::map_mut(file) }.map(Self)
    }

    /// Brings every page to disk.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Deref for MappedFileMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for MappedFileMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
