//! Errors of the crates below as exceptions of Python.

use std::io;

use pyo3::exceptions::PyValueError;
use pyo3::{PyErr, PyResult};

/// `OSError`, or the subclass for its kind, if a file or folder caused the error, else `ValueError`.
pub fn exception(error: impl Into<anyhow::Error>) -> PyErr {
    let error = error.into();
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    let io = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>());
    match io {
        Some(io) => io::Error::new(io.kind(), message).into(),
        None => wrong(message),
    }
}

/// A `ValueError`.
pub fn wrong(message: impl Into<String>) -> PyErr {
    PyValueError::new_err(message.into())
}

/// A result as Python expects it.
pub trait OrException<T> {
    /// The value, or the error as [`exception`] converts it.
    fn or_exception(self) -> PyResult<T>;
}

impl<T, E: Into<anyhow::Error>> OrException<T> for Result<T, E> {
    fn or_exception(self) -> PyResult<T> {
        self.map_err(exception)
    }
}
