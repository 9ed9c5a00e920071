//! Region features and captions on disk, and the encoders that turn them into fragments.
//!
//! Pixels and captions come in, [`uard_core::Regions`] and [`uard_core::Words`] go out; nothing
//! here compares the two.

mod caught;
mod digest;
mod error;
mod json;

pub mod backbone;
pub mod captions;
pub mod dataset;
pub mod detector;
pub mod encoder;
pub mod extract;
pub mod hub;
pub mod import;
pub mod npy;
pub mod scenes;
pub mod source;
pub mod store;
pub mod text;
mod transformer;
pub mod weights;

pub use error::{Error, Result};
