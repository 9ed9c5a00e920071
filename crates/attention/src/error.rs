//! What can go wrong while matching.

/// A cause, with what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting of the matcher is out of its range.
    #[error("matcher: `{setting}` is {found}, expected {expected}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What was given.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A name is not one of those known.
    #[error("unknown {what} `{found}`: expected {expected}")]
    UnknownName {
        /// What is being named.
        what: &'static str,
        /// What was given.
        found: String,
        /// The known names.
        expected: &'static str,
    },
    /// Regions and words do not live in the same joint space.
    #[error("regions have width {regions} and words {words}: encode both into one joint space")]
    WidthMismatch {
        /// Width of the regions.
        regions: usize,
        /// Width of the words.
        words: usize,
    },
    /// Evidence is asked for more or less than one image and one caption.
    #[error("evidence is for one image and one caption, found {images} and {captions}")]
    NotOnePair {
        /// Images given.
        images: usize,
        /// Captions given.
        captions: usize,
    },
    /// Fragments are malformed.
    #[error(transparent)]
    Core(#[from] uard_core::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
