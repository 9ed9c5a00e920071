//! What is a frozen network to those who use it? Pixels in, feature maps out.

use half::bf16;
use uard_linalg::matmul::Matmul;

use super::candle::CandleNetwork;
use super::error::VisionError;
use super::maps::Maps;
use super::number::Number;
use super::trunk::Trunk;
use super::vit::VisionTransformer;
use crate::{Error, Result};

/// Channels of pixels: red, green, blue.
const COLOURS: usize = 3;

/// A frozen network on the CPU, of weights that are read: [`InceptionV3`](super::InceptionV3),
/// [`ResNet`](super::ResNet), the vision transformer of a [`VisionConfig`](super::VisionConfig), or
/// a [`CandleModel`](super::CandleModel).
#[derive(Debug)]
pub struct Network {
    form: Form,
}

/// Convolutions, by the numbers that they multiply; a transformer, whose tokens are cells; or a
/// network that candle-transformers computes, in f32.
#[derive(Debug)]
pub(crate) enum Form {
    F32(Trunk<f32>),
    Bf16(Trunk<bf16>),
    Tokens(Box<VisionTransformer>),
    Candle(CandleNetwork),
}

impl Network {
    pub(crate) fn new(form: Form) -> Self {
        Self { form }
    }

    /// The numbers that it multiplies; sums are f32 either way. Convolutions store their maps in the
    /// same numbers, a transformer its tokens in f32.
    pub fn matmul(&self) -> Matmul {
        match &self.form {
            Form::F32(_) | Form::Candle(_) => Matmul::F32,
            Form::Bf16(_) => Matmul::Bf16,
            Form::Tokens(transformer) => transformer.matmul(),
        }
    }

    /// Height, width and channels of each of its maps, for pixels of a height and width.
    ///
    /// # Errors
    /// When there are fewer pixels than a window of the network has, or others than a network of
    /// candle-transformers was built for.
    pub fn shapes(&self, size: (usize, usize)) -> Result<Vec<[usize; 3]>> {
        let of_trunk = |shapes: Vec<((usize, usize), usize)>| {
            let shapes = shapes.into_iter();
            shapes.map(|((h, w), f)| [h, w, f]).collect()
        };
        let shapes = match &self.form {
            Form::F32(trunk) => trunk.shapes(size, COLOURS).map(of_trunk),
            Form::Bf16(trunk) => trunk.shapes(size, COLOURS).map(of_trunk),
            Form::Tokens(transformer) => transformer.shape(size).map(|shape| vec![shape]),
            Form::Candle(network) => return Ok(vec![network.shape(size)?]),
        };
        shapes.ok_or(Error::Vision(VisionError::TooFewPixels {
            height: size.0,
            width: size.1,
        }))
    }

    /// Height and width of the pixels that cells tile, from the first on: all of them, but for less
    /// than a patch at the far sides of a transformer's.
    pub(crate) fn covered(&self, size: (usize, usize)) -> (usize, usize) {
        match &self.form {
            Form::F32(_) | Form::Bf16(_) | Form::Candle(_) => size,
            Form::Tokens(transformer) => transformer.covered(size),
        }
    }

    /// The maps of a batch, over all threads. A photo's numbers depend on its own pixels alone, to
    /// the last bit.
    ///
    /// # Shapes
    /// `pixels` [N, H, W, 3], normalised as the network expects; each map is [N, H', W', F].
    ///
    /// # Errors
    /// When there are fewer pixels than a window of the network has, or others than it was built
    /// for, or not three colours.
    pub fn forward(&self, pixels: &Maps<f32>) -> Result<Vec<Maps<f32>>> {
        if pixels.channels() != COLOURS {
            return Err(Error::Core(uard_core::Error::ShapeMismatch {
                tensor: "pixels".to_owned(),
                axis: "colours",
                expected: COLOURS,
                found: pixels.channels(),
            }));
        }
        let shapes = self.shapes(pixels.size())?;
        match &self.form {
            Form::F32(trunk) => run(trunk, pixels),
            Form::Bf16(trunk) => run(trunk, pixels),
            Form::Tokens(transformer) => {
                let maps = shapes.into_iter();
                let maps = maps.map(|shape| transformer.forward(pixels, shape));
                maps.collect()
            }
            Form::Candle(network) => Ok(vec![network.forward(pixels)?]),
        }
    }
}

fn run<T: Number>(trunk: &Trunk<T>, pixels: &Maps<f32>) -> Result<Vec<Maps<f32>>> {
    let maps = trunk.of_pixels(pixels)?;
    Ok(maps.iter().map(Maps::widened).collect())
}
