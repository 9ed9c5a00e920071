//! Opens files and pipes for reading: a pipe that the user named is read to its end, one found in a
//! folder is refused instead of waited for, and errors name directories and devices as such.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, ErrorKind, Read, Seek};
use std::path::Path;

/// How many bytes are read from a pipe at most. A pipe has no size that could be checked before;
/// its bytes go to a temporary file, not to memory.
pub const MAXIMUM_PIPE_BYTES: u64 = 64 << 30;

/// Opens a regular file for reading, and never waits. For files that were found in a folder: a pipe
/// there is refused, because opening it would wait for a writer.
///
/// # Errors
/// The system refuses; the path leads to something else than a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = open_without_waiting(path)?;
    // The metadata of the opened file, not of the path, which may have led to another file before.
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return Ok(file);
    }
    Err(unexpected(&metadata, "a file"))
}

/// Opens a file for reading. A pipe is read to its end first, into a temporary file without a name,
/// so that the caller can seek in it and map it as any file.
///
/// # Errors
/// The system refuses; the path leads to a directory or a device; a pipe gives more than
/// [`MAXIMUM_PIPE_BYTES`].
pub fn open(path: &Path) -> io::Result<File> {
    let metadata = fs::metadata(path)?;
    if metadata.is_file() {
        return open_regular(path);
    }
    if is_pipe(metadata.file_type()) {
        return copy_of_pipe(File::open(path)?, MAXIMUM_PIPE_BYTES);
    }
    Err(unexpected(&metadata, "a file or a pipe"))
}

/// All bytes of a file or pipe.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All text of a file or pipe.
///
/// # Errors
/// As [`open`]; the bytes are not UTF-8 ([`ErrorKind::InvalidData`]).
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count();
        let message = format!("line {} is not UTF-8; save the file as UTF-8", line + 1);
        io::Error::new(ErrorKind::InvalidData, message)
    })
}

/// Copies a pipe to its end into a file without a name, which the system removes when it is closed.
fn copy_of_pipe(pipe: File, limit: u64) -> io::Result<File> {
    let mut copy = tempfile::tempfile()?;
    let bytes = io::copy(&mut pipe.take(limit + 1), &mut copy)?;
    if bytes > limit {
        let message = format!("the pipe gives more than {limit} bytes; name a file instead");
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    copy.rewind()?;
    Ok(copy)
}

/// An error for a path that leads to something of another type.
pub(crate) fn unexpected(metadata: &Metadata, expected: &str) -> io::Error {
    let kind = if metadata.is_dir() {
        ErrorKind::IsADirectory
    } else {
        ErrorKind::InvalidInput
    };
    let found = type_name(metadata.file_type());
    io::Error::new(kind, format!("expected {expected}, found {found}"))
}

#[cfg(unix)]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // Without the flag, opening a pipe waits for a writer. For regular files it changes nothing.
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

#[cfg(not(unix))]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(unix)]
pub(crate) fn is_pipe(file_type: FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    file_type.is_fifo()
}

#[cfg(not(unix))]
pub(crate) fn is_pipe(_: FileType) -> bool {
    false
}

#[cfg(unix)]
fn type_name(file_type: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match file_type {
        found if found.is_dir() => "a directory",
        found if found.is_fifo() => "a named pipe",
        found if found.is_socket() => "a socket",
        found if found.is_char_device() => "a character device",
        found if found.is_block_device() => "a block device",
        _ => "something else",
    }
}

#[cfg(not(unix))]
fn type_name(file_type: FileType) -> &'static str {
    if file_type.is_dir() {
        "a directory"
    } else {
        "something else"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T>(outcome: io::Result<T>) -> String {
        outcome.err().expect("it must be refused").to_string()
    }

    #[test]
    fn a_directory_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let found = "found a directory";
        assert!(message(open_regular(folder.path())).contains(found));
        assert!(message(read(folder.path())).contains(found));
    }

    #[test]
    fn text_that_is_not_utf8_names_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, b"one\ntwo\n\xff\n").unwrap();
        assert!(message(read_text(&path)).starts_with("line 3 is not UTF-8"));
    }

    #[cfg(unix)]
    mod pipes {
        use super::*;
        use std::io::Write;
        use std::os::fd::AsFd;

        fn pipe_with(bytes: &'static [u8]) -> File {
            let (reader, mut writer) = io::pipe().unwrap();
            std::thread::spawn(move || {
                // Fails if the reader closes the pipe before its end.
                let _ = writer.write_all(bytes);
            });
            File::from(reader.as_fd().try_clone_to_owned().unwrap())
        }

        #[test]
        fn a_pipe_is_read_to_its_end_and_can_be_read_again() {
            let mut file = copy_of_pipe(pipe_with(b"some bytes"), 10).unwrap();
            for _ in 0..2 {
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                assert_eq!(text, "some bytes");
                file.rewind().unwrap();
            }
        }

        #[test]
        fn a_pipe_longer_than_the_limit_is_refused() {
            let message = message(copy_of_pipe(pipe_with(&[0; 100_000]), 1000));
            assert!(message.contains("more than 1000 bytes"), "{message}");
        }

        #[test]
        fn a_device_is_refused_by_name() {
            let message = message(read(Path::new("/dev/null")));
            assert!(message.contains("found a character device"), "{message}");
        }
    }
}
