//! A network of convolutions as a list of layers: single steps, parallel branches and residual
//! blocks.

use super::convolution::{Convolution, Target};
use super::error::VisionError;
use super::maps::{Buffers, Maps, Size};
use super::number::Number;
use super::pool::Pool;
use crate::{Error, Result};

/// A convolution or a pool.
#[derive(Debug)]
pub(crate) enum Step<T> {
    Convolution(Convolution<T>),
    Pool(Pool),
}

/// A layer of a network.
#[derive(Debug)]
pub(crate) enum Layer<T> {
    Step(Step<T>),
    /// Branches that read the same input, each of steps that run one after the other; the channels
    /// of their last steps are concatenated in order.
    Mixed(Vec<Vec<Step<T>>>),
    /// The input is added to the output of the last convolution of `body`, after the convolution
    /// `shortcut` where their shapes differ.
    Residual {
        body: Vec<Convolution<T>>,
        shortcut: Option<Convolution<T>>,
    },
}

/// Layers that run one after the other.
#[derive(Debug)]
pub(crate) struct Trunk<T> {
    pub layers: Vec<Layer<T>>,
}

impl<T: Number> Step<T> {
    fn size(&self, input: Size) -> Option<Size> {
        match self {
            Self::Convolution(layer) => layer.window().output(input),
            Self::Pool(pool) => pool.output(input),
        }
    }

    fn channels(&self, inputs: usize) -> usize {
        match self {
            Self::Convolution(layer) => layer.outputs(),
            Self::Pool(_) => inputs,
        }
    }

    /// Height, width and channels of the output.
    fn output(&self, [height, width, channels]: [usize; 3]) -> Option<[usize; 3]> {
        let size = self.size(Size { height, width })?;
        Some([size.height, size.width, self.channels(channels)])
    }

    fn run_into(&self, input: &Maps<T>, target: Target<'_, T>) {
        match self {
            Self::Convolution(layer) => layer.forward_into(input, target, None),
            Self::Pool(pool) => pool.forward_into(input, target),
        }
    }

    fn run(&self, input: &Maps<T>, buffers: &mut Buffers<T>) -> Maps<T> {
        let Size { height, width } = self.size(input.size()).unwrap_or_default();
        let channels = self.channels(input.channels());
        let mut maps = buffers.take([input.photos(), height, width, channels]);
        let target = Target {
            maps: &mut maps,
            channel: 0,
        };
        self.run_into(input, target);
        maps
    }
}

/// Runs the steps of a branch. The last writes its output to the target, from the target's channel
/// on; returns how many channels these are.
fn run_branch<T: Number>(
    branch: &[Step<T>],
    input: &Maps<T>,
    target: Target<'_, T>,
    buffers: &mut Buffers<T>,
) -> usize {
    let Some((last, steps)) = branch.split_last() else {
        return 0;
    };
    let mut before: Option<Maps<T>> = None;
    for step in steps {
        let maps = step.run(before.as_ref().unwrap_or(input), buffers);
        buffers.give(before.replace(maps));
    }
    let input = before.as_ref().unwrap_or(input);
    last.run_into(input, target);
    let channels = last.channels(input.channels());
    buffers.give(before);
    channels
}

impl<T: Number> Layer<T> {
    /// Height, width and channels of the output; `None` where the padded input is smaller than a
    /// window.
    fn output(&self, input: [usize; 3]) -> Option<[usize; 3]> {
        match self {
            Self::Step(step) => step.output(input),
            Self::Mixed(branches) => {
                let outputs = branches.iter().map(|branch| {
                    let mut steps = branch.iter();
                    steps.try_fold(input, |shape, step| step.output(shape))
                });
                let outputs = outputs.collect::<Option<Vec<_>>>()?;
                let channels = outputs.iter().map(|[.., channels]| channels).sum();
                let [height, width, _] = *outputs.first()?;
                Some([height, width, channels])
            }
            Self::Residual { body, .. } => {
                body.iter().try_fold(input, |[height, width, _], layer| {
                    let size = layer.window().output(Size { height, width })?;
                    Some([size.height, size.width, layer.outputs()])
                })
            }
        }
    }

    fn run(&self, input: &Maps<T>, buffers: &mut Buffers<T>) -> Maps<T> {
        match self {
            Self::Step(step) => step.run(input, buffers),
            Self::Mixed(branches) => {
                let [_, height, width, channels] = input.shape();
                let output = self.output([height, width, channels]);
                let [height, width, channels] = output.unwrap_or_default();
                let mut maps = buffers.take([input.photos(), height, width, channels]);
                let mut channel = 0;
                for branch in branches {
                    let target = Target {
                        maps: &mut maps,
                        channel,
                    };
                    channel += run_branch(branch, input, target, buffers);
                }
                maps
            }
            Self::Residual { body, shortcut } => residual(body, shortcut.as_ref(), input, buffers),
        }
    }
}

fn residual<T: Number>(
    body: &[Convolution<T>],
    shortcut: Option<&Convolution<T>>,
    input: &Maps<T>,
    buffers: &mut Buffers<T>,
) -> Maps<T> {
    let shortcut = shortcut.map(|layer| convolved(layer, input, None, buffers));
    let mut before: Option<Maps<T>> = None;
    for (at, layer) in body.iter().enumerate() {
        let last = at + 1 == body.len();
        let added = last.then(|| shortcut.as_ref().unwrap_or(input));
        let maps = convolved(layer, before.as_ref().unwrap_or(input), added, buffers);
        buffers.give(before.replace(maps));
    }
    buffers.give(shortcut);
    before.unwrap_or_else(|| input.clone())
}

fn convolved<T: Number>(
    layer: &Convolution<T>,
    input: &Maps<T>,
    added: Option<&Maps<T>>,
    buffers: &mut Buffers<T>,
) -> Maps<T> {
    let size = layer.window().output(input.size()).unwrap_or_default();
    let mut maps = buffers.take([input.photos(), size.height, size.width, layer.outputs()]);
    let target = Target {
        maps: &mut maps,
        channel: 0,
    };
    layer.forward_into(input, target, added);
    maps
}

impl<T: Number> Trunk<T> {
    /// Height, width and channels of the last layer's maps, for an input of a size and number of
    /// channels; `None` where the pixels are fewer than a window holds.
    pub fn shape(&self, size: Size, channels: usize) -> Option<[usize; 3]> {
        let input = [size.height, size.width, channels];
        let mut layers = self.layers.iter();
        layers.try_fold(input, |shape, layer| layer.output(shape))
    }

    /// Rounds pixels to `T` and runs all layers.
    ///
    /// # Errors
    /// When the pixels are fewer than a window holds.
    pub fn forward_pixels(&self, pixels: &Maps<f32>) -> Result<Maps<T>> {
        let size = pixels.size();
        let shape = self.shape(size, pixels.channels());
        shape.ok_or(Error::Vision(VisionError::TooFewPixels { size }))?;
        let values = pixels.values().iter().map(|x| T::from_f32(*x)).collect();
        let pixels = Maps::new(values, pixels.shape());
        Ok(self.forward(pixels, &mut Buffers::new()))
    }

    /// Runs all layers; returns the maps of the last.
    ///
    /// # Panics
    /// When [`shape`](Self::shape) returns `None`.
    pub fn forward(&self, pixels: Maps<T>, buffers: &mut Buffers<T>) -> Maps<T> {
        let mut maps = pixels;
        for layer in &self.layers {
            let next = layer.run(&maps, buffers);
            buffers.give(std::mem::replace(&mut maps, next));
        }
        maps
    }
}
