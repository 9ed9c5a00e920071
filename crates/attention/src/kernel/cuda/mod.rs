//! The kernels on NVIDIA GPUs: CUDA C++ of ours, compiled where it runs.
//!
//! `match.cu` multiplies a tile of words and regions on tensor cores and answers every query of the
//! tile from shared memory, in Gram form, so relevance is never written to the GPU's memory;
//! `top.cu` takes the best of each; `pair.cu` is the forward and backward pass of a training batch.
//! All run on any [`Machine`]: on a GPU through
//! [`uard_core::gpu::Driver`], and in tests on an interpreter of PTX.
//!
//! ```no_run
//! use candle_core::{Device, Tensor};
//! use uard_attention::kernel::cuda::{DeviceRegions, DeviceSearch, DeviceWords, Half, open};
//! use uard_attention::{Matcher, MatcherConfig, Regions, Words};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let regions = Tensor::new(&[[[1f32, 0.0]], [[0.0, 1.0]]], &Device::Cpu)?;
//! let words = Tensor::new(&[[[0.6f32, 0.8]]], &Device::Cpu)?;
//! let regions = Regions::normalized(&regions, vec![1, 1])?;
//! let words = Words::normalized(&words, vec![1])?;
//! // The first NVIDIA GPU, or one sentence that says why there is none.
//! let gpu = open(&Device::Cpu)?;
//! let regions = DeviceRegions::copied(&*gpu, &regions, Half::F16)?;
//! let words = DeviceWords::copied(&*gpu, &words, Half::F16)?;
//! let search = DeviceSearch::new(gpu, &Matcher::new(MatcherConfig::default())?, 0.7)?;
//! let found = search.top_k((&regions, &words), 2, &|_, _| ())?;
//! assert_eq!(found.images_of_captions[0][0].index, 1);
//! # Ok(())
//! # }
//! ```
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
/// In one sentence: no driver, no NVRTC, no GPU, or one of them too old.
pub fn open(device: &Device) -> Result<Arc<Driver>> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return Ok(uard_core::gpu::tensors::driver(device)?);
    }
    let _ = device;
    Ok(Arc::new(Driver::open(0)?))
}
