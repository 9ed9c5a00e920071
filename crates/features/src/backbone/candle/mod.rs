//! Networks of candle-transformers as frozen encoders: those of its vision models that give a
//! token or a cell for each part of the photo, read from published files.

mod families;
mod tensors;

use std::fmt;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use self::families::{MODELS, Model};
use super::error::VisionError;
use super::maps::Maps;
use super::network::{Form, Network};
use super::preprocessing::Preprocessing;
use crate::{Error, Result};
use uard_hub::weights::Weights;

/// A published network that candle-transformers computes, by its name.
///
/// ```
/// use uard_features::backbone::CandleModel;
///
/// let model = CandleModel::named("candle:blip_base").unwrap();
/// assert_eq!(model.preprocessing().size(), (384, 384));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CandleModel {
    /// Its place in the table.
    at: usize,
}

impl CandleModel {
    /// All of them, family by family.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..MODELS.len()).map(|at| Self { at })
    }

    /// The model of a name, which begins with `candle:`.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|model| model.name() == name)
    }

    /// `candle:` and what the network is called where it is published.
    pub fn name(self) -> &'static str {
        self.model().name
    }

    /// What photos are made into for it: the whole photo, squeezed into the square that it was
    /// trained on, for a crop would lose the regions at the border.
    pub fn preprocessing(self) -> Preprocessing {
        self.model().pixels
    }

    /// Reads its weights. The network has one map: what the last layer gives for each cell or
    /// patch, without the token of the class.
    ///
    /// # Errors
    /// When a weight is missing or has another shape, by name.
    pub fn load(self, weights: &Weights) -> Result<Network> {
        let network = CandleNetwork::load(self.model(), weights)?;
        Ok(Network::new(Form::Candle(network)))
    }

    fn model(self) -> &'static Model {
        &MODELS[self.at]
    }
}

/// Pixels [1, 3, H, W] to the features of its cells, [H' W', F], row by row.
type Forward = Box<dyn Fn(&Tensor) -> candle_core::Result<Tensor> + Send + Sync>;

/// A network with its weights.
pub(crate) struct CandleNetwork {
    /// Of the pixels that it was built for: height and width.
    size: (usize, usize),
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
            size: model.pixels.size(),
            shape: model.shape(),
            forward: model.build(weights)?,
        })
    }

    /// Height, width and channels of its map.
    ///
    /// # Errors
    /// For another height and width of the pixels than it was built for.
    pub(crate) fn shape(&self, size: (usize, usize)) -> Result<[usize; 3]> {
        match size == self.size {
            true => Ok(self.shape),
            false => Err(Error::Vision(VisionError::OtherPixels {
                expected: self.size,
                found: size,
            })),
        }
    }

    /// The map of each photo, computed alone: several of these networks take one photo at a time.
    ///
    /// # Shapes
    /// `pixels` [N, H, W, 3] of the size that it was built for; returns [N, H', W', F].
    pub(crate) fn forward(&self, pixels: &Maps<f32>) -> Result<Maps<f32>> {
        let photos = (0..pixels.photos()).into_par_iter();
        let maps = photos.map(|at| self.map_of(pixels.photo(at)));
        let maps = maps.collect::<Result<Vec<_>>>()?.concat();
        let [rows, columns, channels] = self.shape;
        Ok(Maps::new(maps, [pixels.photos(), rows, columns, channels]))
    }

    fn map_of(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        let (height, width) = self.size;
        let pixels = Tensor::from_slice(pixels, (1, height, width, 3), &Device::Cpu)?;
        let cells = (self.forward)(&pixels.permute((0, 3, 1, 2))?.contiguous()?)?;
        let [rows, columns, channels] = self.shape;
        let cells = cells.reshape((rows * columns, channels))?;
        Ok(cells.flatten_all()?.to_vec1()?)
    }
}

#[cfg(test)]
mod tests;
