//! Files of JSON, read whole.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::FileError;

/// Reads a value; `expected` is what the file should hold.
///
/// # Errors
/// No such file; another form; a failed download, which is named as what it is.
pub fn read_json<T: DeserializeOwned>(path: &Path, expected: &'static str) -> Result<T, FileError> {
    let bytes = crate::read(path).map_err(FileError::io(path, "read"))?;
    serde_json::from_slice(&bytes).map_err(|source| {
        FileError::other_file(path, expected, &bytes).unwrap_or_else(|| FileError::Json {
            path: path.to_owned(),
            expected,
            source,
        })
    })
}
