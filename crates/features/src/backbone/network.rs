//! A frozen network of any architecture: pixels in, feature maps out.

use half::bf16;
use uard_linalg::matmul::Matmul;

use super::candle::CandleNetwork;
use super::error::VisionError;
use super::maps::{Maps, Size};
use super::trunk::Trunk;
use super::vit::VisionTransformer;
use crate::{Error, Result};

/// Channels of pixels: red, green, blue.
const COLOURS: usize = 3;

/// A frozen network on the CPU with its weights: an [`InceptionV3`](super::InceptionV3), a
/// [`ResNet`](super::ResNet), the vision transformer of a [`VisionConfig`](super::VisionConfig) or
/// a [`CandleModel`](super::CandleModel).
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
}

/// The layers of a network.
#[derive(Debug)]
pub(crate) enum Architecture {
    /// Convolutions whose maps and products are in f32.
    ConvolutionsF32(Trunk<f32>),
    /// Convolutions whose maps and products are in bf16.
    ConvolutionsBf16(Trunk<bf16>),
    /// A vision transformer; the tokens of its patches are the cells of the map.
    Transformer(Box<VisionTransformer>),
    /// A network of candle-transformers, in f32.
    Candle(CandleNetwork),
}

impl Network {
    pub(crate) fn new(architecture: Architecture) -> Self {
        Self { architecture }
    }

    /// The number type to which the factors of matrix products are rounded; sums are in f32 in any
    /// case. Convolutions store their maps in the same type, a transformer stores its tokens in
    /// f32.
    pub fn matmul(&self) -> Matmul {
        match &self.architecture {
            Architecture::ConvolutionsF32(_) | Architecture::Candle(_) => Matmul::F32,
            Architecture::ConvolutionsBf16(_) => Matmul::Bf16,
            Architecture::Transformer(transformer) => transformer.matmul(),
        }
    }

    /// Height, width and channels of a photo's map, for pixels of a height and width.
    ///
    /// # Errors
    /// When the pixels are fewer than a window of the network holds, or when a network of
    /// candle-transformers was built for another height and width.
    pub fn shape(&self, size: Size) -> Result<[usize; 3]> {
        let shape = match &self.architecture {
            Architecture::ConvolutionsF32(trunk) => trunk.shape(size, COLOURS),
            Architecture::ConvolutionsBf16(trunk) => trunk.shape(size, COLOURS),
            Architecture::Transformer(network) => network.shape(size),
            Architecture::Candle(network) => return network.shape(size),
        };
        shape.ok_or(Error::Vision(VisionError::TooFewPixels { size }))
    }

    /// Height and width of the pixels that the cells cover, from the upper left corner on: all of
    /// them, except that a transformer leaves out less than a patch at the lower and right edge.
    pub(crate) fn covered_size(&self, size: Size) -> Size {
        match &self.architecture {
            Architecture::Transformer(transformer) => transformer.covered_size(size),
            _ => size,
        }
    }

    /// The maps of a batch of photos, computed on all threads. The map of a photo depends on its own
    /// pixels only, to the last bit.
    ///
    /// # Shapes
    /// `pixels` [N, H, W, 3], normalised as the network expects; the maps are [N, H', W', F].
    ///
    /// # Errors
    /// Those of [`shape`](Self::shape); when the pixels do not have three colours.
    pub fn forward(&self, pixels: &Maps<f32>) -> Result<Maps<f32>> {
        if pixels.channels() != COLOURS {
            return Err(Error::Core(uard_core::Error::ShapeMismatch {
                tensor: "pixels".to_owned(),
                axis: "colours",
                expected: COLOURS,
                found: pixels.channels(),
            }));
        }
        let shape = self.shape(pixels.size())?;
        match &self.architecture {
            Architecture::ConvolutionsF32(trunk) => Ok(trunk.forward_pixels(pixels)?.widened()),
            Architecture::ConvolutionsBf16(trunk) => Ok(trunk.forward_pixels(pixels)?.widened()),
            Architecture::Transformer(transformer) => transformer.forward(pixels, shape),
            Architecture::Candle(network) => network.forward(pixels),
        }
    }
}
