//! The error type of this crate.

use std::path::{Path, PathBuf};

use uard_files::FileError;

/// Why a model cannot be read, saved or used, with the file or setting, what was expected and what
/// was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A checkpoint could not be written; earlier checkpoints are unchanged.
    #[error(
        "cannot save the checkpoint {}: {source}; earlier checkpoints are untouched: free disk \
         space or fix the directory, then resume",
        path.display()
    )]
    SaveFailed {
        /// The checkpoint that was being written.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A configuration is not TOML, has an unknown key, or a value of a wrong type.
    #[error("{origin}: {cause}")]
    Configuration {
        /// The file, or the `--set` argument.
        origin: String,
        /// The error of the TOML reader, with the known keys.
        cause: String,
    },
    /// A setting has a value out of its range.
    #[error("{key} = {found}: expected {expected}")]
    Setting {
        /// The setting's dotted key.
        key: &'static str,
        /// The value.
        found: String,
        /// The allowed values.
        expected: &'static str,
    },
    /// A path holds no checkpoint.
    #[error("{} holds no checkpoint: expected a directory with state.json and model.safetensors", path.display())]
    NoCheckpoint {
        /// The path that was given.
        path: PathBuf,
    },
    /// A pointer file (`best`, `latest`) names a missing checkpoint.
    #[error(
        "{} names no checkpoint: it contains {found:?}, and there is no such directory beside it; \
         expected a directory with state.json and model.safetensors, or a file with the name of \
         one, such as step-00000624",
        path.display()
    )]
    Pointer {
        /// The pointer file.
        path: PathBuf,
        /// The pointer file's contents, shortened.
        found: String,
    },
    /// Features have another width than those of the training.
    #[error(
        "{}: its features have width {found}, those of {} have width {expected}; extract or \
         import both in the same way",
        path.display(),
        origin.display()
    )]
    FeatureWidth {
        /// The features with the wrong width.
        path: PathBuf,
        /// The width of these features.
        found: usize,
        /// The expected width.
        expected: usize,
        /// The features of the training split, or the checkpoint, with the expected width.
        origin: PathBuf,
    },
    /// A checkpoint's file is damaged.
    #[error("{}: not a usable checkpoint file ({cause}); use an earlier checkpoint", path.display())]
    DamagedCheckpoint {
        /// The file.
        path: PathBuf,
        /// The error of its reader.
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
        /// The format version that this version of the program reads.
        expected: u32,
        /// The format version of the checkpoint.
        found: u32,
    },
    /// A checkpoint was trained with another configuration, vocabulary or data set than is given.
    #[error("{}: trained with {what} {found}, given is {expected}; {mend}", path.display())]
    Mismatch {
        /// The checkpoint.
        path: PathBuf,
        /// Name of the value that differs.
        what: &'static str,
        /// The value given now.
        expected: String,
        /// The value of the checkpoint.
        found: String,
        /// How to mend it.
        mend: &'static str,
    },
    /// A file is not usable as the words of a model.
    #[error("{}: not the words of a model ({cause}); learn them again with `uard words`", path.display())]
    Words {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Words are learned from a model that has diverged.
    #[error(
        "the model gives vectors that are not finite, so no word can be learned: train it again"
    )]
    NotFinite,
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A fragment or parameter has a wrong shape or value.
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
    /// A setting, named by its dotted key, whose value is out of its range.
    pub fn setting(key: &'static str, found: &impl ToString, expected: &'static str) -> Self {
        Self::Setting {
            key,
            found: found.to_string(),
            expected,
        }
    }

    /// A file of a checkpoint that cannot be used, with the error of its reader.
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
