//! What is a frozen network to those who use it? Pixels in, feature maps out.

use half::bf16;
use uard_core::matmul::Matmul;

use super::maps::Maps;
use super::number::Number;
use super::trunk::Trunk;
use crate::{Error, Result};

/// Channels of pixels: red, green, blue.
const COLOURS: usize = 3;

/// A frozen network on the CPU, of weights that are read: [`InceptionV3`](super::InceptionV3) or
/// [`ResNet`](super::ResNet).
#[derive(Debug)]
pub struct Network {
    form: Form,
}

/// By the numbers that it multiplies.
#[derive(Debug)]
pub(crate) enum Form {
    F32(Trunk<f32>),
    Bf16(Trunk<bf16>),
}

impl Network {
    pub(crate) fn new(form: Form) -> Self {
        Self { form }
    }

    /// The numbers that it multiplies; sums are f32 either way, and maps are stored in the same
    /// numbers.
    pub fn matmul(&self) -> Matmul {
        match self.form {
            Form::F32(_) => Matmul::F32,
            Form::Bf16(_) => Matmul::Bf16,
        }
    }

    /// Height, width and channels of each of its maps, for pixels of a height and width.
    ///
    /// # Errors
    /// When there are fewer pixels than a window of the network has.
    pub fn shapes(&self, size: (usize, usize)) -> Result<Vec<[usize; 3]>> {
        let shapes = match &self.form {
            Form::F32(trunk) => trunk.shapes(size, COLOURS),
            Form::Bf16(trunk) => trunk.shapes(size, COLOURS),
        };
        let shapes = shapes.ok_or(Error::TooFewPixels {
            height: size.0,
            width: size.1,
        })?;
        let shapes = shapes.into_iter();
        Ok(shapes
            .map(|((height, width), f)| [height, width, f])
            .collect())
    }

    /// The maps of a batch, over all threads. A photo's numbers depend on its own pixels alone, to
    /// the last bit.
    ///
    /// # Shapes
    /// `pixels` [N, H, W, 3], normalised as the network expects; each map is [N, H', W', F].
    ///
    /// # Errors
    /// When there are fewer pixels than a window of the network has, or not three colours.
    pub fn forward(&self, pixels: &Maps<f32>) -> Result<Vec<Maps<f32>>> {
        if pixels.channels() != COLOURS {
            return Err(Error::Core(uard_core::Error::ShapeMismatch {
                tensor: "pixels".to_owned(),
                axis: "colours",
                expected: COLOURS,
                found: pixels.channels(),
            }));
        }
        match &self.form {
            Form::F32(trunk) => run(trunk, pixels),
            Form::Bf16(trunk) => run(trunk, pixels),
        }
    }
}

fn run<T: Number>(trunk: &Trunk<T>, pixels: &Maps<f32>) -> Result<Vec<Maps<f32>>> {
    let maps = trunk.of_pixels(pixels)?;
    Ok(maps.iter().map(Maps::widened).collect())
}
