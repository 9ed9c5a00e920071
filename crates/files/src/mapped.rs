//! Files as slices of memory, read-only or written in place.

use std::fs::File;
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::path::Path;

use memmap2::{Mmap, MmapMut};

/// A file that other users may change is read where it is not larger, in bytes.
const LARGEST_READ: u64 = 1 << 30;

/// The bytes of a file or pipe; pages are read when they are touched.
///
/// A file that another process shortens while it is mapped ends this process with SIGBUS as soon
/// as a page beyond its new end is touched: no process can prevent that. Files written through
/// [`UnfinishedFile`](crate::UnfinishedFile) are replaced, never shortened, so readers keep the
/// bytes that they opened. What other users may change is read instead, as far as it fits in
/// memory: see [`open`](Self::open).
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a whole file; a pipe is read to its end first.
    ///
    /// A file of up to 1 GiB that group or others may write, or whose folder they may write, is
    /// read as by [`read`](Self::read). A larger one is mapped, and must not be shortened.
    ///
    /// # Errors
    /// As [`open`](crate::open); the system cannot map it, or has no memory for what is read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = crate::open(path)?;
        let length = file.metadata()?.len();
        if length <= LARGEST_READ && others_may_write(&file, path)? {
            return Self::copied(file, length);
        }
        // SAFETY: the map is read-only and private to this value, and readers check its length
        // against what the file's header promises before any use. That nobody shortens the file
        // while it is mapped cannot be enforced by any process; the type's documentation says so.
        unsafe { Mmap::map(&file) }.map(Self)
    }

    /// Reads a whole file into memory of its own, so that nothing that happens to the file later
    /// changes these bytes.
    ///
    /// # Errors
    /// As [`open`](crate::open); there is not enough memory; the file is shortened meanwhile.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = crate::open(path)?;
        let length = file.metadata()?.len();
        Self::copied(file, length)
    }

    fn copied(mut file: File, length: u64) -> io::Result<Self> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // A page of its own, as a map would have: readers rely on the alignment.
        let mut bytes = MmapMut::map_anon(length)?;
        file.read_exact(&mut bytes)?;
        bytes.make_read_only().map(Self)
    }
}

/// Whether other users may change a file, or put one of theirs in its place.
#[cfg(unix)]
fn others_may_write(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    /// Write permission of group and others.
    const WRITE: u32 = 0o022;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = std::fs::metadata(folder.unwrap_or(Path::new(".")))?;
    Ok((file.metadata()?.mode() | folder.mode()) & WRITE != 0)
}

#[cfg(not(unix))]
fn others_may_write(_file: &File, _path: &Path) -> io::Result<bool> {
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

    /// A file with these permissions in a folder with those, mapped and then shortened.
    fn shortened(of_folder: u32, of_file: u32) -> (tempfile::TempDir, MappedFile) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bytes");
        fs::write(&path, [7; 100_000]).expect("written");
        let allow = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));
        allow(&path, of_file).expect("allowed");
        allow(folder.path(), of_folder).expect("allowed");
        let mapped = MappedFile::open(&path).expect("mapped");
        let file = File::options().write(true).open(&path).expect("opened");
        file.set_len(10).expect("shortened");
        (folder, mapped)
    }

    #[test]
    fn what_others_may_change_is_read() {
        for (of_folder, of_file) in [(0o777, 0o644), (0o755, 0o664), (0o775, 0o600)] {
            let (_folder, mapped) = shortened(of_folder, of_file);
            assert!(mapped.iter().all(|&byte| byte == 7));
            assert_eq!(mapped.len(), 100_000);
        }
    }

    #[test]
    fn an_empty_file_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("empty");
        fs::write(&path, []).expect("written");
        assert!(MappedFile::read(&path).expect("read").is_empty());
    }
}
