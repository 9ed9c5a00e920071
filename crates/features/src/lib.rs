//! Encoders: photos to region features, region features and captions to fragments.
//!
//! The inputs are pixels and captions, the outputs [`uard_core::Regions`] and [`uard_core::Words`].
//! Nothing in this crate compares the two.

mod error;

pub mod backbone;
mod detector;
pub mod encoder;
pub mod extract;
pub mod text;
mod transformer;

pub use detector::DetectorError;
pub use error::{Error, Result};
