//! The errors of this crate.

use std::path::{Path, PathBuf};

use uard_files::FileError;

use crate::extract::ExtractError;

/// An error with the file, and what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A caption, vocabulary or tokenizer is wrong.
    #[error(transparent)]
    Text(#[from] crate::text::TextError),
    /// A photo, or a network for photos, is wrong.
    #[error(transparent)]
    Vision(#[from] crate::backbone::VisionError),
    /// A value of a published model's configuration that is invalid or not supported.
    #[error("{}: `{key}`: expected {expected}, found {found}", path.display())]
    ModelConfig {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The values that are supported.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// A detector is invalid, or failed on a photo.
    #[error(transparent)]
    Detector(#[from] crate::detector::DetectorError),
    /// The extraction of features from photos failed.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// A shape or parameter does not fit.
    #[error(transparent)]
    Core(#[from] uard_core::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A file cannot be read or written, or is of another kind.
    #[error(transparent)]
    File(#[from] FileError),
    /// Features or captions cannot be read or written.
    #[error(transparent)]
    Data(#[from] uard_data::Error),
    /// A published network cannot be downloaded or read.
    #[error(transparent)]
    Hub(#[from] uard_hub::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err`: names the file and what was being done to it.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let name = FileError::io(path, action);
        move |source| name(source).into()
    }
}
