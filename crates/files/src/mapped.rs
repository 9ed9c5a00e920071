//! Memory maps of files, read-only or written in place.

use std::fs::File;
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::path::Path;

use memmap2::{Mmap, MmapMut};

/// The largest file, in bytes, that is read instead of mapped if another user may shorten it. Files
/// of features are larger: of them only the pages that are used should be read.
const LARGEST_READ: u64 = 16 << 20;

/// The bytes of a file or pipe; pages are read when they are used.
///
/// If another process shortens the file while it is mapped, this process ends with SIGBUS as soon
/// as it reads a page beyond the new end: no process can prevent that. Files written through
/// [`UnfinishedFile`](crate::UnfinishedFile) are replaced, never shortened, so readers keep the
/// bytes that they opened. For files that others shorten, use [`read`](crate::read).
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a whole file; a pipe is read to its end first.
    ///
    /// A file of up to 16 MiB that another user may write (its owner, its group, or everyone) is
    /// read into memory instead, so that later changes of the file do not change these bytes. A
    /// larger one is mapped, and must not be shortened.
    ///
    /// # Errors
    /// As [`open`](crate::open); the system cannot map it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = crate::open(path)?;
        let length = file.metadata()?.len();
        if length <= LARGEST_READ && others_may_write(&file)? {
            return Self::copied(file, length);
        }
        // SAFETY: `Mmap::map` requires that nobody changes or shortens the file while it is mapped.
        // This value gives out shared slices only, and our own writers replace files instead of
        // changing them. No process can enforce this for other processes: the documentation of the
        // type says so, and small files that other users may write were copied above.
        unsafe { Mmap::map(&file) }.map(Self)
    }

    fn copied(mut file: File, length: u64) -> io::Result<Self> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // An anonymous map, because readers rely on the alignment of pages.
        let mut bytes = MmapMut::map_anon(length)?;
        file.read_exact(&mut bytes)?;
        bytes.make_read_only().map(Self)
    }
}

/// Whether a user other than this one and root may write a file.
#[cfg(unix)]
fn others_may_write(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    /// Write permission of group and others.
    const WRITE: u32 = 0o022;
    let metadata = file.metadata()?;
    // SAFETY: `geteuid` is unsafe only because it is a foreign function: it takes no arguments,
    // writes no memory of ours, and cannot fail.
    let user = unsafe { libc::geteuid() };
    Ok(![0, user].contains(&metadata.uid()) || metadata.mode() & WRITE != 0)
}

#[cfg(not(unix))]
fn others_may_write(_file: &File) -> io::Result<bool> {
    Ok(false)
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A memory map of a file whose bytes are written in any order.
#[derive(Debug)]
pub struct MappedFileMut(MmapMut);

impl MappedFileMut {
    /// Maps a file that was opened for reading and writing, has its full length, and is written by
    /// this process alone. Its blocks should be written already: if the disk is full, writing to a
    /// block without a place on it ends the process with SIGBUS.
    ///
    /// # Errors
    /// The system cannot map it.
    pub fn new(file: &File) -> io::Result<Self> {
        // SAFETY: `MmapMut::map_mut` requires that nobody else changes or shortens the file while it
        // is mapped. Callers pass an unfinished file, whose random name no other process opens, and
        // do not resize it; no process can enforce this for other processes.
        unsafe { MmapMut::map_mut(file) }.map(Self)
    }

    /// Writes every page to disk.
    ///
    /// # Errors
    /// The system cannot write it.
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

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_that_others_may_write_are_read_and_the_rest_mapped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bytes");
        for (mode, expected) in [(0o664, true), (0o646, true), (0o644, false), (0o600, false)] {
            fs::write(&path, [7; 100_000]).expect("written");
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("allowed");
            let file = File::options().write(true).open(&path).expect("opened");
            assert_eq!(
                others_may_write(&file).expect("asked"),
                expected,
                "{mode:o}"
            );
            if expected {
                let read = MappedFile::open(&path).expect("read");
                file.set_len(10).expect("shortened");
                assert!(read.len() == 100_000 && read.iter().all(|&byte| byte == 7));
            }
        }
    }

    #[test]
    fn an_empty_file_has_no_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("empty");
        for mode in [0o666, 0o600] {
            fs::write(&path, []).expect("written");
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("allowed");
            assert!(MappedFile::open(&path).expect("opened").is_empty());
        }
    }
}
