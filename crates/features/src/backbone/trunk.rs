//! How do layers make a network? As a list of steps, of parallel branches, and of blocks with a
//! shortcut.

use super::convolution::{Convolution, Target};
use super::error::VisionError;
use super::maps::{Buffers, Maps};
use super::number::Number;
use super::pool::Pool;
use crate::{Error, Result};

/// A convolution or a pool.
#[derive(Debug)]
pub(crate) enum Step<T> {
    Convolution(Convolution<T>),
    Pool(Pool),
}

/// Steps one after the other; where the last ones are several, each reads what came before them.
#[derive(Debug)]
pub(crate) struct Branch<T> {
    pub chain: Vec<Step<T>>,
    pub ends: Vec<Step<T>>,
}

/// A layer of a network.
#[derive(Debug)]
pub(crate) enum Layer<T> {
    Step(Step<T>),
    /// Branches side by side; their channels are joined in order.
    Mixed(Vec<Branch<T>>),
    /// Convolutions, to the last of which the input is added, by way of another convolution where
    /// shapes differ.
    Residual {
        body: Vec<Convolution<T>>,
        shortcut: Option<Convolution<T>>,
    },
}

/// Layers one after the other, and the layers whose maps are wanted.
#[derive(Debug)]
pub(crate) struct Trunk<T> {
    pub layers: Vec<Layer<T>>,
    /// In ascending order; the last is the last layer.
    pub outputs: Vec<usize>,
}

/// Height, width and channels.
type Shape = ((usize, usize), usize);

impl<T: Number> Step<T> {
    fn size(&self, input: (usize, usize)) -> Option<(usize, usize)> {
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

    fn output(&self, (size, channels): Shape) -> Option<Shape> {
        Some((self.size(size)?, self.channels(channels)))
    }

    fn run_into(&self, input: &Maps<T>, target: Target<'_, T>) {
        match self {
            Self::Convolution(layer) => layer.forward_into(input, target, None),
            Self::Pool(pool) => pool.forward_into(input, target),
        }
    }

    fn run(&self, input: &Maps<T>, buffers: &mut Buffers<T>) -> Maps<T> {
        let (height, width) = self.size(input.size()).unwrap_or_default();
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
    /// Of each end.
    fn outputs(&self, input: Shape) -> Option<Vec<Shape>> {
        let mut chain = self.chain.iter();
        let before = chain.try_fold(input, |shape, step| step.output(shape))?;
        self.ends.iter().map(|end| end.output(before)).collect()
    }

    /// Writes to the target from its channel on, and says how many channels that were.
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
    /// `None` where a window does not fit once.
    fn output(&self, input: Shape) -> Option<Shape> {
        match self {
            Self::Step(step) => step.output(input),
            Self::Mixed(branches) => {
                let ends: Option<Vec<Vec<Shape>>> = branches
                    .iter()
                    .map(|branch| branch.outputs(input))
                    .collect();
                let ends = ends?.concat();
                let channels = ends.iter().map(|(_, channels)| channels).sum();
                Some((ends.first()?.0, channels))
            }
            Self::Residual { body, .. } => body.iter().try_fold(input, |(size, _), layer| {
                Some((layer.window().output(size)?, layer.outputs()))
            }),
        }
    }

    fn run(&self, input: &Maps<T>, buffers: &mut Buffers<T>) -> Maps<T> {
        match self {
            Self::Step(step) => step.run(input, buffers),
            Self::Mixed(branches) => {
                let output = self.output((input.size(), input.channels()));
                let ((height, width), channels) = output.unwrap_or_default();
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
    let (height, width) = layer.window().output(input.size()).unwrap_or_default();
    let mut maps = buffers.take([input.photos(), height, width, layer.outputs()]);
    let target = Target {
        maps: &mut maps,
        channel: 0,
    };
    layer.forward_into(input, target, added);
    maps
}

impl<T: Number> Trunk<T> {
    /// Height, width and channels of each of the wanted maps; `None` where the pixels are too few
    /// for a window.
    pub fn shapes(&self, size: (usize, usize), channels: usize) -> Option<Vec<Shape>> {
        let mut shape = (size, channels);
        let mut shapes = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            shape = layer.output(shape)?;
            if self.outputs.contains(&at) {
                shapes.push(shape);
            }
        }
        Some(shapes)
    }

    /// The wanted maps of pixels, rounded to `T`.
    ///
    /// # Errors
    /// When there are fewer pixels than a window has.
    pub fn of_pixels(&self, pixels: &Maps<f32>) -> Result<Vec<Maps<T>>> {
        let (height, width) = pixels.size();
        let shapes = self.shapes((height, width), pixels.channels());
        shapes.ok_or(Error::Vision(VisionError::TooFewPixels { height, width }))?;
        let values = pixels.values().iter().map(|x| T::from_f32(*x)).collect();
        let pixels = Maps::new(values, pixels.shape());
        Ok(self.forward(pixels, &mut Buffers::new()))
    }

    /// The wanted maps.
    ///
    /// # Panics
    /// Where [`shapes`](Self::shapes) gives none.
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
