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

/// `chain` holds steps that run one after the other. Each step of `ends` reads the output of the
/// chain; the outputs of the ends are concatenated.
#[derive(Debug)]
pub(crate) struct Branch<T> {
    pub chain: Vec<Step<T>>,
    pub ends: Vec<Step<T>>,
}

/// A layer of a network.
#[derive(Debug)]
pub(crate) enum Layer<T> {
    Step(Step<T>),
    /// Branches that read the same input; their channels are concatenated in order.
    Mixed(Vec<Branch<T>>),
    /// The input is added to the output of the last convolution of `body`, after the convolution
    /// `shortcut` where their shapes differ.
    Residual {
        body: Vec<Convolution<T>>,
        shortcut: Option<Convolution<T>>,
    },
}

/// Layers that run one after the other, and which of their maps are returned.
#[derive(Debug)]
pub(crate) struct Trunk<T> {
    pub layers: Vec<Layer<T>>,
    /// Indices of the layers whose maps are returned, ascending; the last index is that of the last
    /// layer.
    pub outputs: Vec<usize>,
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

impl<T: Number> Branch<T> {
    /// Height, width and channels of the output of each end.
    fn outputs(&self, input: [usize; 3]) -> Option<Vec<[usize; 3]>> {
        let mut chain = self.chain.iter();
        let before = chain.try_fold(input, |shape, step| step.output(shape))?;
        self.ends.iter().map(|end| end.output(before)).collect()
    }

    /// Runs the branch, writes its output to the target from the target's channel on, and returns
    /// how many channels were written.
    fn run(&self, input: &Maps<T>, target: Target<'_, T>, buffers: &mut Buffers<T>) -> usize {
        let Target { maps, channel } = target;
        let mut before: Option<Maps<T>> = None;
        for step in &self.chain {
            let maps = step.run(before.as_ref().unwrap_or(input), buffers);
            buffers.give(before.replace(maps));
        }
        let input = before.as_ref().unwrap_or(input);
        let mut at = channel;
        for end in &self.ends {
            let target = Target { maps, channel: at };
            end.run_into(input, target);
            at += end.channels(input.channels());
        }
        buffers.give(before);
        at - channel
    }
}

impl<T: Number> Layer<T> {
    /// Height, width and channels of the output; `None` where the padded input is smaller than a
    /// window.
    fn output(&self, input: [usize; 3]) -> Option<[usize; 3]> {
        match self {
            Self::Step(step) => step.output(input),
            Self::Mixed(branches) => {
                let ends = branches.iter().map(|branch| branch.outputs(input));
                let ends = ends.collect::<Option<Vec<_>>>()?.concat();
                let channels = ends.iter().map(|[.., channels]| channels).sum();
                let [height, width, _] = *ends.first()?;
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
                    channel += branch.run(input, target, buffers);
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
    /// Height, width and channels of each of the returned maps, for an input of a size and number
    /// of channels; `None` where the pixels are fewer than a window holds.
    pub fn shapes(&self, size: Size, channels: usize) -> Option<Vec<[usize; 3]>> {
        let mut shape = [size.height, size.width, channels];
        let mut shapes = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            shape = layer.output(shape)?;
            if self.outputs.contains(&at) {
                shapes.push(shape);
            }
        }
        Some(shapes)
    }

    /// Rounds pixels to `T` and runs all layers.
    ///
    /// # Errors
    /// When the pixels are fewer than a window holds.
    pub fn forward_pixels(&self, pixels: &Maps<f32>) -> Result<Vec<Maps<T>>> {
        let size = pixels.size();
        let shapes = self.shapes(size, pixels.channels());
        shapes.ok_or(Error::Vision(VisionError::TooFewPixels { size }))?;
        let values = pixels.values().iter().map(|x| T::from_f32(*x)).collect();
        let pixels = Maps::new(values, pixels.shape());
        Ok(self.forward(pixels, &mut Buffers::new()))
    }

    /// Runs all layers; returns the maps of the layers in `outputs`.
    ///
    /// # Panics
    /// When [`shapes`](Self::shapes) returns `None`.
    pub fn forward(&self, pixels: Maps<T>, buffers: &mut Buffers<T>) -> Vec<Maps<T>> {
        let mut kept = Vec::new();
        let mut maps = pixels;
        for (at, layer) in self.layers.iter().enumerate() {
            let next = layer.run(&maps, buffers);
            let before = std::mem::replace(&mut maps, next);
            if at > 0 && self.outputs.contains(&(at - 1)) {
                kept.push(before);
            } else {
                buffers.give(before);
            }
        }
        kept.push(maps);
        kept
    }
}
