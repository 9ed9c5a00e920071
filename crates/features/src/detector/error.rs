//! What can go wrong between a photo and its detected regions.

use std::path::PathBuf;

/// A cause, with what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectorError {
    /// Anchors of a file that are not those of the configuration.
    #[error(
        "{}: anchor {anchor} of `{tensor}` is {found:?}, the configuration makes {expected:?}; set `anchors` to the sizes and ratios that the network was trained with",
        path.display()
    )]
    Anchors {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The row of the tensor.
        anchor: usize,
        /// The configuration's.
        expected: [f32; 4],
        /// The file's.
        found: [f32; 4],
    },
    /// A network that computes what is no number.
    #[error(
        "{what} of a photo are not all finite: the weights are broken or not those of this network"
    )]
    NotFinite {
        /// What was computed.
        what: &'static str,
    },
    /// A setting that cannot be.
    #[error("`{setting}` is {found}, expected {expected}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What was asked for.
        found: String,
        /// What can be.
        expected: &'static str,
    },
}
