//! How do photos become regions by a detector? [`BottomUpAttention`], the features of this field,
//! on the CPU: a trunk makes a map of a photo, a proposal network finds boxes that may hold
//! something, each box is cut out of the map and made into features, and what the features say
//! chooses the boxes that are kept.

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

pub use anchors::AnchorShapes;
pub use bottom_up::{BottomUpAttention, RegionLimits};
pub use error::DetectorError;
pub use frozen::{DetectedRegions, Detector, Label};
pub use nms::{Survivors, nms};
pub use proposals::ProposalLimits;
pub use roi_pool::RoiPool;
pub use scaling::{Colours, Scaling};
