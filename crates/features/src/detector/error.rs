//! Errors of a detector: of its settings, its weights, or what they compute.

use std::path::PathBuf;

use crate::{Error, Result};

/// An error of loading or running a detector.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectorError {
    /// Anchors of a file that differ from those of the configuration.
    #[error(
        "{}: anchor {anchor} of `{tensor}` is {found:?}, that of the configuration is {expected:?}; set `anchors` to the sizes and ratios that the network was trained with",
        path.display()
    )]
    Anchors {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The row of the tensor.
        anchor: usize,
        /// The anchor of the configuration.
        expected: [f32; 4],
        /// The anchor of the file.
        found: [f32; 4],
    },
    /// A network whose results are NaN or infinite.
    #[error(
        "{what} of a photo are not all finite: the weights are broken or not those of this network"
    )]
    NotFinite {
        /// The name of the results.
        what: &'static str,
    },
    /// A setting with an impossible value.
    #[error("`{setting}` is {found}, expected {expected}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// The setting's value.
        found: String,
        /// Possible values.
        expected: &'static str,
    },
}

/// Refuses settings that are zero.
pub(super) fn at_least_one(settings: &[(&'static str, usize)]) -> Result<()> {
    match settings.iter().find(|(_, count)| *count == 0) {
        Some((setting, _)) => Err(refused(setting, "0".to_owned(), "at least 1")),
        None => Ok(()),
    }
}

/// The error of a setting with an impossible value.
pub(super) fn refused(setting: &'static str, found: String, expected: &'static str) -> Error {
    Error::Detector(DetectorError::Setting {
        setting,
        found,
        expected,
    })
}
