//! The settings of the extraction of region features from photos.

use serde::{Deserialize, Serialize};
use uard_features::extract::{EncoderKind, EncoderOptions, RegionCount};
use uard_hub::source::Source;
use uard_linalg::matmul::Matmul;

/// `[images]`: the extraction of region features, for runs that start from photos.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImagesConfig {
    /// The encoder: a backbone or a detector.
    pub encoder: EncoderKind,
    /// Sources of its weights. The first file that exists is used, relative to the working directory
    /// or to the folder of the photos; if none does, the first name on a hub.
    pub weights: Vec<Source>,
    /// Number of regions of a photo: a number, `"10-100"`, or `"all"`.
    pub regions: RegionCount,
    /// Precision of the encoder's matrix products.
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

impl ImagesConfig {
    /// The encoder without its weights.
    pub fn options(&self) -> EncoderOptions {
        EncoderOptions {
            kind: self.encoder,
            regions: self.regions,
            matmul: self.matmul,
        }
    }
}
