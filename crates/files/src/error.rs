//! What can be wrong with a file of any format: it cannot be read, is another kind of file, or holds
//! other text than expected.

use std::io;
use std::path::{Path, PathBuf};

/// A cause, with the file.
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
        /// What the system said.
        source: io::Error,
    },
    /// A file of another kind: a failed download, or one that was not unpacked.
    #[error("{}: expected {expected}, found {found}", path.display())]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// What was needed.
        expected: &'static str,
        /// What it is, and how to come to the one that was meant.
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
    /// A JSON file of another form.
    #[error("{}: expected {expected}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the file should hold.
        expected: &'static str,
        /// What the parser said.
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

    /// The error of a file that is none of what was expected, where its first bytes say what it
    /// is. For readers that did not find their own beginning.
    pub fn other_file(path: &Path, expected: &'static str, bytes: &[u8]) -> Option<Self> {
        crate::mistaken(bytes).map(|found| Self::OtherFile {
            path: path.to_owned(),
            expected,
            found,
        })
    }
}
