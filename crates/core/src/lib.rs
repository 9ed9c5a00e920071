//! candle as this workspace needs it: fragments, unit rows, seeded draws, parameters, devices.
//!
//! Everything here is differentiable where tensors flow through it, finite on empty and zero rows,
//! and reproducible: no draw comes from anywhere but [`random`]. The crate knows nothing of files
//! or training.

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
