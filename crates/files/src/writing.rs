//! `UnfinishedFile` writes a file that appears whole or not at all, also if the process is killed.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::TempPath;

use crate::reading::{is_pipe, unexpected};

/// How the temporary names of unfinished files begin.
pub(crate) const PREFIX: &str = ".unfinished-";

/// How many links are followed one after another: as many as Linux follows.
const MAXIMUM_LINKS: usize = 40;

/// Files that [`remove_unfinished`] removes when the process ends early.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A file that is being written under a random hidden name beside its destination.
/// [`finish`](UnfinishedFile::finish) brings it to disk and renames it to the destination. If it is
/// dropped before that, it is removed, and the destination stays unchanged.
///
/// - A symbolic link stays: the file that it leads to is replaced, or made.
/// - A new file gets the mode of the one that it replaces.
/// - A character device or a pipe (`/dev/null`, `/dev/stdout`) gets the bytes when all are written.
/// - Two writers of one destination write two files; the later one to finish replaces the other's.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("a.txt");
/// use std::io::Write;
/// use uard_files::UnfinishedFile;
///
/// let mut file = UnfinishedFile::create(&path)?;
/// file.write_all(b"half of it, ")?;
/// assert!(!path.exists());
/// file.write_all(b"and the rest")?;
/// file.finish()?;
/// assert_eq!(std::fs::read(&path)?, b"half of it, and the rest");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct UnfinishedFile {
    file: File,
    destination: Destination,
}

/// What [`UnfinishedFile::finish`] does with the temporary file.
#[derive(Debug)]
enum Destination {
    /// The temporary file gets the name `target`.
    Renamed {
        temporary: Registered,
        target: PathBuf,
    },
    /// The bytes are copied into a device or a pipe.
    Copied(File),
}

impl UnfinishedFile {
    /// Begins a file. What would fail in the end is refused here, before any work: a folder that
    /// does not exist or cannot be written, a directory in the file's place.
    ///
    /// # Errors
    /// The system refuses; `path` names a directory, a socket or a block device, or a named pipe
    /// that nobody has opened for reading.
    pub fn create(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {
                Self::replacing(fs::canonicalize(path)?, Some(&metadata))
            }
            Ok(metadata) => Self::copied_into(path, &metadata),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Self::replacing(behind_links(path)?, None)
            }
            Err(error) => Err(error),
        }
    }

    /// The open file, for writers that need one, such as a memory map. Its name is temporary.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Brings the bytes to disk, and renames the file to its destination in one step.
    ///
    /// # Errors
    /// The system refuses; then the destination is unchanged, or a device got a part of the bytes.
    pub fn finish(mut self) -> io::Result<()> {
        match self.destination {
            Destination::Renamed { temporary, target } => {
                self.file.sync_all()?;
                temporary.rename(&target)?;
                sync_directory(folder_of(&target))
            }
            Destination::Copied(mut device) => {
                self.file.rewind()?;
                io::copy(&mut self.file, &mut device)?;
                device.flush()
            }
        }
    }

    fn replacing(target: PathBuf, replaced: Option<&Metadata>) -> io::Result<Self> {
        if target.file_name().is_none() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "expected the name of a file",
            ));
        }
        let folder = folder_of(&target);
        let (file, temporary) =
            Registered::create(folder).map_err(|error| {
                match fs::metadata(folder).map(|found| found.is_dir()) {
                    Err(missing) if missing.kind() == ErrorKind::NotFound => io::Error::new(
                        ErrorKind::NotFound,
                        format!("the folder {} does not exist", folder.display()),
                    ),
                    Ok(false) => io::Error::new(
                        ErrorKind::NotADirectory,
                        format!("{} is no folder", folder.display()),
                    ),
                    _ => error,
                }
            })?;
        if let Some(replaced) = replaced {
            file.set_permissions(replaced.permissions())?;
        }
        Ok(Self {
            file,
            destination: Destination::Renamed { temporary, target },
        })
    }

    fn copied_into(path: &Path, metadata: &Metadata) -> io::Result<Self> {
        let device = if is_pipe(metadata.file_type()) {
            open_pipe(path)?
        } else if is_character_device(metadata) {
            File::options().write(true).open(path)?
        } else {
            return Err(unexpected(metadata, "the name of a file"));
        };
        Ok(Self {
            file: tempfile::tempfile()?,
            destination: Destination::Copied(device),
        })
    }
}

