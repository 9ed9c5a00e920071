//! What can go wrong while matching.

use crate::Precision;

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
    /// Packed fragments lack the numbers that a search reads.
    #[error("{what} are packed for {packed}, and the search asks for {asked}: pack them for that")]
    NotPackedFor {
        /// Regions or words.
        what: &'static str,
        /// What they were packed for.
        packed: Precision,
        /// What the search computes in.
        asked: Precision,
    },
    /// A buffer for all pairs has another length.
    #[error(
        "a buffer for all pairs holds {found} numbers, expected {expected}: images times captions"
    )]
    OutputLength {
        /// Images times captions.
        expected: usize,
        /// The buffer's length.
        found: usize,
    },
    /// An image or caption is named that is not there.
    #[error("{what} {index} is out of range: there are {count}, counted from 0")]
    NoSuchEntry {
        /// Image or caption.
        what: &'static str,
        /// What was named.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A kernel was asked for by name that this machine cannot run.
    #[error("kernel {0}; `auto` takes the fastest that this machine can run")]
    Kernel(#[from] uard_core::panels::Unavailable),
    /// Fragments are malformed.
    #[error(transparent)]
    Core(#[from] uard_core::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
