//! The integration tests of this crate, in one binary, so that dependencies are linked once.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod attended;
mod cuda;
mod data;
mod exact;
mod examples;
mod gradients;
mod invariance;
mod kernels;
#[cfg(feature = "nn")]
mod layer;
mod lemmas;
mod machine;
mod packed;
mod parity;
mod search;
