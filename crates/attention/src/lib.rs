//! Masked cross-attention between regions and words, without ever forming the attended vector.
//!
//! A [`Matcher`] turns [`uard_core::Regions`] and [`uard_core::Words`] into one similarity a pair.
//! Fragments whose relevance (cosine) is not above the threshold are masked; a query that nothing
//! answers adds exactly zero. Training, evaluation and scoring call the same function.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use uard_attention::{Matcher, MatcherConfig};
//! use uard_core::{Regions, Words};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // One image of two regions, one caption of two words, in a joint space of width 2.
//! let regions = Tensor::new(&[[[1f32, 0.0], [0.0, 1.0]]], &Device::Cpu)?;
//! let words = Tensor::new(&[[[1f32, 0.0], [-1.0, -1.0]]], &Device::Cpu)?;
//! let regions = Regions::normalized(&regions, vec![2])?;
//! let words = Words::normalized(&words, vec![2])?;
//! let matcher = Matcher::new(MatcherConfig::default())?;
//! let similarities = matcher.similarities(&regions, &words, 0.3)?;
//! // The first word finds its region (1 of 2 words), the first region its word (1 of 2 regions).
//! assert!((similarities.values.to_vec2::<f32>()?[0][0] - 1.0).abs() < 1e-6);
//! # Ok(())
//! # }
//! ```

mod composed;
mod config;
mod error;
mod exact;
mod kept;
mod matcher;
mod operator;
mod precision;
mod side;

pub mod evidence;
pub mod kernel;
pub mod packed;
pub mod reference;
pub mod search;

pub use config::{MatcherConfig, QuerySide, Sides, WeightRule};
pub use error::{Error, Result};
pub use kept::Kept;
pub use matcher::{Matcher, Similarities};
pub use packed::{PackedRegions, PackedWords};
pub use precision::Precision;
pub use uard_core::{Regions, Words};
