//! Errors of files of any format: not readable, of another kind, or with other text than expected.

use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with a file, with its path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file could not be opened, read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done: `open`, `read`, `write`, …
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A file of another kind: a failed download, or one that was not unpacked.
    #[error("{}: expected {expected}, found {found}", path.display())]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// What was needed.
        expected: &'static str,
        /// What the file is, and how to get the expected one.
        found: &'static str,
    },
    /// Bytes that are not UTF-8.
    #[error("{} line {line}: not UTF-8; save the file as UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A file that is no JSON, or JSON with other fields or types than expected.
    #[error("{}: expected {expected}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the file should hold.
        expected: &'static str,
        /// The parser's error.
        source: serde_json::Error,
    },
}

impl FileError {
    /// For `map_err`: names the file and what was being done to it.
    pub fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            path,
            action,
            source,
        }
    }

    /// The error for a file of another kind, if [`mistaken`](crate::mistaken) recognises its first
    /// bytes. For readers whose own format does not begin with these bytes.
    pub fn other_file(path: &Path, expected: &'static str, bytes: &[u8]) -> Option<Self> {
        crate::mistaken(bytes).map(|found| Self::OtherFile {
            path: path.to_owned(),
            expected,
            found,
        })
    }
}
