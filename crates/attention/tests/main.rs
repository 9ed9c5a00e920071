//! The integration tests of this crate, in one binary: what they link is linked once.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

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
