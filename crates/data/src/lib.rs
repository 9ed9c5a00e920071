//! Region features and captions on disk: numpy arrays, feature stores, the splits of a data directory, and
//! imports of published features and captions.

mod error;

pub mod captions;
pub mod dataset;
pub mod import;
pub mod npy;
pub mod store;
pub mod tokens;

pub use error::{Error, Result};
