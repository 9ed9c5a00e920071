//! What can go wrong between this program and a GPU, in one sentence each.

/// Why a GPU cannot do what is asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// A library of CUDA is not there.
    #[error("{library} was not found: {advice}")]
    NoLibrary {
        /// Its name.
        library: &'static str,
        /// How to get it.
        advice: &'static str,
    },
    /// The driver is there and sees no GPU.
    #[error("the NVIDIA driver sees no GPU ({cause})")]
    NoGpu {
        /// What the driver said.
        cause: String,
    },
    /// The driver is older than what is needed.
    #[error(
        "the NVIDIA driver is for CUDA {found}, and {needed} or newer is needed: install a newer \
         driver from https://www.nvidia.com/drivers"
    )]
    DriverTooOld {
        /// What the driver supports.
        found: String,
        /// What is needed.
        needed: String,
    },
    /// The GPU is older than what the kernels are written for.
    #[error("{gpu} has compute capability {found}, and 8.0 or newer is needed (Ampere, 2020)")]
    GpuTooOld {
        /// Its name.
        gpu: String,
        /// Its compute capability.
        found: String,
    },
    /// Memory of the GPU is used up.
    #[error(
        "the GPU has too little memory: {wanted} more bytes are needed and {free} are free; close \
         what else uses it, or take smaller batches"
    )]
    OutOfMemory {
        /// Bytes that were asked for.
        wanted: usize,
        /// Bytes that are free, as far as the driver says.
        free: usize,
    },
    /// A kernel does not compile: a mistake of this program, or of a version of NVRTC.
    #[error("the kernels of `{program}` do not compile for {target}: {log}")]
    Compile {
        /// Which program.
        program: &'static str,
        /// What it was compiled for.
        target: String,
        /// What the compiler said.
        log: String,
    },
    /// Something is larger than the kernels take.
    #[error("{what}: found {found}, and the CUDA kernels take at most {most}; use the CPU for it")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The largest.
        most: usize,
    },
    /// The driver refused something.
    #[error("CUDA failed to {action}: {cause}")]
    Failed {
        /// What was being done.
        action: String,
        /// What the driver said.
        cause: String,
    },
}

/// The result of what asks something of a GPU.
pub type GpuResult<T> = Result<T, GpuError>;