impl Write for UnfinishedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a whole file, as [`UnfinishedFile`] does.
///
/// # Errors
/// As [`UnfinishedFile::create`] and [`UnfinishedFile::finish`].
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let mut file = UnfinishedFile::create(path)?;
    file.write_all(bytes.as_ref())?;
    file.finish()
}

/// Removes the unfinished files of this process: for the handler of a signal that ends it.
pub fn remove_unfinished() {
    for path in registry().iter() {
        // The process ends, so that an error could not be reported.
        let _ = fs::remove_file(path);
    }
}

/// Brings the names in a directory to disk, so that they survive a power cut. Does nothing where
/// directories cannot be opened or synced.
///
/// # Errors
/// The system refuses.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(directory)?.sync_all() {
        // Some file systems in user space and on networks cannot sync a directory.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

/// The folder that holds a path; the working directory for a name alone.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The path that the links at `path` lead to, where no file exists yet.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAXIMUM_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "too many links"))
}

/// Opens a named pipe for writing. Opening would wait for a reader without limit, so it is tried
/// without waiting first, for three seconds: time for a reader that starts at the same moment.
#[cfg(unix)]
fn open_pipe(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    const TRIES: usize = 30;
    const BETWEEN_TRIES: std::time::Duration = std::time::Duration::from_millis(100);
    for attempt in 0..TRIES {
        let opened = File::options()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path);
        match opened {
            // There is a reader. The pipe is opened a second time, without the flag, for writing;
            // until then the first handle keeps it open.
            Ok(_first) => return File::options().write(true).open(path),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                if attempt + 1 < TRIES {
                    std::thread::sleep(BETWEEN_TRIES);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        ErrorKind::InvalidInput,
        "it is a named pipe, and nobody reads from it",
    ))
}

#[cfg(not(unix))]
fn open_pipe(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}

#[cfg(unix)]
fn is_character_device(metadata: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    metadata.file_type().is_char_device()
}

#[cfg(not(unix))]
fn is_character_device(_: &Metadata) -> bool {
    false
}

/// A temporary file that is also removed when a signal ends the process.
#[derive(Debug)]
struct Registered {
    /// Taken when the file gets its name.
    temporary: Option<TempPath>,
    path: PathBuf,
}

impl Registered {
    /// Makes a file with a random name. It is opened with `O_EXCL`, so that it is never a file that
    /// another process put there.
    fn create(folder: &Path) -> io::Result<(File, Self)> {
        let mut options = tempfile::Builder::new();
        options.prefix(PREFIX);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // The mode that any new file is created with; the system removes the bits of the umask.
            options.permissions(fs::Permissions::from_mode(0o666));
        }
        // Made while the registry is locked, so that `remove_unfinished` cannot run between making
        // and registering the file.
        let mut registry = registry();
        let (file, temporary) = options.tempfile_in(folder)?.into_parts();
        // `DirectoryLock` removes unfinished files that nobody has locked. On a file system without
        // locks it finds that it cannot lock any, and removes none.
        let _ = file.try_lock();
        let path = temporary.to_path_buf();
        registry.insert(path.clone());
        let temporary = Some(temporary);
        Ok((file, Self { temporary, path }))
    }

    fn rename(mut self, target: &Path) -> io::Result<()> {
        let temporary = self.temporary.take().expect("a file is renamed once");
        temporary.persist(target).map_err(|error| error.error)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        registry().remove(&self.path);
    }
}

