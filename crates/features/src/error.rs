//! What can go wrong between a photo or a caption and its fragments.

use std::path::{Path, PathBuf};

use uard_files::FileError;

use crate::extract::ExtractError;

/// A cause, with the file and what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Captions, their words and their tokenizers.
    #[error(transparent)]
    Text(#[from] crate::text::TextError),
    /// Photos, and the networks that read them.
    #[error(transparent)]
    Vision(#[from] crate::backbone::VisionError),
    /// A configuration of a published model that cannot be, or is not read.
    #[error("{}: `{key}`: expected {expected}, found {found}", path.display())]
    ModelConfig {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What was needed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A detector cannot be, or cannot say what is in a photo.
    #[error(transparent)]
    Detector(#[from] crate::detector::DetectorError),
    /// Photos on their way to features.
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
    /// A trained network, or its way from a hub.
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
