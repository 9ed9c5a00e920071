//! Inception-v3 up to and with `Mixed_7a`.

use uard_linalg::matmul::Matmul;

use super::convolution::{Channels, Convolution, Kernel, Nonlinearity};
use super::folding::ConvolutionNames;
use super::network::{Architecture, Network};
use super::number::Number;
use super::pool::{Pool, Pooling, SizeRounding};
use super::trunk::{Layer, Step, Trunk};
use super::window::Window;
use crate::Result;
use uard_hub::weights::Weights;

/// Added to the variance in batch norms, as in TensorFlow's implementation and in timm.
const EPSILON: f64 = 1e-3;

/// The trunk of Inception-v3 through `Mixed_7a`: 299 x 299 pixels become 8 x 8 cells of 1280
/// channels.
///
/// Weights have timm's names (`Mixed_7a.branch3x3_1.conv.weight`, `Mixed_7a.branch3x3_1.bn.weight`,
/// …), with batch norms or folded (`….conv.bias`); weights of layers after `Mixed_7a` are not read.
/// Average pools leave padding out, as in the training with TensorFlow; torchvision's count it.
///
/// # Source
/// Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016, as
/// published with weights by TensorFlow and ported by timm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InceptionV3 {
    /// Every number of channels is divided by this: 1 gives the published network, 16 a small one
    /// for tests.
    pub divisor: usize,
}

impl Default for InceptionV3 {
    fn default() -> Self {
        Self { divisor: 1 }
    }
}

impl InceptionV3 {
    /// Reads the weights. The network returns the maps of `Mixed_7a`.
    ///
    /// # Errors
    /// When a weight is missing or has another shape; the error names it.
    pub fn load(&self, weights: &Weights, matmul: Matmul) -> Result<Network> {
        Ok(Network::new(match matmul {
            Matmul::F32 => Architecture::ConvolutionsF32(self.trunk(weights)?),
            Matmul::Bf16 => Architecture::ConvolutionsBf16(self.trunk(weights)?),
        }))
    }

    fn trunk<T: Number>(&self, weights: &Weights) -> Result<Trunk<T>> {
        let mut builder = Builder {
            config: *self,
            weights,
            channels: 3,
            layers: Vec::new(),
        };
        builder.stem()?;
        for (block, pooled) in [("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)] {
            builder.mixed_5(block, pooled)?;
        }
        builder.mixed_6a()?;
        for (block, middle) in [
            ("Mixed_6b", 128),
            ("Mixed_6c", 160),
            ("Mixed_6d", 160),
            ("Mixed_6e", 192),
        ] {
            builder.mixed_6(block, middle)?;
        }
        builder.mixed_7a()?;
        Ok(Trunk {
            layers: builder.layers,
        })
    }
}

/// A convolution of a chain: the end of its name, its number of output channels in the published
/// network, its window.
type ChainLayer<'a> = (&'a str, usize, Window);

const POINT: Window = Window::square(1, 1, 0);
const HALVING: Window = Window::square(3, 2, 0);

struct Builder<'a, T> {
    config: InceptionV3,
    weights: &'a Weights,
    /// Output channels of the last layer so far, in the published network.
    channels: usize,
    layers: Vec<Layer<T>>,
}

