//! Learns a threshold of relevance, the cosine of a region and a word, from matched and mismatched
//! pairs.
#![doc = include_str!("../README.md")]

mod config;
mod distributions;
mod error;
mod evaluation;
mod histogram;
mod learner;
mod logistic;
mod sampling;
mod threshold;

pub use config::{Carry, LearnerConfig};
pub use distributions::{Distribution, DistributionKind, Normal};
pub use error::Error;
use error::Result;
pub use evaluation::EvaluationThreshold;
pub use histogram::Empirical;
pub use learner::{Accepted, LearnedThreshold, ObservedBatch, ThresholdLearner, Update};
pub use logistic::Logistic;
pub use sampling::{CaptionRule, SampledPair, Samples, SamplingRule, SimilarityMatrix};
pub use threshold::{NoThreshold, error_probability, least_error_threshold};
