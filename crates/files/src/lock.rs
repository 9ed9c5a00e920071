//! `DirectoryLock` lets one process at a time write into a directory; it ends with that process.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::writing::{PREFIX, folder_of};

const NAME: &str = ".lock";

/// How many bytes of a lock file are read to name its holder.
const MAXIMUM_HOLDER_BYTES: u64 = 200;

/// The right to write into a directory: held by one process at a time, until it is dropped or the
/// process ends, however it ends.
///
/// It is a lock of the operating system on a file `.lock` in the directory. The file holds the
/// number of the process, and is removed when the lock is dropped. Readers take no lock.
#[derive(Debug)]
pub struct DirectoryLock {
    path: PathBuf,
    /// Closing the file releases the lock.
    _file: File,
}

impl DirectoryLock {
    /// Makes the directory if it is missing, locks it, and removes the unfinished files that a
    /// killed writer left in it.
    ///
    /// # Errors
    /// Another process holds the lock ([`ErrorKind::ResourceBusy`], with its number); the system
    /// refuses, or the file system has no locks.
    pub fn acquire(directory: &Path) -> io::Result<Self> {
        let directory = match directory.as_os_str().is_empty() {
            true => Path::new("."),
            false => directory,
        };
        fs::create_dir_all(directory)?;
        let lock = Self::hold(directory.join(NAME))?;
        remove_leftovers(directory)?;
        Ok(lock)
    }

    /// Locks a directory that is replaced as a whole: the lock's file lies beside it.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); the path names no directory.
    pub fn acquire_beside(directory: &Path) -> io::Result<Self> {
        let Some(name) = directory.file_name() else {
            let message = "expected a directory with a name of its own";
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(NAME);
        let path = directory.with_file_name(hidden);
        fs::create_dir_all(folder_of(&path))?;
        Self::hold(path)
    }

    fn hold(path: PathBuf) -> io::Result<Self> {
        let mut file = loop {
            let file = locked(&path)?;
            // The last holder may have removed the file between opening and locking.
            if is_at(&file, &path)? {
                break file;
            }
        };
        file.set_len(0)?;
        writeln!(file, "process {}", std::process::id())?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Removed while the lock is held. If that fails, the next holder locks the same file.
        let _ = fs::remove_file(&self.path);
    }
}

fn locked(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(held_by(&mut file)),
        Err(TryLockError::Error(error)) => Err(io::Error::new(
            error.kind(),
            format!("its file system has no locks ({error}); choose a folder on another disk"),
        )),
    }
}

fn held_by(file: &mut File) -> io::Error {
    let mut holder = String::new();
    // The holder may not have written its number yet; the error is the same without it.
    let _ = file.take(MAXIMUM_HOLDER_BYTES).read_to_string(&mut holder);
    let holder = match holder.trim() {
        "" => "another process",
        holder => holder,
    };
    let message =
        format!("{holder} is writing there; wait until it ends, or choose another directory");
    io::Error::new(ErrorKind::ResourceBusy, message)
}

/// Whether `path` still names the opened file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let opened = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// On other systems an open file cannot be removed.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_unfinished = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes());
        if is_unfinished && entry.file_type()?.is_file() && is_abandoned(&entry.path()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether no process writes an unfinished file: every writer locks its own, also one that holds no
/// lock of the directory.
fn is_abandoned(path: &Path) -> bool {
    crate::open_regular(path).is_ok_and(|file| file.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnfinishedFile;

    #[test]
    fn a_second_lock_is_refused_with_the_number_of_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/run");
        let first = DirectoryLock::acquire(&path).unwrap();
        let refused = DirectoryLock::acquire(&path).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ResourceBusy);
        let holder = format!("process {} is writing there", std::process::id());
        assert!(refused.to_string().contains(&holder), "{refused}");
        drop(first);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        DirectoryLock::acquire(&path).unwrap();
    }

    #[test]
    fn a_directory_that_is_replaced_is_locked_by_a_file_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/scenes");
        let lock = DirectoryLock::acquire_beside(&path).unwrap();
        assert!(!path.exists());
        assert!(DirectoryLock::acquire_beside(&path).is_err());
        // Other directories beside it are not locked.
        DirectoryLock::acquire_beside(&path.with_file_name("other")).unwrap();
        drop(lock);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn unfinished_files_of_a_killed_writer_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at(".unfinished-abc"), b"half").unwrap();
        fs::write(at(NAME), b"process 1\n").unwrap();
        fs::create_dir(at(".unfinished-import")).unwrap();
        fs::write(at("kept"), b"").unwrap();
        let being_written = UnfinishedFile::create(&at("other")).unwrap();
        let lock = DirectoryLock::acquire(folder.path()).unwrap();
        assert!(!at(".unfinished-abc").exists());
        being_written.finish().unwrap();
        assert!(at(".unfinished-import").exists() && at("kept").exists());
        drop(lock);
    }
}
