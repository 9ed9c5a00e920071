//! How do weights become the blocks of a ResNet? By the names that their family of files has.

use super::{Block, EPSILON, ResNet, Stage, StrideOn};
use crate::Result;
use crate::backbone::convolution::{After, Convolution, Kernel};
use crate::backbone::folding::Names;
use crate::backbone::number::Number;
use crate::backbone::pool::{Edge, Pool, Pooling};
use crate::backbone::trunk::{Layer, Step};
use crate::backbone::window::Window;
use uard_hub::weights::Weights;

/// What layers are called, and how the first pool treats the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// `conv1`, `bn1`, `layer1.0.conv1`, `layer1.0.downsample.0`; the pool has padding.
    Torchvision,
    /// `stem.conv1`, `stem.conv1.norm`, `res2.0.conv1`, `res2.0.shortcut`; weights come from Caffe,
    /// whose pool hangs over the edge.
    Detectron,
}

/// Where the weights of a ResNet are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub weights: &'a Weights,
    /// Before every name.
    pub prefix: &'a str,
    pub family: Family,
}

/// How a stage treats height and width.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// Its first block moves by so many pixels.
    Stride(usize),
    /// It keeps them, and its 3 x 3 windows are dilated.
    Dilation(usize),
}

/// A convolution and its batch norm.
struct Named {
    convolution: String,
    norm: String,
}

impl Source<'_> {
    fn stem(&self) -> Named {
        let (convolution, norm) = match self.family {
            Family::Torchvision => ("conv1", "bn1"),
            Family::Detectron => ("stem.conv1", "stem.conv1.norm"),
        };
        self.named(convolution, norm)
    }

    /// The block's convolutions are counted from 1.
    fn convolution(&self, stage: Stage, block: usize, at: usize) -> Named {
        let block = self.block(stage, block);
        let convolution = format!("{block}.conv{at}");
        let norm = match self.family {
            Family::Torchvision => format!("{block}.bn{at}"),
            Family::Detectron => format!("{convolution}.norm"),
        };
        self.named(&convolution, &norm)
    }

    fn shortcut(&self, stage: Stage, block: usize) -> Named {
        let block = self.block(stage, block);
        let (convolution, norm) = match self.family {
            Family::Torchvision => ("downsample.0", "downsample.1"),
            Family::Detectron => ("shortcut", "shortcut.norm"),
        };
        self.named(
            &format!("{block}.{convolution}"),
            &format!("{block}.{norm}"),
        )
    }

    fn block(&self, stage: Stage, block: usize) -> String {
        match self.family {
            Family::Torchvision => format!("layer{}.{block}", stage as usize + 1),
            Family::Detectron => format!("res{}.{block}", stage as usize + 2),
        }
    }

    fn named(&self, convolution: &str, norm: &str) -> Named {
        Named {
            convolution: format!("{}{convolution}", self.prefix),
            norm: format!("{}{norm}", self.prefix),
        }
    }

    fn edge(&self) -> (Edge, usize) {
        match self.family {
            Family::Torchvision => (Edge::Inside, 1),
            Family::Detectron => (Edge::Over, 0),
        }
    }
}

/// Builds layers one after the other.
pub(super) struct Builder<'a> {
    config: ResNet,
    source: Source<'a>,
    /// Of the last layer.
    pub channels: usize,
}

impl<'a> Builder<'a> {
    pub fn new(config: ResNet, source: Source<'a>) -> Self {
        Self {
            config,
            source,
            channels: config.width,
        }
    }

    /// The first convolution and the pool after it.
    pub fn stem<T: Number>(&self) -> Result<Vec<Layer<T>>> {
        let channels = (self.config.width, 3);
        let window = Window::square(7, 2, 3);
        let stem = self.convolution(&self.source.stem(), channels, window, After::Relu)?;
        let (edge, padding) = self.source.edge();
        let pool = Pool {
            window: Window::square(3, 2, padding),
            edge,
            pooling: Pooling::Max,
        };
        Ok(vec![
            Layer::Step(Step::Convolution(stem)),
            Layer::Step(Step::Pool(pool)),
        ])
    }

    /// The blocks of a stage.
    pub fn stage<T: Number>(&mut self, stage: Stage, pace: Pace) -> Result<Vec<Layer<T>>> {
        let blocks = 0..self.config.blocks[stage as usize];
        let blocks = blocks.map(|block| match (pace, block) {
            (Pace::Stride(_), 1..) => self.block(stage, block, Pace::Stride(1)),
            _ => self.block(stage, block, pace),
        });
        blocks.collect()
    }

    fn block<T: Number>(&mut self, stage: Stage, block: usize, pace: Pace) -> Result<Layer<T>> {
        let outputs = self.config.channels(stage);
        let mut inputs = self.channels;
        let mut body = Vec::new();
        for (at, (outputs, window)) in self.links(stage, pace).into_iter().enumerate() {
            let named = self.source.convolution(stage, block, at + 1);
            // After the last, ReLU follows the shortcut, which the convolution adds itself.
            body.push(self.convolution(&named, (outputs, inputs), window, After::Relu)?);
            inputs = outputs;
        }
        let stride = pace.stride();
        let shortcut = if stride != 1 || self.channels != outputs {
            let named = self.source.shortcut(stage, block);
            let channels = (outputs, self.channels);
            let window = Window::square(1, stride, 0);
            Some(self.convolution(&named, channels, window, After::Nothing)?)
        } else {
            None
        };
        self.channels = outputs;
        Ok(Layer::Residual { body, shortcut })
    }

    /// Output channels and windows of a block's convolutions.
    fn links(&self, stage: Stage, pace: Pace) -> Vec<(usize, Window)> {
        let inner = self.config.width << stage as usize;
        let stride = pace.stride();
        let point = |stride| Window::square(1, stride, 0);
        let spatial = |stride| match pace {
            Pace::Stride(_) => Window::square(3, stride, 1),
            Pace::Dilation(dilation) => Window::dilated(3, dilation),
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
        named: &Named,
        channels: (usize, usize),
        window: Window,
        after: After,
    ) -> Result<Convolution<T>> {
        let names = Names {
            convolution: &named.convolution,
            norm: &named.norm,
        };
        let weights = self.source.weights;
        let kernel = Kernel::folded(weights, names, channels, window.kernel, EPSILON)?;
        Ok(Convolution::new(&kernel, window, after))
    }
}

impl Pace {
    fn stride(self) -> usize {
        match self {
            Self::Stride(stride) => stride,
            Self::Dilation(_) => 1,
        }
    }
}
