//! Frozen networks that turn photos into feature maps and regions, on the CPU.
//!
//! They run forward only: nothing here has a gradient.

mod candle;
mod convolution;
mod error;
mod folding;
mod grid;
mod inception;
mod maps;
mod network;
mod number;
mod photo;
mod pool;
mod preprocessing;
mod resnet;
pub(crate) mod trunk;
mod vit;
mod window;

pub use candle::CandleModel;
pub(crate) use convolution::{Channels, Convolution, Kernel, Nonlinearity};
pub use error::VisionError;
pub use grid::{Cells, GridBackbone};
pub use inception::InceptionV3;
pub(crate) use maps::Buffers;
pub use maps::{Maps, Size};
pub use network::Network;
pub use number::Number;
pub(crate) use photo::is_photo;
pub use photo::{Photo, PhotoLimits, Truncated};
pub use preprocessing::{Filter, Fit, Preprocessing};
pub use resnet::{Block, ResNet, Stage, StrideOn};
pub(crate) use resnet::{ResNetNames, ResNetWeights};
pub(crate) use vit::FILES as VISION_FILES;
pub use vit::{Tokens, VisionConfig, open_folder as open_vision_folder};
pub(crate) use window::Window;

#[cfg(test)]
pub(crate) mod tests {
    pub mod golden;
    mod networks;
    pub mod reference;
}
