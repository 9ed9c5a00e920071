//! Errors of the crates below as exceptions of Python.

use std::io;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::{PyErr, PyResult};

/// `OSError` if a file or folder caused the error, else `ValueError`; the message has all causes.
pub fn exception(error: impl Into<anyhow::Error>) -> PyErr {
    let error = error.into();
    match error.chain().any(|cause| cause.is::<io::Error>()) {
        true => PyOSError::new_err(format!("{error:#}")),
        false => PyValueError::new_err(format!("{error:#}")),
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
