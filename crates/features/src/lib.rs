//! Region features and captions on disk, and the encoders that turn them into fragments.
//!
//! Pixels and captions come in, [`uard_core::Regions`] and [`uard_core::Words`] go out; nothing
//! here compares the two.

mod digest;
mod error;
mod mapped;
mod whole_file;

pub mod captions;
pub mod dataset;
pub mod encoder;
pub mod import;
pub mod npy;
pub mod scenes;
pub mod store;
pub mod text;

pub use error::{Error, Result};
