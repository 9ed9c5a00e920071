//! Kernels: similarities on packed fragments for each instruction set of the CPU, and the CUDA
//! kernels of search and training.

pub(crate) mod answers;
#[cfg(feature = "cuda-kernels")]
pub(crate) mod cuda;
