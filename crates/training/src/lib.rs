//! Training: loss, negatives, optimizer, learning of the threshold, checkpoints, evaluation.
//!
//! [`trainer::train`] is the training loop. It writes [`uard_model::Checkpoint`]s, which
//! [`evaluation::evaluate`] evaluates, and reports progress to a [`trainer::Observer`]; nothing here
//! prints. No result depends on a clock, and every random draw is addressed by seed and step, so a
//! run that is stopped and resumed ends with the same bytes as one that never stopped.

mod error;

pub mod batches;
pub mod check;
pub mod checkpoint;
pub mod config;
pub mod evaluation;
pub mod gradients;
#[cfg(feature = "cuda-kernels")]
#[allow(unsafe_code, reason = "starts kernels on a GPU")]
mod kernel;
pub mod loss;
pub mod negatives;
pub mod optimizer;
pub mod run_log;
pub mod schedule;
pub mod text;
pub mod trainer;

pub use error::{Error, Result};
