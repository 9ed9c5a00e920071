//! Reads JSON files as values.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::FileError;

/// Reads a JSON file; `expected` is what errors say that the file should hold.
///
/// # Errors
/// The file cannot be read; its text is no JSON of a `T`; it is of another kind, such as a web page,
/// which the error names.
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
