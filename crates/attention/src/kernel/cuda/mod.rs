//! The kernels on NVIDIA GPUs: CUDA C++ of ours, compiled where it runs.
//!
//! `match.cu` multiplies a tile of words and regions on tensor cores and answers every query of the
//! tile from shared memory, in Gram form, so relevance is never written to the GPU's memory;
//! `top.cu` takes the best of each; `pair.cu` is the forward and backward pass of a training batch.
//! All run on any [`Machine`]: on a GPU through
//! [`uard_core::gpu::Driver`], and in tests on an interpreter of PTX.
//!
//! [`Machine`]: uard_core::gpu::Machine

pub mod check;
mod fragments;
#[cfg(feature = "cuda")]
pub(crate) mod operator;
pub mod pairs;
mod programs;
mod search;
mod tiling;

pub use fragments::{DeviceRegions, DeviceRegionsBuilder, DeviceWords, DeviceWordsBuilder, Half};
pub use programs::samples;
pub use search::DeviceSearch;

use std::sync::Arc;

use candle_core::Device;
use uard_core::gpu::Driver;

use crate::Result;

/// The GPU that tensors of a device are matched on: theirs, if they are on one, else the first.
///
/// # Errors
/// In one sentence: no driver, no GPU, or one of them too old.
pub fn open(device: &Device) -> Result<Arc<Driver>> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return Ok(uard_core::gpu::tensors::driver(device)?);
    }
    let _ = device;
    Ok(Arc::new(Driver::open(0)?))
}
