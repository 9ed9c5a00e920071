//! What this workspace adds to candle: fragments, unit rows, layers with gradients, seeded draws, named
//! parameters, devices.
//!
//! Every function of tensors has a gradient and is finite on empty and zero rows. All random numbers
//! come from [`random`], so results are reproducible. The crate does not read files or train.

mod error;

pub mod device;
pub mod dropout;
pub mod fragments;
#[cfg(feature = "cuda-kernels")]
#[allow(unsafe_code, reason = "calls the CUDA driver")]
pub mod gpu;
pub mod layer_norm;
pub mod linear;
pub mod normalize;
pub mod operator;
pub mod parameters;
pub mod random;
pub mod slices;
pub mod softmax;

pub use error::{Error, Result};
pub use fragments::{Regions, Words};
