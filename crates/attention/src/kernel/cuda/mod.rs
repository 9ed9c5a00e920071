//! The kernels on NVIDIA GPUs: CUDA C++ of ours, compiled where it runs.
//!
//! `match.cu` multiplies a tile of words and regions on tensor cores and answers every query of the
//! tile from shared memory, in Gram form, so relevance is never written to the GPU's memory;
//! `top.cu` takes the best of each; `pair.cu` is the forward and backward pass of a training batch.
//! All run on any [`Machine`]: on a GPU through [`uard_core::gpu::Driver`], and in tests on an
//! interpreter of PTX.
//!
//! [`Machine`]: uard_core::gpu::Machine

mod fragments;
pub(crate) mod operator;
mod pairs;
mod programs;
mod search;
mod tiling;

pub(crate) use fragments::{DeviceBuilder, DeviceFragments};
pub(crate) use search::DeviceSearch;
