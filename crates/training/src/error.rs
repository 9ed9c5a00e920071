//! The error type of this crate.

use std::path::{Path, PathBuf};

use uard_files::FileError;

/// Why training failed, with the file or setting, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    #[error("parameter `{name}` got no gradient: no path in the graph leads from it to the loss")]
    NoGradient {
        /// Name of the parameter.
        name: String,
    },
    /// The number of similarities is not images times captions.
    #[error("{tensor}: expected {expected} numbers, found {found}")]
    Length {
        /// Name of the tensor.
        tensor: &'static str,
        /// How many numbers were needed.
        expected: usize,
        /// How many numbers were found.
        found: usize,
    },
    /// There is not enough data for one batch.
    #[error("split `{split}` has {captions} captions: {cause}")]
    TooLittleData {
        /// Name of the split.
        split: String,
        /// Number of captions of the split.
        captions: usize,
        /// What is missing, and how to mend it.
        cause: String,
    },
    /// A new run would overwrite an existing one.
    #[error(
        "{} already holds checkpoints: continue it with --resume or choose another run directory",
        path.display()
    )]
    RunExists {
        /// The run directory.
        path: PathBuf,
    },
    /// No word of the training captions has a vector.
    #[error(
        "{vectors}: none of the {words} words of the training captions has a vector there; words \
         are looked up in lower case. Is it in another language, or in capitals?"
    )]
    NoKnownWord {
        /// The file, folder or name of the word vectors.
        vectors: String,
        /// Number of words in the vocabulary.
        words: usize,
    },
    /// The model, its settings or its checkpoint cannot be used.
    #[error(transparent)]
    Model(Box<uard_model::Error>),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A fragment or parameter has a wrong shape or value.
    #[error(transparent)]
    Core(#[from] uard_core::Error),
    /// Features or captions cannot be used.
    #[error(transparent)]
    Features(#[from] uard_features::Error),
    /// Features or captions cannot be read.
    #[error(transparent)]
    Data(#[from] uard_data::Error),
    /// The matcher refused its input.
    #[error(transparent)]
    Attention(#[from] uard_attention::Error),
    /// A setting of the threshold is out of range, or a batch cannot be sampled for it.
    #[error(transparent)]
    Relevance(#[from] uard_relevance::Error),
    /// The evaluation refused its input.
    #[error(transparent)]
    Eval(#[from] uard_eval::Error),
    /// A call to the GPU failed.
    #[cfg(feature = "cuda-kernels")]
    #[error(transparent)]
    Gpu(#[from] uard_core::gpu::GpuError),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl From<uard_model::Error> for Error {
    fn from(error: uard_model::Error) -> Self {
        Self::Model(Box::new(error))
    }
}

impl Error {
    /// For `map_err`: names the file and what was being done to it.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let name = FileError::io(path, action);
        move |source| name(source).into()
    }
}
