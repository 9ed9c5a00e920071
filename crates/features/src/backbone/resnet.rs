//! ResNet-18 to 101 without their classifier.

use serde::Serialize;
use uard_linalg::matmul::Matmul;

mod blocks;

use self::blocks::{Builder, StrideOrDilation};
pub(crate) use self::blocks::{ResNetNames, ResNetWeights};
use super::network::{Architecture, Network};
use super::number::Number;
use super::trunk::Trunk;
use crate::Result;
use uard_hub::weights::Weights;

/// Added to the variance in batch norms, as in PyTorch.
const EPSILON: f64 = 1e-5;

/// The kind of a residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// Two 3 x 3 convolutions of equal width: ResNet-18 and 34.
    Basic,
    /// 1 x 1, 3 x 3 and 1 x 1, the last with four times as many channels: from ResNet-50 on.
    Bottleneck(StrideOn),
}

/// Which convolution of a stage's first bottleneck has stride 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StrideOn {
    /// The 3 x 3, as in torchvision and timm ("ResNet v1.5").
    Middle,
    /// The first 1 x 1, as in the original network for Caffe.
    First,
}

/// A stage of a ResNet. The names C2 to C5 are those of its feature maps in papers on feature pyramids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// `layer1`: maps of a quarter of the pixels' height and width.
    C2,
    /// `layer2`: maps of an eighth.
    C3,
    /// `layer3`: maps of a sixteenth.
    C4,
    /// `layer4`: maps of a thirty-second.
    C5,
}

impl Stage {
    const ALL: [Self; 4] = [Self::C2, Self::C3, Self::C4, Self::C5];
}

/// A ResNet without its classifier.
///
/// Weights have the names of torchvision and of timm's plain ResNets (`conv1.weight`, `bn1.weight`,
/// `layer1.0.conv1.weight`, `layer1.0.downsample.0.weight`, …), with batch norms or folded.
///
/// # Source
/// He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ResNet {
    /// The kind of its blocks.
    pub block: Block,
    /// The number of blocks of each stage.
    pub blocks: [usize; 4],
    /// Channels after the first convolution and inside the blocks of the first stage: 64 in every
    /// published network.
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

    /// Reads the weights of all layers up to the stage `last`, whose maps the network returns.
    ///
    /// # Errors
    /// When a weight is missing or has another shape; the error names it.
    pub fn load(&self, weights: &Weights, last: Stage, matmul: Matmul) -> Result<Network> {
        let weights = ResNetWeights {
            weights,
            prefix: "",
            names: ResNetNames::Torchvision,
        };
        Ok(Network::new(match matmul {
            Matmul::F32 => Architecture::ConvolutionsF32(self.trunk(weights, last)?),
            Matmul::Bf16 => Architecture::ConvolutionsBf16(self.trunk(weights, last)?),
        }))
    }

    /// The smallest number of blocks in a stage.
    pub(crate) fn fewest_blocks(&self) -> usize {
        self.blocks.into_iter().min().unwrap_or_default()
    }

    /// Output channels of a stage.
    pub(crate) fn channels(&self, stage: Stage) -> usize {
        let inner = self.width << stage as usize;
        match self.block {
            Block::Basic => inner,
            Block::Bottleneck(_) => 4 * inner,
        }
    }

    /// Reads the layers up to the stage `last`, whose maps are returned.
    pub(crate) fn trunk<T: Number>(
        &self,
        weights: ResNetWeights<'_>,
        last: Stage,
    ) -> Result<Trunk<T>> {
        let mut builder = Builder::new(*self, weights);
        let mut layers = builder.stem()?;
        for stage in Stage::ALL.into_iter().filter(|stage| *stage <= last) {
            let stride = if stage == Stage::C2 { 1 } else { 2 };
            layers.extend(builder.stage(stage, StrideOrDilation::Stride(stride))?);
        }
        Ok(Trunk { layers })
    }

    /// Reads stage C5 alone, which runs on maps of C4. It keeps their height and width: its windows
    /// of 3 x 3 have stride 1 and dilation 2.
    pub(crate) fn dilated_c5<T: Number>(&self, weights: ResNetWeights<'_>) -> Result<Trunk<T>> {
        let mut builder = Builder::new(*self, weights);
        builder.channels = self.channels(Stage::C4);
        let layers = builder.stage(Stage::C5, StrideOrDilation::Dilation(2))?;
        Ok(Trunk { layers })
    }
}
