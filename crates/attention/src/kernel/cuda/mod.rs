//! The kernels for NVIDIA GPUs: CUDA C++, compiled for the GPU that it runs on.
//!
//! `match.cu` multiplies a tile of words and regions on tensor cores and computes R of every query
//! of the tile from shared memory, in the Gram form, so relevance is never written to the GPU's
//! memory; `top.cu` finds the best of each row and column; `pair.cu` is the forward and backward
//! pass of a training batch. All run on any [`Gpu`]: on a GPU through
//! [`uard_core::gpu::Driver`], and in tests on an interpreter of PTX.
//!
//! [`Gpu`]: uard_core::gpu::Gpu

mod fragments;
pub(crate) mod operator;
mod pairs;
mod programs;
mod search;
mod tiling;

pub(crate) use fragments::{DeviceBuilder, DeviceFragments};
pub(crate) use search::DeviceSearch;
