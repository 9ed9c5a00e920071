//! The threshold between relevant and irrelevant relevance, learned while a model trains.
//!
//! Relevance is the cosine of a region and a word. This crate models the distributions of sampled
//! relevance, finds the threshold of least error between two of them, and smooths it over batches.
//! It computes with plain numbers: no tensors, no files, no devices.
//!
//! ```text
//! batch ─ sampled_pairs ─ Samples S+, S- ─ Distribution ─ least_error_threshold ─ smoothing ─ t
//! ```
//!
//! With `uard-attention`, whose `Similarities` is an [`ObservedBatch`], one call a batch does all of
//! it: [`ThresholdLearner::observe`]. With samples of one's own:
//!
//! ```
//! use uard_relevance::{LearnerConfig, Samples, ThresholdLearner, Update};
//!
//! let config = LearnerConfig { minimum_samples: 3, ..LearnerConfig::default() };
//! let mut learner = ThresholdLearner::new(config)?;
//! let samples = Samples { relevant: vec![0.5, 0.6, 0.7], irrelevant: vec![0.1, 0.2, 0.3] };
//! match learner.update(&samples) {
//!     Update::Moved { to, .. } => assert!((to - 0.7 * 0.4).abs() < 1e-7),
//!     Update::Kept(reason) => panic!("{reason}"),
//! }
//! # Ok::<(), uard_relevance::Error>(())
//! ```

mod config;
mod distributions;
mod error;
mod evaluation;
mod histogram;
mod learner;
mod names;
pub mod reference;
mod sampling;
mod threshold;

pub use config::{Carry, LearnerConfig};
pub use distributions::{Distribution, DistributionKind, Normal};
pub use error::Error;
use error::Result;
pub use evaluation::EvaluationThreshold;
pub use histogram::Empirical;
pub use learner::{Accepted, LearnedThreshold, ObservedBatch, ThresholdLearner, Update};
pub use sampling::{CaptionRule, SampledPair, Samples, SamplingRule, SimilarityMatrix};
pub use threshold::{NoThreshold, error_probability, least_error_threshold};
