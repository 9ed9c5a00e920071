//! The kernels of a search: answers on packed fragments for each instruction set, and those of a GPU.

pub(crate) mod answers;
#[cfg(feature = "cuda-kernels")]
pub(crate) mod cuda;
