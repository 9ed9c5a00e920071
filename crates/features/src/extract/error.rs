//! What can go wrong between a photograph and its features on disk.

use std::path::PathBuf;

/// A cause, with what was expected, what was found, and how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// A name that no encoder has.
    #[error("no encoder is called `{name}`; there are {known}")]
    UnknownEncoder {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// A number of regions that is none.
    #[error(
        "`{text}` is no number of regions; expected a number such as 36, a range such as 10-100, or all"
    )]
    RegionCount {
        /// What was asked for.
        text: String,
    },
    /// A number of regions that an encoder cannot give.
    #[error("{encoder} cannot give {regions} regions: {expected}")]
    RegionsOfEncoder {
        /// The encoder.
        encoder: &'static str,
        /// What was asked for.
        regions: String,
        /// What it can give.
        expected: &'static str,
    },
    /// Numbers that an encoder does not multiply.
    #[error("{encoder} multiplies f32 alone, not {matmul}; ask for f32")]
    MatmulOfEncoder {
        /// The encoder.
        encoder: &'static str,
        /// What was asked for.
        matmul: String,
    },
    /// Settings that cannot be written down.
    #[error("the encoder's settings cannot be written as JSON: {cause}")]
    Settings {
        /// What the writer said.
        cause: String,
    },
    /// A folder or list without photos, or something else.
    #[error("{}: no photos found; expected a folder of photos, one photo, or a text file with the path of a photo on each line", path.display())]
    NoPhotos {
        /// What was given.
        path: PathBuf,
    },
    /// Two photos of one id.
    #[error("{}: `{id}` is there twice, as entries {first} and {second}; features are found by their id, so list each photo once", path.display())]
    RepeatedPhoto {
        /// The list.
        path: PathBuf,
        /// The id.
        id: String,
        /// From 1.
        first: usize,
        /// From 1.
        second: usize,
    },
    /// A folder without lists of photos.
    #[error("{}: no list of photos; expected train_ids.txt and dev_ids.txt (a file name of photos/ on each line) with train_caps.txt and dev_caps.txt", path.display())]
    NoSplits {
        /// The folder.
        path: PathBuf,
    },
    /// None of the places where weights may be holds them.
    #[error(
        "the weights of {encoder} are at none of {looked}; download them, or set images.weights"
    )]
    NoWeights {
        /// The encoder.
        encoder: &'static str,
        /// All places.
        looked: String,
    },
}
