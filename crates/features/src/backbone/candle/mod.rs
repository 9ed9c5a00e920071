//! Frozen networks of candle-transformers: its vision models that compute a token or a cell for
//! each part of the photo, read from published files.

mod families;
mod tensors;

use std::fmt;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use self::families::{MODELS, Model};
use super::error::VisionError;
use super::maps::{Maps, Size};
use super::network::{Architecture, Network};
use super::preprocessing::Preprocessing;
use crate::{Error, Result};
use uard_hub::weights::Weights;

/// A published network that candle-transformers computes, by its name.
///
/// ```
/// use uard_features::backbone::CandleModel;
///
/// let model = CandleModel::named("candle:blip_base").unwrap();
/// assert_eq!(model.name(), "candle:blip_base");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CandleModel {
    /// Index in `MODELS`.
    at: usize,
}

impl CandleModel {
    /// All networks, family by family.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..MODELS.len()).map(|at| Self { at })
    }

    /// The model with a name, which begins with `candle:`; `None` where there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|model| model.name() == name)
    }

    /// `candle:` and the published name of the network.
    pub fn name(self) -> &'static str {
        self.model().name
    }

    /// The preprocessing of its photos: the whole photo is resized to the square that the network
    /// was trained on, because a crop would lose the regions at the border.
    pub fn preprocessing(self) -> Preprocessing {
        self.model().preprocessing
    }

    /// Reads the weights. The network has one map: the output of the last layer for each cell or
    /// patch, without the class token.
    ///
    /// # Errors
    /// When a weight is missing or has another shape; the error names it.
    pub fn load(self, weights: &Weights) -> Result<Network> {
        let network = CandleNetwork::load(self.model(), weights)?;
        Ok(Network::new(Architecture::Candle(network)))
    }

    fn model(self) -> &'static Model {
        &MODELS[self.at]
    }
}

/// Computes from pixels [1, 3, H, W] the features of the cells, [H' W', F], row by row.
type Forward = Box<dyn Fn(&Tensor) -> candle_core::Result<Tensor> + Send + Sync>;

/// A network with its weights.
pub(crate) struct CandleNetwork {
    /// Height and width of the pixels that it was built for.
    size: Size,
    /// Height, width and channels of its map.
    shape: [usize; 3],
    forward: Forward,
}

impl fmt::Debug for CandleNetwork {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CandleNetwork({:?})", self.shape)
    }
}

impl CandleNetwork {
    fn load(model: &Model, weights: &Weights) -> Result<Self> {
        Ok(Self {
            size: model.preprocessing.size(),
            shape: model.shape(),
            forward: model.build(weights)?,
        })
    }

    /// Height, width and channels of its map.
    ///
    /// # Errors
    /// When the network was built for another height and width.
    pub(crate) fn shape(&self, size: Size) -> Result<[usize; 3]> {
        match size == self.size {
            true => Ok(self.shape),
            false => Err(Error::Vision(VisionError::OtherPixels {
                expected: self.size,
                found: size,
            })),
        }
    }

    /// The map of each photo. Each photo is a batch of its own, because several of these networks
    /// accept only one photo.
    ///
    /// # Shapes
    /// `pixels` [N, H, W, 3] of the size that it was built for; returns [N, H', W', F].
    pub(crate) fn forward(&self, pixels: &Maps<f32>) -> Result<Maps<f32>> {
        let photos = (0..pixels.photos()).into_par_iter();
        let maps = photos.map(|at| self.forward_photo(pixels.photo(at)));
        let maps = maps.collect::<Result<Vec<_>>>()?.concat();
        let [rows, columns, channels] = self.shape;
        Ok(Maps::new(maps, [pixels.photos(), rows, columns, channels]))
    }

    /// Computes the map of one photo: `pixels` [H, W, 3]; returns [H', W', F].
    fn forward_photo(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        let Size { height, width } = self.size;
        let pixels = Tensor::from_slice(pixels, (1, height, width, 3), &Device::Cpu)?;
        let cells = (self.forward)(&pixels.permute((0, 3, 1, 2))?.contiguous()?)?;
        let [rows, columns, channels] = self.shape;
        let cells = cells.reshape((rows * columns, channels))?;
        Ok(cells.flatten_all()?.to_vec1()?)
    }
}

#[cfg(test)]
mod tests;
