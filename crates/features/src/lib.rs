//! Encoders: photos to region features, region features and captions to fragments.
//!
//! Pixels and captions come in, [`uard_core::Regions`] and [`uard_core::Words`] go out; nothing
//! here compares the two.

mod error;

pub mod backbone;
pub mod detector;
pub mod encoder;
pub mod extract;
pub mod text;
mod transformer;

pub use error::{Error, Result};
