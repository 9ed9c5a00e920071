//! How the parameters move: loss, negatives, optimizer, threshold, checkpoints.
//!
//! [`trainer::train`] is the whole loop; a [`uard_model::Checkpoint`] is what it leaves behind, and
//! [`evaluation::evaluate`] judges it. Nothing here prints: a [`trainer::Observer`] is told.
//! No clock decides anything, and no draw depends on one before it, so a run that was stopped
//! anywhere continues to the same bytes.

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
