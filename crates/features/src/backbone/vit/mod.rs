//! How do patches of a photo become regions? Through the vision transformer of CLIP, SigLIP or
//! DINOv2, frozen, whose tokens are the cells of a map.

mod config;
mod loading;
mod model;
mod positions;
mod processor;

use std::path::Path;

use uard_linalg::matmul::Matmul;

pub use config::{VisionConfig, VisionFamily};
pub use model::Tokens;
pub(crate) use model::VisionTransformer;

use config::MOST_PATCHES;

use super::grid::{Cells, GridBackbone};
use super::network::{Form, Network};
use super::preprocessing::Preprocessing;
use crate::{Error, Result};
use uard_hub::Wanted;
use uard_hub::weights::Weights;

/// The files of a published vision transformer that are read here.
pub const FILES: Wanted<'static> = Wanted {
    needed: &[&["config.json"], &uard_hub::weights::FILES],
    optional: &["preprocessor_config.json"],
};

impl VisionConfig {
    /// Reads the weights of a network whose only map has a token for each patch; the token of the
    /// class and the registers are computed with and left out.
    ///
    /// Names are those of Hugging Face, with or without `vision_model.` or `dinov2.` before them.
    ///
    /// # Errors
    /// When a weight is missing or has another shape, by name; tokens cannot be projected in this
    /// family; the configuration cannot be.
    pub fn load(&self, weights: &Weights, tokens: Tokens, matmul: Matmul) -> Result<Network> {
        let transformer = VisionTransformer::load(self, weights, (tokens, matmul))?;
        Ok(Network::new(Form::Tokens(Box::new(transformer))))
    }
}

/// Opens a model's folder as Hugging Face publishes it: `config.json`, `model.safetensors` or
/// `pytorch_model.bin`, and `preprocessor_config.json` where it is there; without it photos are made
/// into what the family's own preprocessing makes of them.
///
/// # Errors
/// A file is missing or damaged, or says something that is not known here; the message names it.
///
/// ```no_run
/// use std::path::Path;
/// use uard_linalg::matmul::Matmul;
/// use uard_features::backbone::{Cells, Photo, PhotoLimits, Tokens, open_vision_folder};
/// # fn main() -> uard_features::Result<()> {
/// let folder = Path::new("clip-vit-base-patch32");
/// let cells = Cells::Grid { side: 6 };
/// let backbone = open_vision_folder(folder, (Tokens::Hidden, cells), Matmul::F32)?;
/// let photo = Photo::open(Path::new("photo.jpg"), PhotoLimits::default())?;
/// let regions = &backbone.regions(&[photo])?[0];
/// assert_eq!((regions.boxes.len(), regions.features.len()), (36, 36 * 768));
/// # Ok(())
/// # }
/// ```
pub fn open_folder(
    folder: &Path,
    (tokens, cells): (Tokens, Cells),
    matmul: Matmul,
) -> Result<GridBackbone> {
    let config = VisionConfig::open(folder)?;
    let weights = Weights::open_folder(folder)?;
    let network = config.load(&weights, tokens, matmul)?;
    let preprocessing = Preprocessing::open(folder, &config)?;
    preprocessing.check()?;
    let (height, width) = preprocessing.size();
    let patches = config.patches([height, width]);
    if patches > MOST_PATCHES {
        return Err(Error::ModelConfig {
            path: folder.join(processor::FILE),
            key: "size",
            expected: format!("at most {MOST_PATCHES} patches of {}", config.patch_size),
            found: format!("{height} x {width} pixels, {patches} patches"),
        });
    }
    GridBackbone::new(network, preprocessing, cells)
}

#[cfg(test)]
mod tests;
