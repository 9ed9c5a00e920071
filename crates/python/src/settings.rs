//! Keyword arguments.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pythonize::depythonize;
use serde::de::DeserializeOwned;

use crate::error::wrong;

/// The keyword arguments of a call, with their defaults; an unknown one is a `ValueError`.
pub fn read<T: DeserializeOwned + Default>(given: Option<&Bound<'_, PyDict>>) -> PyResult<T> {
    match given {
        Some(given) => depythonize(given).map_err(|error| wrong(format!("settings: {error}"))),
        None => Ok(T::default()),
    }
}
