//! Whether a training step on a GPU computes what it should, for `uard self-test`.

#[cfg(feature = "cuda-kernels")]
mod step;

#[cfg(feature = "cuda-kernels")]
pub use step::{kernels, on_device};

/// One thing that was checked: how far it was off, and how far it may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// The largest difference.
    pub found: f64,
    /// The largest allowed; 0 where bytes must be equal.
    pub limit: f64,
}

impl Check {
    /// Whether it is within the limit; what is not a number is not.
    pub fn passed(&self) -> bool {
        self.found <= self.limit
    }
}
