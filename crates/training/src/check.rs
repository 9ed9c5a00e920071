//! Checks of a training step on a GPU against the CPU, for `uard self-test`.

#[cfg(feature = "cuda-kernels")]
mod step;

#[cfg(feature = "cuda-kernels")]
pub use step::{kernels, on_device};

/// The result of one check: the largest difference found, and the largest allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// The largest difference.
    pub found: f64,
    /// The largest difference allowed; 0 where all bits must be equal.
    pub limit: f64,
}

impl Check {
    /// Whether the difference is within the limit; NaN is not.
    pub fn passed(&self) -> bool {
        self.found <= self.limit
    }
}
