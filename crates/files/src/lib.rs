//! Reading and writing files, for every crate of the workspace.
//!
//! - [`UnfinishedFile`] writes a file that appears whole or not at all: links are followed, modes
//!   are kept, devices and pipes are written to and never replaced.
//! - [`DirectoryLock`] lets one process at a time write into a directory.
//! - [`open`], [`read`], [`read_text`] and [`MappedFile`] read a path that the user gave: a file, or
//!   a pipe to its end. [`open_regular`] opens a file that was found in a folder, and never waits.
//! - [`is_ignored`] and [`FileIdentity`] serve walks through folders of photos: which names are
//!   ignored, and whether two paths lead to the same file.
//! - [`mistaken`] recognises failed downloads and archives where another format was expected.
//! - [`read_json`], [`sha256`] and [`FieldsHash`] read JSON and compute checksums; [`caught`] calls
//!   a reader of another crate that may panic on broken files.
//!
//! Most errors are [`std::io::Error`]s without the path: callers add the path and the action with
//! [`FileError::io`]. `cargo xtask ci style` finds product code that opens files without this crate.

mod caught;
mod digest;
mod error;
mod folders;
mod json;
mod lock;
#[allow(unsafe_code, reason = "maps files")]
mod mapped;
mod mistaken;
mod reading;
mod writing;

pub use caught::caught;
pub use digest::{FieldsHash, file_sha256, hex, sha256};
pub use error::FileError;
pub use folders::{FileIdentity, is_ignored};
pub use json::read_json;
pub use lock::DirectoryLock;
pub use mapped::{MappedFile, MappedFileMut};
pub use mistaken::mistaken;
pub use reading::{MAXIMUM_PIPE_BYTES, open, open_regular, read, read_text};
pub use writing::{UnfinishedFile, remove_unfinished, sync_directory, write};
