//! What can go wrong with samples, settings and names.

/// A cause, with what was expected and found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A distribution of nothing was asked for.
    #[error("no samples: a distribution needs at least one")]
    NoSamples,
    /// A sample is NaN or infinite.
    #[error(
        "sample {index} is {value}: expected a finite relevance; check the embedding behind it"
    )]
    NonFiniteSample {
        /// Position among the samples.
        index: usize,
        /// What was there.
        value: f32,
    },
    /// A sample of a histogram is no cosine.
    #[error(
        "sample {index} is {value}: an empirical distribution holds cosines, from -1 to 1; \
         normalise the vectors or use the normal distribution"
    )]
    SampleOutOfRange {
        /// Position among the samples.
        index: usize,
        /// What was there.
        value: f32,
    },
    /// A stored histogram contradicts itself.
    #[error("stored histogram: {property} is {found}, expected {expected}; the file was altered")]
    HistogramMismatch {
        /// Which property.
        property: &'static str,
        /// What it must be.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// A setting lies outside what it may be.
    #[error("setting `{setting}` is {found}: expected {expected}")]
    Setting {
        /// Its key.
        setting: &'static str,
        /// The values it may take.
        expected: &'static str,
        /// The value it has.
        found: String,
    },
    /// A word names no choice of a setting.
    #[error("`{found}` is no {choice}: expected one of {expected}")]
    UnknownName {
        /// What was to be chosen.
        choice: &'static str,
        /// The names that exist.
        expected: String,
        /// The word.
        found: String,
    },
}

/// A value or this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
