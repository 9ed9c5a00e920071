//! The frozen vision transformers of CLIP, SigLIP and DINOv2; the tokens of the patches are the
//! cells of a map.

mod config;
mod loading;
mod model;
mod positions;
mod processor;

use std::path::Path;

use uard_linalg::matmul::Matmul;

pub use config::VisionConfig;
pub use model::Tokens;
pub(crate) use model::VisionTransformer;

use config::MOST_PATCHES;

use super::grid::{Cells, GridBackbone};
use super::network::{Architecture, Network};
use super::preprocessing::Preprocessing;
use crate::{Error, Result};
use uard_hub::WantedFiles;
use uard_hub::weights::Weights;

/// The files of a published vision transformer that are read.
pub const FILES: WantedFiles<'static> = WantedFiles {
    needed: &[&["config.json"], &uard_hub::weights::FILES],
    optional: &["preprocessor_config.json"],
};

impl VisionConfig {
    /// Reads the weights. The network has one map, with a token for each patch; the class token and
    /// the registers take part in the layers, and are left out of the map.
    ///
    /// Weights have the names of Hugging Face, with or without the prefix `vision_model.` or
    /// `dinov2.`.
    ///
    /// # Errors
    /// When a weight is missing or has another shape (the error names it); when this family has no
    /// projection of tokens and [`Tokens::Projected`] is given; those of [`check`](Self::check).
    pub fn load(&self, weights: &Weights, tokens: Tokens, matmul: Matmul) -> Result<Network> {
        let transformer = VisionTransformer::load(self, weights, tokens, matmul)?;
        Ok(Network::new(Architecture::Transformer(Box::new(
            transformer,
        ))))
    }
}

/// Opens a model's folder as Hugging Face publishes it: `config.json`, `model.safetensors` or
/// `pytorch_model.bin`, and `preprocessor_config.json`. Without the last file, photos get the
/// preprocessing of the model's family.
///
/// # Errors
/// When a file is missing or damaged, or has a value that is not supported; the message names it.
///
/// ```no_run
/// use std::path::Path;
/// use uard_linalg::matmul::Matmul;
/// use uard_features::backbone::{Cells, Photo, PhotoLimits, Tokens, open_vision_folder};
/// # fn main() -> uard_features::Result<()> {
/// let folder = Path::new("clip-vit-base-patch32");
/// let cells = Cells::Grid { side: 6 };
/// let backbone = open_vision_folder(folder, Tokens::Hidden, cells, Matmul::F32)?;
/// let photo = Photo::open(Path::new("photo.jpg"), PhotoLimits::default())?;
/// let regions = &backbone.regions(&[photo])?[0];
/// assert_eq!((regions.boxes.len(), regions.features.len()), (36, 36 * 768));
/// # Ok(())
/// # }
/// ```
pub fn open_folder(
    folder: &Path,
    tokens: Tokens,
    cells: Cells,
    matmul: Matmul,
) -> Result<GridBackbone> {
    let config = VisionConfig::open(folder)?;
    let weights = Weights::open_folder(folder)?;
    let network = config.load(&weights, tokens, matmul)?;
    let preprocessing = Preprocessing::open(folder, &config)?;
    preprocessing.check()?;
    let size = preprocessing.size();
    let patches = config.patches(size);
    if patches > MOST_PATCHES {
        return Err(Error::ModelConfig {
            path: folder.join(processor::FILE),
            key: "size",
            expected: format!("at most {MOST_PATCHES} patches of {}", config.patch_size),
            found: format!("{size} pixels, {patches} patches"),
        });
    }
    GridBackbone::new(network, preprocessing, cells)
}

#[cfg(test)]
mod tests;
