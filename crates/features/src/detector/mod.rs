//! How do photos become regions by a detector? Faster R-CNN, on the CPU: a trunk makes maps of a
//! photo, a proposal network finds boxes that may hold something, each box is cut out of the maps
//! and made into features, and what the features say chooses the boxes that are kept.
//!
//! Two published forms: [`BottomUpAttention`], the features of this field, and [`FasterRcnnFpn`],
//! torchvision's. The parts that both are made of are plain functions: [`nms`], [`batched_nms`],
//! [`RoiPool`], [`RoiAlign`].

mod anchors;
mod bottom_up;
mod boxes;
mod error;
mod frozen;
mod linear;
mod nms;
mod proposals;
mod pyramid;
mod roi_align;
mod roi_pool;
mod scaling;
mod softmax;

pub use anchors::AnchorShapes;
pub use bottom_up::{BottomUpAttention, RegionLimits};
pub use error::DetectorError;
pub use frozen::{DetectedRegions, Detector, DetectorSettings, Label};
pub use nms::{Survivors, batched_nms, nms};
pub use proposals::ProposalLimits;
pub use pyramid::FasterRcnnFpn;
pub use roi_align::RoiAlign;
pub use roi_pool::RoiPool;
pub use scaling::{Colours, Scaling, Sides};
