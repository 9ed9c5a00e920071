//! What can go wrong while packing and matching.

use std::path::PathBuf;

use uard_files::FileError;

use crate::{Engine, Precision};

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
        /// What the name is for, such as `weight rule`.
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
        /// The precision for which they were packed.
        packed: Precision,
        /// The precision of the search.
        asked: Precision,
    },
    /// An engine does not have the precision that was asked for.
    #[error("{engine} computes in {has}, not in {asked}: choose one of these, or another engine")]
    PrecisionMissing {
        /// The engine.
        engine: Engine,
        /// The precision that was asked for.
        asked: Precision,
        /// The precisions that the engine has.
        has: String,
    },
    /// An engine is not part of this build.
    #[error("{engine}: this build is without it (build with the feature `{feature}`)")]
    NotBuilt {
        /// The engine.
        engine: Engine,
        /// The Cargo feature that builds it.
        feature: &'static str,
    },
    /// An engine cannot compute what was asked for.
    #[error("{engine} has no {what}: use another engine for that")]
    Lacks {
        /// The engine.
        engine: Engine,
        /// What was asked for.
        what: &'static str,
    },
    /// A search got regions or words that were collected for another engine than its own.
    #[error(
        "regions or words were not collected for {engine}: collect both by the search that matches \
         them (packed fragments are read by auto, scalar, avx2, avx512 and amx on the CPU)"
    )]
    CollectedForAnother {
        /// The engine of the search.
        engine: Engine,
    },
    /// Another thread stopped the search.
    #[error("the search was stopped before its end")]
    Stopped,
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
    /// The index of an image or caption is out of range.
    #[error("{what} {index} is out of range: there are {count}, counted from 0")]
    NoSuchEntry {
        /// Image or caption.
        what: &'static str,
        /// The index that was given.
        index: usize,
        /// How many images or captions there are.
        count: usize,
    },
    /// A kernel was asked for by name that this machine cannot run.
    #[error("kernel {0}; `auto` takes the fastest that this machine can run")]
    Kernel(#[from] uard_linalg::panels::Unavailable),
    /// A batch to be packed has another width than the batches before it.
    #[error(
        "{what}: packed so far with width {expected}, found a batch of width {found}: encode all into one joint space"
    )]
    PackedWidth {
        /// `regions` or `words`.
        what: &'static str,
        /// Width of what is being packed.
        expected: usize,
        /// Width of the batch.
        found: usize,
    },
    /// A fragment to be packed holds NaN or an infinite number.
    #[error(
        "{what}: entry {entry}, fragment {fragment} is not finite: check the features and the weights that made it"
    )]
    NotFinite {
        /// `regions` or `words`.
        what: &'static str,
        /// The image or caption, counted over all batches.
        entry: usize,
        /// Which of its fragments.
        fragment: usize,
    },
    /// A file could not be opened, mapped or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file begins with other bytes than packed fragments do.
    #[error("{}: no file of packed fragments: expected to begin with {expected}, found {found}", path.display())]
    NotPacked {
        /// The file.
        path: PathBuf,
        /// The first bytes of every such file.
        expected: String,
        /// The first bytes of this one.
        found: String,
    },
    /// A file was written in another order of bytes.
    #[error("{}: expected the byte order mark {expected:08x}, found {found:08x}: written in another order of bytes, or damaged; pack it again", path.display())]
    PackedByteOrder {
        /// The file.
        path: PathBuf,
        /// The mark as it should be read.
        expected: u32,
        /// The mark as it is read.
        found: u32,
    },
    /// A file was written by another version of the format.
    #[error("{}: packed in format version {found}, expected version {expected}; pack it again", path.display())]
    PackedVersion {
        /// The file.
        path: PathBuf,
        /// The version that is read.
        expected: u32,
        /// The version of the file.
        found: u32,
    },
    /// A file holds words where regions are needed, or regions where words are.
    #[error("{}: expected packed {expected}, found packed {found}", path.display())]
    PackedKind {
        /// The file.
        path: PathBuf,
        /// `regions` or `words`.
        expected: &'static str,
        /// The other.
        found: &'static str,
    },
    /// A file is shorter or longer than its header says.
    #[error("{}: expected {expected} bytes, found {found}: copied in part, or damaged; copy or pack it again", path.display())]
    PackedLength {
        /// The file.
        path: PathBuf,
        /// Bytes that must be there.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// Bytes of a file are not those that were written.
    #[error("{}: checksum of the {part}: expected {expected:08x}, found {found:08x}: damaged; copy or pack it again", path.display())]
    PackedChecksum {
        /// The file.
        path: PathBuf,
        /// Which part of it.
        part: &'static str,
        /// The checksum that was stored.
        expected: u32,
        /// The checksum of what is there.
        found: u32,
    },
    /// A field of a file has an impossible value, or one that contradicts the rest of the file.
    #[error("{}: {field}: expected {expected}, found {found}: not written by this format; pack it again", path.display())]
    PackedField {
        /// The file.
        path: PathBuf,
        /// The name of the field.
        field: &'static str,
        /// The possible values, or the value that follows from the rest of the file.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// A GPU cannot do what was asked of it.
    #[cfg(feature = "cuda-kernels")]
    #[error(transparent)]
    Gpu(#[from] uard_core::gpu::GpuError),
    /// A batch cannot be sampled for the threshold.
    #[error(transparent)]
    Relevance(#[from] uard_relevance::Error),
    /// Fragments are malformed.
    #[error(transparent)]
    Core(#[from] uard_core::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;
