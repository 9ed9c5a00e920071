//! Cross-attention between regions and words with a learned threshold.
#![doc = include_str!("../README.md")]

mod attended;
mod composed;
mod config;
mod engine;
mod error;
mod exact;
mod kept;
#[allow(unsafe_code, reason = "starts kernels on a GPU")]
mod kernel;
#[cfg(feature = "nn")]
mod layer;
mod matcher;
mod names;
mod operator;
mod precision;
mod results;
mod samples;
mod side;

pub mod evidence;
pub mod packed;
pub mod reference;
pub mod search;

pub use attended::Attended;
pub use candle_core;
pub use config::{MatcherConfig, QuerySide, Sides, WeightRule};
pub use engine::{Engine, Running};
pub use error::Error;
use error::Result;
pub use kept::Kept;
#[cfg(feature = "nn")]
pub use layer::{CrossAttention, CrossAttentionConfig, Masks};
pub use matcher::{Matcher, Similarities};
pub use packed::{PackedRegions, PackedWords};
pub use precision::Precision;
pub use uard_core::{Error as CoreError, Regions, Words};
pub use uard_linalg::matmul::Matmul;
pub use uard_linalg::panels::{InstructionSet, Unavailable};

#[cfg(test)]
mod tests {
    use super::*;

    fn is_shared_between_threads<T: Send + Sync>() {}

    #[test]
    fn public_types_can_be_shared_between_threads() {
        is_shared_between_threads::<Matcher>();
        is_shared_between_threads::<Similarities>();
        is_shared_between_threads::<Attended>();
        is_shared_between_threads::<PackedRegions>();
        is_shared_between_threads::<PackedWords>();
        is_shared_between_threads::<search::Search>();
        is_shared_between_threads::<search::SearchRegions>();
        is_shared_between_threads::<Error>();
        #[cfg(feature = "nn")]
        is_shared_between_threads::<CrossAttention>();
    }
}
