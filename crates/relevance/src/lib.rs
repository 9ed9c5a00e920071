//! Where is the border between relevant and irrelevant relevance?
//!
//! Distributions of sampled relevance, the threshold of least error between two of them, and the
//! learner that moves the threshold while the embedding is trained. Plain numbers: no tensors,
//! no files, no devices.
//!
//! ```text
//! similarities ─ sample_pairs ─ S+ and S- ─ Distribution ─ least_error_threshold ─ smoothing ─ t
//! ```
//!
//! ```
//! use uard_relevance::{LearnerConfig, ThresholdLearner, Update};
//!
//! let config = LearnerConfig { minimum_samples: 3, ..LearnerConfig::default() };
//! let mut learner = ThresholdLearner::new(&config);
//! let update = learner.update(&config, &[0.5, 0.6, 0.7], &[0.1, 0.2, 0.3]);
//! assert!(matches!(update, Update::Moved { .. }));
//! assert!((learner.threshold() - 0.7 * 0.4).abs() < 1e-7);
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
pub use error::{Error, Result};
pub use evaluation::EvaluationThreshold;
pub use histogram::Empirical;
pub use learner::{Accepted, ThresholdLearner, Update};
pub use sampling::{CaptionRule, SampledPair, SamplingRule, sample_pairs};
pub use threshold::{NoThreshold, error_probability, least_error_threshold};
