//! Files as slices of memory, read-only or written in place.

use std::fs::File;
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::path::Path;

use memmap2::{Mmap, MmapMut};

/// A file that other users may shorten is read where it is not larger, in bytes: weights and tables,
/// but not features, of which only the pages that are used are to be read.
const LARGEST_READ: u64 = 16 << 20;

/// The bytes of a file or pipe; pages are read when they are touched.
///
/// A file that another process shortens while it is mapped ends this process with SIGBUS as soon
/// as a page beyond its new end is touched: no process can prevent that. Files written through
/// [`UnfinishedFile`](crate::UnfinishedFile) are replaced, never shortened, so readers keep the
/// bytes that they opened. For files that others shorten, use [`read`](crate::read).
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a whole file; a pipe is read to its end first.
    ///
    /// A file of up to 16 MiB that another user may write (its owner, its group, or everyone) is
    /// read into memory instead, and nothing that happens to it later changes these bytes. A larger
    /// one is mapped, and must not be shortened.
    ///
    /// # Errors
    /// As [`open`](crate::open); the system cannot map it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = crate::open(path)?;
        let length = file.metadata()?.len();
        if length <= LARGEST_READ && others_may_write(&file)? {
            return Self::copied(file, length);
        }
        // SAFETY: the map is read-only and private to this value, and readers check its length
        // against what the file's header promises before any use. That nobody shortens the file
        // while it is mapped cannot be enforced by any process; the type's documentation says so.
        unsafe { Mmap::map(&file) }.map(Self)
    }

    fn copied(mut file: File, length: u64) -> io::Result<Self> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // Pages, as a map has them: readers rely on the alignment.
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
    // SAFETY: the call has no arguments and cannot fail.
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

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_others_may_write_is_read_and_the_rest_mapped() {
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
