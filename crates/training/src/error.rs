//! What can go wrong while training.

use std::path::{Path, PathBuf};

/// A cause, with the file or setting, what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done: `read`, `write`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
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
    /// A setting has a value that cannot be trained with.
    #[error("{key} = {found}: expected {expected}")]
    Setting {
        /// Dotted key.
        key: &'static str,
        /// The value.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A tensor holds NaN or an infinite number.
    #[error(
        "step {step}: {tensor} is not finite; lower optimizer.learning_rate, lengthen \
         loss.warm_up_epochs, or look for damaged features"
    )]
    NonFinite {
        /// The first tensor that is not finite, in the order of the computation.
        tensor: String,
        /// Step over the whole run, from 1.
        step: usize,
    },
    /// A parameter takes no part in the loss.
    #[error("parameter `{name}` got no gradient: the graph between it and the loss is cut")]
    NoGradient {
        /// The parameter.
        name: String,
    },
    /// The similarities and the captions of a batch do not fit.
    #[error("{tensor}: expected {expected} numbers, found {found}")]
    Length {
        /// Which tensor.
        tensor: &'static str,
        /// Numbers that were needed.
        expected: usize,
        /// Numbers that were there.
        found: usize,
    },
    /// There is not enough data for one batch.
    #[error("split `{split}` has {captions} captions: {cause}")]
    TooLittleData {
        /// The split.
        split: String,
        /// Its captions.
        captions: usize,
        /// What is missing, and how to mend it.
        cause: String,
    },
    /// A new run would overwrite another one.
    #[error(
        "{} already holds checkpoints: continue it with --resume or choose another run directory",
        path.display()
    )]
    RunExists {
        /// The run directory.
        path: PathBuf,
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
    /// No word of the training captions has a vector in the file of word vectors.
    #[error(
        "{}: none of the {words} words of the training captions has a vector in this file; words \
         are looked up in lower case. Is it in another language, or in capitals?",
        path.display()
    )]
    NoKnownWord {
        /// The file of word vectors.
        path: PathBuf,
        /// Words of the vocabulary.
        words: usize,
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
    /// A fragment or parameter does not fit.
    #[error(transparent)]
    Core(#[from] uard_core::Error),
    /// Features or captions cannot be used.
    #[error(transparent)]
    Features(#[from] uard_features::Error),
    /// Features or captions cannot be read.
    #[error(transparent)]
    Data(#[from] uard_data::Error),
    /// A trained network cannot be found or read.
    #[error(transparent)]
    Hub(#[from] uard_hub::Error),
    /// The matcher refused its input.
    #[error(transparent)]
    Attention(#[from] uard_attention::Error),
    /// The evaluation refused its input.
    #[error(transparent)]
    Eval(#[from] uard_eval::Error),
    /// A GPU refused something.
    #[cfg(feature = "cuda-kernels")]
    #[error(transparent)]
    Gpu(#[from] uard_core::gpu::GpuError),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Names the file and the action in an input or output error.
pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}
