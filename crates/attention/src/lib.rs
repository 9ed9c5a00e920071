//! Masked cross-attention between regions and words, without forming the attended vector.
//!
//! An image is a set of regions, a caption a set of words, all unit vectors of one space. Relevance
//! is their cosine; what is not above a threshold is masked; a query that nothing answers adds
//! exactly zero, or its highest relevance where the rule is `nearest`. The attended vector is never
//! formed: with G, the products of an image's regions with each other, attention needs nothing but
//! relevance.
//!
//! ```text
//! S(U,V) = 1/m sum_i R_i + 1/n sum_j R_j       R_i = (sum_j e_ij s_ij) / sqrt(e_i^T G e_i)
//! e_ij   = 1[s_ij > t] exp(inverse_temperature s_ij)
//! ```
//!
//! | to | use | example |
//! |---|---|---|
//! | train | [`Matcher::similarities`]: the similarity of a batch as a differentiable tensor | `examples/train.rs` |
//! | match many with many | [`search::Search`]: all pairs, or the best of each, by any engine | in its documentation |
//! | pack once, match often | [`PackedRegions`], [`PackedWords`]: for a search, in memory or in a file | `examples/match_features.rs` |
//! | match on an NVIDIA GPU | [`search::Search`] with [`Engine::Cuda`] and the feature `cuda-kernels` | in its documentation |
//! | rerank, and say why | [`search::Search::images_for_caption`], [`search::Search::evidence`] | `examples/rerank.rs` |
//! | check a kernel | [`mod@reference`]: the formulas as plain loops in f64 | |
//!
//! [`Engine`] names the code that runs (`auto` takes the fastest of this machine: AMX, AVX-512, AVX2
//! or plain Rust), [`Precision`] the numbers: `f32`, `bf16`, or `exact`, which computes in bf16 and
//! returns the lists and ranks of f32; on a GPU `f16` or `bf16`. An engine refuses a precision that
//! it lacks. The same input gives the same bytes with any number of threads. [`WeightRule`] has SCAN's rule and MaxSim beside the masked ones.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use uard_attention::{Matcher, MatcherConfig, Regions, Words};
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
