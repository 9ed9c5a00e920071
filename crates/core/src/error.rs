//! The errors of this crate: shapes, parameters and devices.

/// An error, with its cause and what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor has another size along one axis than the call needs.
    #[error("{tensor}: expected {expected} along {axis}, found {found}")]
    ShapeMismatch {
        /// The tensor.
        tensor: String,
        /// The axis, by the letters of `docs/glossary.md` (I, C, R, W, D, F).
        axis: &'static str,
        /// The size that is needed.
        expected: usize,
        /// The tensor's size.
        found: usize,
    },
    /// A tensor has another number of axes than the call needs.
    #[error("{tensor}: expected rank {expected}, found the shape {found:?}")]
    Rank {
        /// Which tensor.
        tensor: String,
        /// The rank and its axes.
        expected: &'static str,
        /// The shape that was there.
        found: Vec<usize>,
    },
    /// A list of tensors has no entry.
    #[error("{tensor}: the list is empty, expected one tensor for each entry")]
    Empty {
        /// Which tensors.
        tensor: &'static str,
    },
    /// A tensor has another dtype than the call takes.
    #[error("{tensor}: expected {expected}, found {}: convert it with `to_dtype`", found.as_str())]
    Dtype {
        /// Which tensor.
        tensor: &'static str,
        /// The dtypes that are taken.
        expected: &'static str,
        /// Its dtype.
        found: candle_core::DType,
    },
    /// A count of valid fragments is zero or above the padded length.
    #[error("{tensor}: entry {index} counts {count} fragments, expected 1 to {longest}")]
    CountOutOfRange {
        /// The tensor.
        tensor: &'static str,
        /// The image or caption, by its index in the batch.
        index: usize,
        /// Its count.
        count: usize,
        /// The padded length.
        longest: usize,
    },
    /// A parameter was created twice.
    #[error("parameter `{name}` is already there; give each layer its own prefix")]
    DuplicateParameter {
        /// Its name.
        name: String,
    },
    /// Stored weights and the model do not have the same parameters.
    #[error("{origin}: {problem} parameter `{name}`; the weights belong to another configuration")]
    ParameterMismatch {
        /// The source of the stored parameters, such as the path of their file.
        origin: String,
        /// `missing` or `unknown`.
        problem: &'static str,
        /// The parameter.
        name: String,
    },
    /// A stored parameter has another shape.
    #[error("{origin}: parameter `{name}` has shape {found:?}, the model expects {expected:?}")]
    ParameterShape {
        /// The source of the stored parameters, such as the path of their file.
        origin: String,
        /// The parameter.
        name: String,
        /// The model's shape.
        expected: Vec<usize>,
        /// The stored shape.
        found: Vec<usize>,
    },
    /// Stored weights cannot be read at all.
    #[error("{origin}: not a safetensors file of f32 parameters ({cause})")]
    UnreadableParameters {
        /// The source of the stored parameters, such as the path of their file.
        origin: String,
        /// The reader's error.
        cause: String,
    },
    /// This build or machine does not have the chosen device.
    #[error("device `{device}` cannot be used: {cause}")]
    DeviceUnavailable {
        /// `cuda` or `metal`.
        device: &'static str,
        /// Why, and what the user can do.
        cause: String,
    },
    /// The name of a device is unknown.
    #[error("unknown device `{found}`: expected auto, cpu, cuda or metal")]
    UnknownDevice {
        /// The given name.
        found: String,
    },
    /// A dropout rate outside of `[0, 1)`.
    #[error("dropout rate {found}: expected a share of at least 0 and below 1")]
    DropoutRate {
        /// The given rate.
        found: f32,
    },
    /// An epsilon with which a layer norm would divide by zero.
    #[error("epsilon {found} of a layer norm: expected a finite number above zero")]
    Epsilon {
        /// The given epsilon.
        found: f64,
    },
    /// A GPU failed or cannot be used.
    #[cfg(feature = "cuda-kernels")]
    #[error(transparent)]
    Gpu(#[from] crate::gpu::GpuError),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;
