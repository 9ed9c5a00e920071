//! Builds the blocks of a ResNet from weights in torchvision's or detectron's names.

use super::{Block, EPSILON, ResNet, Stage, StrideOn};
use crate::Result;
use crate::backbone::convolution::{Channels, Convolution, Kernel, Nonlinearity};
use crate::backbone::folding::ConvolutionNames;
use crate::backbone::number::Number;
use crate::backbone::pool::{Pool, Pooling, SizeRounding};
use crate::backbone::trunk::{Layer, Step};
use crate::backbone::window::Window;
use uard_hub::weights::Weights;

/// The names of the tensors in a file. The first pool differs between the two as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResNetNames {
    /// `conv1`, `bn1`, `layer1.0.conv1`, `layer1.0.downsample.0`; the pool has padding.
    Torchvision,
    /// `stem.conv1`, `stem.conv1.norm`, `res2.0.conv1`, `res2.0.shortcut`; weights come from Caffe,
    /// whose pool rounds the size of its output up.
    Detectron,
}

/// A file with the weights of a ResNet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResNetWeights<'a> {
    pub weights: &'a Weights,
    /// What every name begins with.
    pub prefix: &'a str,
    pub names: ResNetNames,
}

/// Whether a stage makes maps smaller.
#[derive(Debug, Clone, Copy)]
pub(super) enum StrideOrDilation {
    /// The first block of the stage has this stride.
    Stride(usize),
    /// The stage keeps height and width, and its 3 x 3 windows have this dilation.
    Dilation(usize),
}

impl ResNetWeights<'_> {
    fn stem(&self) -> ConvolutionNames {
        let (convolution, norm) = match self.names {
            ResNetNames::Torchvision => ("conv1", "bn1"),
            ResNetNames::Detectron => ("stem.conv1", "stem.conv1.norm"),
        };
        self.prefixed(convolution, norm)
    }

    /// The names of the `at`-th convolution of a block, counted from 1.
    fn convolution(&self, stage: Stage, block: usize, at: usize) -> ConvolutionNames {
        let block = self.block(stage, block);
        let convolution = format!("{block}.conv{at}");
        let norm = match self.names {
            ResNetNames::Torchvision => format!("{block}.bn{at}"),
            ResNetNames::Detectron => format!("{convolution}.norm"),
        };
        self.prefixed(&convolution, &norm)
    }

    fn shortcut(&self, stage: Stage, block: usize) -> ConvolutionNames {
        let block = self.block(stage, block);
        let (convolution, norm) = match self.names {
            ResNetNames::Torchvision => ("downsample.0", "downsample.1"),
            ResNetNames::Detectron => ("shortcut", "shortcut.norm"),
        };
        self.prefixed(
            &format!("{block}.{convolution}"),
            &format!("{block}.{norm}"),
        )
    }

    fn block(&self, stage: Stage, block: usize) -> String {
        match self.names {
            ResNetNames::Torchvision => format!("layer{}.{block}", stage as usize + 1),
            ResNetNames::Detectron => format!("res{}.{block}", stage as usize + 2),
        }
    }

    fn prefixed(&self, convolution: &str, norm: &str) -> ConvolutionNames {
        ConvolutionNames {
            convolution: format!("{}{convolution}", self.prefix),
            norm: format!("{}{norm}", self.prefix),
        }
    }

    fn first_pool(&self) -> Pool {
        let (rounding, padding) = match self.names {
            ResNetNames::Torchvision => (SizeRounding::Floor, 1),
            ResNetNames::Detectron => (SizeRounding::Ceil, 0),
        };
        Pool {
            window: Window::square(3, 2, padding),
            rounding,
            pooling: Pooling::Max,
        }
    }
}

/// Builds the layers of a ResNet from the first to the last.
pub(super) struct Builder<'a> {
    config: ResNet,
    weights: ResNetWeights<'a>,
    /// Output channels of the last layer so far.
    pub channels: usize,
}

