//! Why a model cannot be read, saved or used.

use std::path::{Path, PathBuf};

use uard_files::FileError;

/// A cause, with the file or setting, what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A checkpoint could not be written; the ones before it are untouched.
    #[error(
        "cannot save the checkpoint {}: {source}; earlier checkpoints are untouched: make room or \
         fix the directory, then resume",
        path.display()
    )]
    SaveFailed {
        /// The checkpoint that was being written.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A configuration is not TOML, has an unknown key, or a value of another type.
    #[error("{origin}: {cause}")]
    Configuration {
        /// The file, or the `--set` argument.
        origin: String,
        /// What the reader said, with the keys it knows.
        cause: String,
    },
    /// A setting has a value that it cannot have.
    #[error("{key} = {found}: expected {expected}")]
    Setting {
        /// Dotted key.
        key: &'static str,
        /// The value.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// There is nothing to load.
    #[error("{} holds no checkpoint: expected a directory with state.json and model.safetensors", path.display())]
    NoCheckpoint {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A pointer file (`best`, `latest`) names a checkpoint that is not there.
    #[error(
        "{} names no checkpoint: it says {found:?}, which is not beside it; expected a directory \
         with state.json and model.safetensors, or a file with the name of one, as step-00000624",
        path.display()
    )]
    Pointer {
        /// The pointer file.
        path: PathBuf,
        /// What stands in it, its beginning if it is long.
        found: String,
    },
    /// Features have another width than those that the model was, or will be, trained on.
    #[error(
        "{}: its features have width {found}, those of {} have width {expected}; extract or \
         import both in the same way",
        path.display(),
        origin.display()
    )]
    FeatureWidth {
        /// The features that do not fit.
        path: PathBuf,
        /// Their width.
        found: usize,
        /// The width that is expected.
        expected: usize,
        /// What has that width: the features of the training split, or a checkpoint.
        origin: PathBuf,
    },
    /// A checkpoint's file is damaged.
    #[error("{}: not a usable checkpoint file ({cause}); use an earlier checkpoint", path.display())]
    DamagedCheckpoint {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        cause: String,
    },
    /// A checkpoint was written by another version.
    #[error(
        "{}: checkpoint format {found}, this version reads format {expected}; use the version \
         that wrote it, or train again",
        path.display()
    )]
    FormatVersion {
        /// The checkpoint.
        path: PathBuf,
        /// The version read here.
        expected: u32,
        /// The version found.
        found: u32,
    },
    /// A checkpoint was made with something else than what is given now.
    #[error("{}: trained with {what} {found}, given is {expected}; {mend}", path.display())]
    Mismatch {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What is given now.
        expected: String,
        /// What the checkpoint holds.
        found: String,
        /// How to mend it.
        mend: &'static str,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A fragment or parameter does not fit.
    #[error(transparent)]
    Core(#[from] uard_core::Error),
    /// Features or captions cannot be encoded.
    #[error(transparent)]
    Features(#[from] uard_features::Error),
    /// Features cannot be read.
    #[error(transparent)]
    Data(#[from] uard_data::Error),
    /// The matcher refused its settings.
    #[error(transparent)]
    Attention(#[from] uard_attention::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A value of a setting, by its dotted key, that is not what is expected.
    pub fn setting(key: &'static str, found: &impl ToString, expected: &'static str) -> Self {
        Self::Setting {
            key,
            found: found.to_string(),
            expected,
        }
    }

    /// A file of a checkpoint that cannot be used, and what its reader said.
    pub fn damaged(path: &Path, cause: &impl ToString) -> Self {
        Self::DamagedCheckpoint {
            path: path.to_owned(),
            cause: cause.to_string(),
        }
    }

    /// For `map_err`: names the file and what was being done to it.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let name = FileError::io(path, action);
        move |source| name(source).into()
    }
}
