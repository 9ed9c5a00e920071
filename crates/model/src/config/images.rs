//! The settings of the extraction of regions, for runs that begin with photographs.

use serde::{Deserialize, Serialize};
use uard_features::extract::{EncoderKind, RegionCount};
use uard_hub::source::Source;
use uard_linalg::matmul::Matmul;

/// `[images]`: how photographs become regions, where a run is given photographs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImagesConfig {
    /// The encoder.
    pub encoder: EncoderKind,
    /// Places where its weights may be: files, relative to the working directory or to the folder
    /// of the photographs, of which the first that is there counts; else the first name on a hub.
    pub weights: Vec<Source>,
    /// Regions of a photo: a number, `"10-100"`, or `"all"`.
    pub regions: RegionCount,
    /// Numbers of the encoder's products.
    pub matmul: Matmul,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self {
            encoder: EncoderKind::InceptionV3,
            weights: Vec::new(),
            regions: RegionCount::Exactly(36),
            matmul: Matmul::F32,
        }
    }
}
