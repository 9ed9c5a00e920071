//! The detector of bottom-up attention ([`BottomUpAttention`]), whose regions most papers on
//! image-text matching use, on the CPU. A trunk turns a photo into a feature map, a proposal
//! network finds boxes that may hold an object, each box is pooled from the map into a feature
//! vector, and the classes predicted from those vectors decide which boxes are kept.

mod anchors;
mod bottom_up;
mod boxes;
mod error;
mod frozen;
mod linear;
mod nms;
mod proposals;
mod roi_pool;
mod scaling;
mod softmax;

pub use bottom_up::{BottomUpAttention, RegionLimits};
pub use error::DetectorError;
pub use frozen::{DetectedRegions, Detector, Label};

#[cfg(test)]
mod tests;
