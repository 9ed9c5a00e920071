//! Errors of extracting features from photos.

use std::path::PathBuf;

/// An error of naming an encoder, listing photos or describing an extraction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// An unknown name of an encoder.
    #[error("no encoder is called `{name}`; there are {known}")]
    UnknownEncoder {
        /// The unknown name.
        name: String,
        /// The names of all encoders.
        known: String,
    },
    /// A text that is not a number of regions.
    #[error(
        "`{text}` is not a number of regions; expected a number such as 36, a range such as 10-100, or all"
    )]
    RegionCount {
        /// The text.
        text: String,
    },
    /// A number of regions that an encoder does not support.
    #[error("{encoder} cannot give {regions} regions: {expected}")]
    RegionsOfEncoder {
        /// The encoder.
        encoder: &'static str,
        /// The requested number.
        regions: String,
        /// The numbers that it supports.
        expected: &'static str,
    },
    /// A number type of products that an encoder does not support.
    #[error("{encoder} computes in f32 only, not in {matmul}; ask for f32")]
    MatmulOfEncoder {
        /// The encoder.
        encoder: &'static str,
        /// The requested type.
        matmul: String,
    },
    /// Settings that cannot be written as JSON.
    #[error("the encoder's settings cannot be written as JSON: {cause}")]
    Settings {
        /// The error of the JSON writer.
        cause: String,
    },
    /// A path that is neither a photo nor a list nor a folder with photos.
    #[error("{}: no photos found; expected a folder of photos, one photo, or a text file with the path of a photo on each line", path.display())]
    NoPhotos {
        /// The path.
        path: PathBuf,
    },
    /// Two photos with the same id.
    #[error("{}: `{id}` is there twice, as entries {first} and {second}; features are found by their id, so list each photo once", path.display())]
    RepeatedPhoto {
        /// The list.
        path: PathBuf,
        /// The id.
        id: String,
        /// Index of the first of the two, counted from 1.
        first: usize,
        /// Index of the second, counted from 1.
        second: usize,
    },
    /// A folder of captioned photos without the lists of its splits.
    #[error("{}: no list of photos; expected train_ids.txt and dev_ids.txt (a file name of photos/ on each line) with train_caps.txt and dev_caps.txt", path.display())]
    NoSplits {
        /// The folder.
        path: PathBuf,
    },
    /// Weights that are at none of the usual places.
    #[error(
        "the weights of {encoder} are at none of {looked}; download them, or set images.weights"
    )]
    NoWeights {
        /// The encoder.
        encoder: &'static str,
        /// The places, for the message.
        looked: String,
    },
}