impl<T: Number> Builder<'_, T> {
    /// Reads a convolution; `channels` are those of the published network.
    fn convolution(&self, name: &str, channels: Channels, window: Window) -> Result<Step<T>> {
        let names = ConvolutionNames {
            convolution: format!("{name}.conv"),
            norm: format!("{name}.bn"),
        };
        // The divisor does not apply to the three colours of the pixels.
        let narrow = |channels| match channels {
            3 => 3,
            _ => channels / self.config.divisor,
        };
        let channels = Channels {
            outputs: narrow(channels.outputs),
            inputs: narrow(channels.inputs),
        };
        let kernel = Kernel::folded(self.weights, &names, channels, window.kernel, EPSILON)?;
        let layer = Convolution::new(&kernel, window, Nonlinearity::Relu);
        Ok(Step::Convolution(layer))
    }

    /// Convolutions of a block that run one after the other.
    fn chain(&self, block: &str, layers: &[ChainLayer<'_>]) -> Result<Vec<Step<T>>> {
        let mut inputs = self.channels;
        let mut chain = Vec::new();
        for &(name, outputs, window) in layers {
            let name = format!("{block}.{name}");
            let channels = Channels { outputs, inputs };
            chain.push(self.convolution(&name, channels, window)?);
            inputs = outputs;
        }
        Ok(chain)
    }

    /// An average pool and a convolution after it.
    fn pooled(&self, block: &str, outputs: usize) -> Result<Vec<Step<T>>> {
        let pool = Step::Pool(Pool {
            window: Window::square(3, 1, 1),
            rounding: SizeRounding::Floor,
            pooling: Pooling::Average,
        });
        let mut branch = vec![pool];
        branch.extend(self.chain(block, &[("branch_pool", outputs, POINT)])?);
        Ok(branch)
    }

    fn stem(&mut self) -> Result<()> {
        let same = Window::same(3, 3);
        for (name, outputs, window) in [
            ("Conv2d_1a_3x3", 32, HALVING),
            ("Conv2d_2a_3x3", 32, Window::square(3, 1, 0)),
            ("Conv2d_2b_3x3", 64, same),
            ("Conv2d_3b_1x1", 80, POINT),
            ("Conv2d_4a_3x3", 192, Window::square(3, 1, 0)),
        ] {
            let channels = Channels {
                outputs,
                inputs: self.channels,
            };
            let step = self.convolution(name, channels, window)?;
            self.layers.push(Layer::Step(step));
            self.channels = outputs;
            if matches!(name, "Conv2d_2b_3x3" | "Conv2d_4a_3x3") {
                self.layers.push(Layer::Step(max_pool()));
            }
        }
        Ok(())
    }

    fn push_mixed(&mut self, branches: Vec<Vec<Step<T>>>, channels: usize) {
        self.layers.push(Layer::Mixed(branches));
        self.channels = channels;
    }

    /// `Mixed_5b` to `Mixed_5d`: 35 x 35 cells.
    fn mixed_5(&mut self, block: &str, pooled: usize) -> Result<()> {
        let same = Window::same(3, 3);
        let branches = vec![
            self.chain(block, &[("branch1x1", 64, POINT)])?,
            self.chain(
                block,
                &[
                    ("branch5x5_1", 48, POINT),
                    ("branch5x5_2", 64, Window::same(5, 5)),
                ],
            )?,
            self.chain(
                block,
                &[
                    ("branch3x3dbl_1", 64, POINT),
                    ("branch3x3dbl_2", 96, same),
                    ("branch3x3dbl_3", 96, same),
                ],
            )?,
            self.pooled(block, pooled)?,
        ];
        self.push_mixed(branches, 64 + 64 + 96 + pooled);
        Ok(())
    }

    /// `Mixed_6a`: 35 x 35 cells become 17 x 17.
    fn mixed_6a(&mut self) -> Result<()> {
        let block = "Mixed_6a";
        let branches = vec![
            self.chain(block, &[("branch3x3", 384, HALVING)])?,
            self.chain(
                block,
                &[
                    ("branch3x3dbl_1", 64, POINT),
                    ("branch3x3dbl_2", 96, Window::same(3, 3)),
                    ("branch3x3dbl_3", 96, HALVING),
                ],
            )?,
            vec![max_pool()],
        ];
        let channels = 384 + 96 + self.channels;
        self.push_mixed(branches, channels);
        Ok(())
    }

    /// `Mixed_6b` to `Mixed_6e`: 17 x 17 cells, windows of 1 x 7 and 7 x 1.
    fn mixed_6(&mut self, block: &str, middle: usize) -> Result<()> {
        let (horizontal, vertical) = (Window::same(1, 7), Window::same(7, 1));
        let branches = vec![
            self.chain(block, &[("branch1x1", 192, POINT)])?,
            self.chain(
                block,
                &[
                    ("branch7x7_1", middle, POINT),
                    ("branch7x7_2", middle, horizontal),
                    ("branch7x7_3", 192, vertical),
                ],
            )?,
            self.chain(
                block,
                &[
                    ("branch7x7dbl_1", middle, POINT),
                    ("branch7x7dbl_2", middle, vertical),
                    ("branch7x7dbl_3", middle, horizontal),
                    ("branch7x7dbl_4", middle, vertical),
                    ("branch7x7dbl_5", 192, horizontal),
                ],
            )?,
            self.pooled(block, 192)?,
        ];
        self.push_mixed(branches, 4 * 192);
        Ok(())
    }

    /// `Mixed_7a`: 17 x 17 cells become 8 x 8.
    fn mixed_7a(&mut self) -> Result<()> {
        let block = "Mixed_7a";
        let branches = vec![
            self.chain(
                block,
                &[("branch3x3_1", 192, POINT), ("branch3x3_2", 320, HALVING)],
            )?,
            self.chain(
                block,
                &[
                    ("branch7x7x3_1", 192, POINT),
                    ("branch7x7x3_2", 192, Window::same(1, 7)),
                    ("branch7x7x3_3", 192, Window::same(7, 1)),
                    ("branch7x7x3_4", 192, HALVING),
                ],
            )?,
            vec![max_pool()],
        ];
        let channels = 320 + 192 + self.channels;
        self.push_mixed(branches, channels);
        Ok(())
    }
}

fn max_pool<T>() -> Step<T> {
    Step::Pool(Pool {
        window: HALVING,
        rounding: SizeRounding::Floor,
        pooling: Pooling::Max,
    })
}
