//! Features, captions and their files: arrays of numpy, feature stores, splits of a data set, and
//! imports of what others published.

mod error;

pub mod captions;
pub mod dataset;
pub mod import;
pub mod npy;
pub mod store;
pub mod tokens;

pub use error::{Error, Result};
