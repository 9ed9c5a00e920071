//! The errors of using a GPU.

/// Why a GPU cannot be used, or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// A library of CUDA cannot be loaded.
    #[error("{library} was not found: {advice}")]
    NoLibrary {
        /// Its name.
        library: &'static str,
        /// How to install it.
        advice: &'static str,
    },
    /// The driver can be loaded but finds no GPU.
    #[error("the NVIDIA driver sees no GPU ({cause})")]
    NoGpu {
        /// The driver's error.
        cause: String,
    },
    /// The driver is older than what is needed.
    #[error(
        "the NVIDIA driver is for CUDA {found}, and {needed} or newer is needed: install a newer \
         driver from https://www.nvidia.com/drivers"
    )]
    DriverTooOld {
        /// The version of CUDA that the driver supports.
        found: String,
        /// The oldest version that is enough.
        needed: String,
    },
    /// The GPU is older than what the kernels are written for.
    #[error("{gpu} has compute capability {found}, and 8.0 or newer is needed (Ampere, 2020)")]
    GpuTooOld {
        /// The GPU's name.
        gpu: String,
        /// Its compute capability.
        found: String,
    },
    /// Too little memory of the GPU is free.
    #[error(
        "the GPU has too little memory: {wanted} more bytes are needed and {free} are free; close \
         what else uses it, or take smaller batches"
    )]
    OutOfMemory {
        /// Bytes that were to be allocated.
        wanted: usize,
        /// Bytes that are free; 0 if the driver cannot tell.
        free: usize,
    },
    /// A kernel does not compile, by a mistake in it or in a version of NVRTC.
    #[error("the kernels of `{program}` do not compile for {target}: {log}")]
    Compile {
        /// The program's name.
        program: &'static str,
        /// What it was compiled for.
        target: String,
        /// The compiler's messages.
        log: String,
    },
    /// An input is larger than the kernels support.
    #[error("{what}: found {found}, and the CUDA kernels take at most {most}; use the CPU for it")]
    TooLarge {
        /// Which size it is.
        what: &'static str,
        /// The size.
        found: usize,
        /// The largest that is supported.
        most: usize,
    },
    /// A call of the driver failed.
    #[error("CUDA failed to {action}: {cause}")]
    Failed {
        /// What was being done.
        action: String,
        /// The driver's error.
        cause: String,
    },
}

/// The result of functions that use a GPU.
pub type GpuResult<T> = Result<T, GpuError>;
