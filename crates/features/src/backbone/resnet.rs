//! What are the layers of a ResNet?

use serde::{Deserialize, Serialize};
use uard_core::matmul::Matmul;

use super::convolution::{After, Convolution};
use super::folding::Names;
use super::network::{Form, Network};
use super::number::Number;
use super::pool::{Pool, Pooling};
use super::trunk::{Layer, Step, Trunk};
use super::window::Window;
use crate::Result;
use crate::weights::Weights;

/// Of the batch norms, PyTorch's.
const EPSILON: f64 = 1e-5;

/// The kind of a block, and how many times as many channels it puts out as it has inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Two 3 x 3 convolutions: ResNet-18 and 34.
    Basic,
    /// 1 x 1, 3 x 3 and 1 x 1, with four times as many channels outside: from ResNet-50 on.
    Bottleneck(StrideOn),
}

/// Which convolution of a bottleneck moves by two pixels where maps become smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrideOn {
    /// The 3 x 3: torchvision and timm ("ResNet v1.5").
    Middle,
    /// The first 1 x 1: the original, Caffe's.
    First,
}

/// A stage, by the name that its maps have in the literature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// `layer1`: a quarter of the pixels' height and width.
    C2,
    /// `layer2`: an eighth.
    C3,
    /// `layer3`: a sixteenth.
    C4,
    /// `layer4`: a thirty-second.
    C5,
}

/// A ResNet without its classifier.
///
/// Weights have the names of torchvision and of timm's plain ResNets (`conv1.weight`, `bn1.weight`,
/// `layer1.0.conv1.weight`, `layer1.0.downsample.0.weight`, …), with batch norms or folded.
///
/// # Source
/// He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResNet {
    /// The kind of its blocks.
    pub block: Block,
    /// Blocks of each stage.
    pub blocks: [usize; 4],
    /// Channels after the first convolution and inside of the first stage: 64 in every published
    /// network.
    pub width: usize,
}

impl ResNet {
    /// ResNet-18.
    pub const R18: Self = Self::basic([2, 2, 2, 2]);
    /// ResNet-34.
    pub const R34: Self = Self::basic([3, 4, 6, 3]);
    /// ResNet-50.
    pub const R50: Self = Self::bottleneck([3, 4, 6, 3]);
    /// ResNet-101.
    pub const R101: Self = Self::bottleneck([3, 4, 23, 3]);

    const fn basic(blocks: [usize; 4]) -> Self {
        Self {
            block: Block::Basic,
            blocks,
            width: 64,
        }
    }

    const fn bottleneck(blocks: [usize; 4]) -> Self {
        Self {
            block: Block::Bottleneck(StrideOn::Middle),
            blocks,
            width: 64,
        }
    }

    /// Reads the weights of all layers up to the last of some stages; the network has the map of
    /// each, in ascending order.
    ///
    /// # Errors
    /// When a weight is missing or has another shape, by name; when no stage is asked for.
    pub fn load(&self, weights: &Weights, stages: &[Stage], matmul: Matmul) -> Result<Network> {
        Ok(Network::new(match matmul {
            Matmul::F32 => Form::F32(self.trunk(weights, stages)?),
            Matmul::Bf16 => Form::Bf16(self.trunk(weights, stages)?),
        }))
    }

    fn trunk<T: Number>(&self, weights: &Weights, stages: &[Stage]) -> Result<Trunk<T>> {
        let last = stages.iter().max().ok_or(crate::Error::NoStage)?;
        let mut builder = Builder {
            weights,
            config: *self,
            channels: self.width,
        };
        let stem = ("conv1", "bn1");
        let window = Window::square(7, 2, 3);
        let stem = builder.convolution(stem, (self.width, 3), window, After::Relu)?;
        let pool = Pool {
            window: Window::square(3, 2, 1),
            pooling: Pooling::Max,
        };
        let mut layers = vec![
            Layer::Step(Step::Convolution(stem)),
            Layer::Step(Step::Pool(pool)),
        ];
        let mut outputs = Vec::new();
        for (at, stage) in [Stage::C2, Stage::C3, Stage::C4, Stage::C5]
            .into_iter()
            .enumerate()
            .filter(|(_, stage)| stage <= last)
        {
            for block in 0..self.blocks[at] {
                layers.push(builder.block(at, block)?);
            }
            if stages.contains(&stage) {
                outputs.push(layers.len() - 1);
            }
        }
        Ok(Trunk { layers, outputs })
    }
}

struct Builder<'a> {
    weights: &'a Weights,
    config: ResNet,
    /// Of the last layer.
    channels: usize,
}

impl Builder<'_> {
    fn convolution<T: Number>(
        &self,
        (convolution, norm): (&str, &str),
        channels: (usize, usize),
        window: Window,
        after: After,
    ) -> Result<Convolution<T>> {
        let names = Names { convolution, norm };
        let weights = self.weights;
        let kernel = weights.convolution(names, channels, window.kernel, EPSILON)?;
        Ok(Convolution::new(&kernel, window, after))
    }

    fn block<T: Number>(&mut self, stage: usize, block: usize) -> Result<Layer<T>> {
        let name = format!("layer{}.{block}", stage + 1);
        let stride = if stage > 0 && block == 0 { 2 } else { 1 };
        let inner = self.config.width << stage;
        let spatial = |stride| Window::square(3, stride, 1);
        let point = |stride| Window::square(1, stride, 0);
        let (links, outputs) = match self.config.block {
            Block::Basic => (vec![(inner, spatial(stride)), (inner, spatial(1))], inner),
            Block::Bottleneck(on) => {
                let (first, middle) = match on {
                    StrideOn::Middle => (1, stride),
                    StrideOn::First => (stride, 1),
                };
                let links = vec![
                    (inner, point(first)),
                    (inner, spatial(middle)),
                    (4 * inner, point(1)),
                ];
                (links, 4 * inner)
            }
        };
        let mut inputs = self.channels;
        let mut body = Vec::new();
        for (at, (outputs, window)) in links.into_iter().enumerate() {
            let names = (
                format!("{name}.conv{}", at + 1),
                format!("{name}.bn{}", at + 1),
            );
            let names = (names.0.as_str(), names.1.as_str());
            // After the last, ReLU follows the shortcut, which the convolution adds itself.
            body.push(self.convolution(names, (outputs, inputs), window, After::Relu)?);
            inputs = outputs;
        }
        let shortcut = if stride != 1 || self.channels != outputs {
            let names = (
                format!("{name}.downsample.0"),
                format!("{name}.downsample.1"),
            );
            let names = (names.0.as_str(), names.1.as_str());
            let channels = (outputs, self.channels);
            Some(self.convolution(names, channels, point(stride), After::Nothing)?)
        } else {
            None
        };
        self.channels = outputs;
        Ok(Layer::Residual { body, shortcut })
    }
}
