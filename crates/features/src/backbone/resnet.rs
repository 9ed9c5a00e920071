//! What are the layers of a ResNet?

use serde::{Deserialize, Serialize};
use uard_linalg::matmul::Matmul;

mod blocks;

use self::blocks::{Builder, Pace};
pub(crate) use self::blocks::{Family, Source};
use super::error::VisionError;
use super::network::{Form, Network};
use super::number::Number;
use super::trunk::Trunk;
use crate::Result;
use uard_hub::weights::Weights;

/// Of the batch norms, PyTorch's.
const EPSILON: f64 = 1e-5;

/// The kind of a block, and how many times as many channels it puts out as it has inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// Two 3 x 3 convolutions: ResNet-18 and 34.
    Basic,
    /// 1 x 1, 3 x 3 and 1 x 1, with four times as many channels outside: from ResNet-50 on.
    Bottleneck(StrideOn),
}

/// Which convolution of a bottleneck moves by two pixels where maps become smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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
        let source = Source {
            weights,
            prefix: "",
            family: Family::Torchvision,
        };
        Ok(Network::new(match matmul {
            Matmul::F32 => Form::F32(self.trunk(source, stages)?),
            Matmul::Bf16 => Form::Bf16(self.trunk(source, stages)?),
        }))
    }

    /// Of any stage.
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

    /// The layers up to the last of some stages.
    pub(crate) fn trunk<T: Number>(
        &self,
        source: Source<'_>,
        stages: &[Stage],
    ) -> Result<Trunk<T>> {
        let last = stages.iter().max().ok_or(VisionError::NoStage)?;
        let mut builder = Builder::new(*self, source);
        let mut layers = builder.stem()?;
        let mut outputs = Vec::new();
        for stage in Stage::ALL.into_iter().filter(|stage| stage <= last) {
            let stride = if stage == Stage::C2 { 1 } else { 2 };
            layers.extend(builder.stage(stage, Pace::Stride(stride))?);
            if stages.contains(&stage) {
                outputs.push(layers.len() - 1);
            }
        }
        Ok(Trunk { layers, outputs })
    }

    /// The fifth stage alone, for maps of the fourth: it keeps their height and width, and its
    /// 3 x 3 windows see every second pixel instead.
    pub(crate) fn dilated_c5<T: Number>(&self, source: Source<'_>) -> Result<Trunk<T>> {
        let mut builder = Builder::new(*self, source);
        builder.channels = self.channels(Stage::C4);
        let layers = builder.stage(Stage::C5, Pace::Dilation(2))?;
        let outputs = vec![layers.len() - 1];
        Ok(Trunk { layers, outputs })
    }
}