impl<'a> Builder<'a> {
    pub fn new(config: ResNet, weights: ResNetWeights<'a>) -> Self {
        Self {
            config,
            weights,
            channels: config.width,
        }
    }

    /// The first convolution and the pool after it.
    pub fn stem<T: Number>(&self) -> Result<Vec<Layer<T>>> {
        let channels = Channels {
            outputs: self.config.width,
            inputs: 3,
        };
        let window = Window::square(7, 2, 3);
        let stem = self.convolution(&self.weights.stem(), channels, window, Nonlinearity::Relu)?;
        Ok(vec![
            Layer::Step(Step::Convolution(stem)),
            Layer::Step(Step::Pool(self.weights.first_pool())),
        ])
    }

    /// The blocks of a stage.
    pub fn stage<T: Number>(
        &mut self,
        stage: Stage,
        steps: StrideOrDilation,
    ) -> Result<Vec<Layer<T>>> {
        let blocks = 0..self.config.blocks[stage as usize];
        let blocks = blocks.map(|block| match (steps, block) {
            (StrideOrDilation::Stride(_), 1..) => {
                self.block(stage, block, StrideOrDilation::Stride(1))
            }
            _ => self.block(stage, block, steps),
        });
        blocks.collect()
    }

    fn block<T: Number>(
        &mut self,
        stage: Stage,
        block: usize,
        steps: StrideOrDilation,
    ) -> Result<Layer<T>> {
        let outputs = self.config.channels(stage);
        let mut inputs = self.channels;
        let mut body = Vec::new();
        let convolutions = self.block_convolutions(stage, steps).into_iter();
        for (at, (outputs, window)) in convolutions.enumerate() {
            let names = self.weights.convolution(stage, block, at + 1);
            let channels = Channels { outputs, inputs };
            // The last convolution adds the shortcut before its ReLU.
            body.push(self.convolution(&names, channels, window, Nonlinearity::Relu)?);
            inputs = outputs;
        }
        let stride = steps.stride();
        let shortcut = if stride != 1 || self.channels != outputs {
            let names = self.weights.shortcut(stage, block);
            let channels = Channels {
                outputs,
                inputs: self.channels,
            };
            let window = Window::square(1, stride, 0);
            Some(self.convolution(&names, channels, window, Nonlinearity::Identity)?)
        } else {
            None
        };
        self.channels = outputs;
        Ok(Layer::Residual { body, shortcut })
    }

    /// Output channels and windows of a block's convolutions.
    fn block_convolutions(&self, stage: Stage, steps: StrideOrDilation) -> Vec<(usize, Window)> {
        let inner = self.config.width << stage as usize;
        let stride = steps.stride();
        let point = |stride| Window::square(1, stride, 0);
        let spatial = |stride| match steps {
            StrideOrDilation::Stride(_) => Window::square(3, stride, 1),
            StrideOrDilation::Dilation(dilation) => Window::dilated(3, dilation),
        };
        match self.config.block {
            Block::Basic => vec![(inner, spatial(stride)), (inner, spatial(1))],
            Block::Bottleneck(on) => {
                let (first, middle) = match on {
                    StrideOn::Middle => (1, stride),
                    StrideOn::First => (stride, 1),
                };
                vec![
                    (inner, point(first)),
                    (inner, spatial(middle)),
                    (4 * inner, point(1)),
                ]
            }
        }
    }

    fn convolution<T: Number>(
        &self,
        names: &ConvolutionNames,
        channels: Channels,
        window: Window,
        nonlinearity: Nonlinearity,
    ) -> Result<Convolution<T>> {
        let weights = self.weights.weights;
        let kernel = Kernel::folded(weights, names, channels, window.kernel, EPSILON)?;
        Ok(Convolution::new(&kernel, window, nonlinearity))
    }
}

impl StrideOrDilation {
    fn stride(self) -> usize {
        match self {
            Self::Stride(stride) => stride,
            Self::Dilation(_) => 1,
        }
    }
}