fn registry() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_is_dropped_unfinished_leaves_the_old_one_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"old").unwrap();
        let mut file = UnfinishedFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn unfinished_files_are_registered_until_they_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = UnfinishedFile::create(&folder.path().join("a")).unwrap();
        // Not `remove_unfinished`: other tests of this process are writing.
        let Destination::Renamed { temporary, .. } = &file.destination else {
            panic!("a file is renamed");
        };
        assert!(registry().contains(&temporary.path));
        assert!(names(folder.path())[0].starts_with(PREFIX));
        let path = temporary.path.clone();
        drop(file);
        assert!(!registry().contains(&path));
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("b/c"), b"").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("the folder"), "{error}");
        write(&folder.path().join("file"), b"").unwrap();
        let error = write(&folder.path().join("file/c"), b"").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
    }

    #[test]
    fn a_directory_is_no_destination() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(folder.path(), b"").unwrap_err();
        assert!(error.to_string().contains("found a directory"), "{error}");
    }

    #[test]
    fn two_writers_of_one_destination_both_finish() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut first = UnfinishedFile::create(&path).unwrap();
        let mut second = UnfinishedFile::create(&path).unwrap();
        first.write_all(b"first").unwrap();
        second.write_all(b"second").unwrap();
        second.finish().unwrap();
        first.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[cfg(unix)]
    mod unix {
        use super::*;
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
        use std::process::Command;

        #[test]
        fn a_link_stays_and_its_target_is_written() {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            fs::create_dir(at("b")).unwrap();
            symlink("b/target", at("link")).unwrap();
            symlink("link", at("link-to-link")).unwrap();
            // The target is made first, then replaced.
            for text in ["one", "two"] {
                write(&at("link-to-link"), text).unwrap();
                assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
                assert_eq!(fs::read_to_string(at("b/target")).unwrap(), text);
            }
            assert_eq!(names(&at("b")), ["target"]);
        }

        #[test]
        fn links_without_end_are_refused() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("link");
            symlink("link", &path).unwrap();
            assert!(write(&path, b"").is_err());
            assert_eq!(names(folder.path()), ["link"]);
        }

        #[test]
        fn a_replaced_file_keeps_its_mode() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            fs::write(&path, b"").unwrap();
            let usual = mode();
            fs::remove_file(&path).unwrap();
            write(&path, b"1").unwrap();
            assert_eq!(mode(), usual);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            write(&path, b"2").unwrap();
            assert_eq!(mode(), 0o640);
        }

        fn named_pipe(folder: &Path) -> PathBuf {
            let path = folder.join("pipe");
            let made = Command::new("mkfifo").arg(&path).status().unwrap();
            assert!(made.success());
            path
        }

        #[test]
        fn a_pipe_gets_the_bytes_and_stays_a_pipe() {
            let folder = tempfile::tempdir().unwrap();
            let path = named_pipe(folder.path());
            let reader = std::thread::spawn({
                let path = path.clone();
                move || fs::read(path).unwrap()
            });
            write(&path, b"bytes").unwrap();
            assert_eq!(reader.join().unwrap(), b"bytes");
            assert!(fs::metadata(&path).unwrap().file_type().is_fifo());
        }

        #[test]
        fn a_pipe_that_nobody_reads_is_refused() {
            let folder = tempfile::tempdir().unwrap();
            let path = named_pipe(folder.path());
            let error = UnfinishedFile::create(&path).unwrap_err();
            assert!(error.to_string().contains("nobody reads"), "{error}");
            assert!(crate::open_regular(&path).is_err());
            assert!(fs::metadata(&path).unwrap().file_type().is_fifo());
        }

        #[test]
        fn a_device_stays_a_device() {
            let path = Path::new("/dev/null");
            let mut file = UnfinishedFile::create(path).unwrap();
            file.write_all(b"bytes").unwrap();
            file.finish().unwrap();
            assert!(fs::metadata(path).unwrap().file_type().is_char_device());
        }
    }
}
