//! Files of JSON, read whole.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// Reads a value; `expected` is what the file should hold.
///
/// # Errors
/// No such file; another form; a failed download, which is named as what it is.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, expected: &'static str) -> Result<T> {
    let bytes = uard_files::read(path).map_err(Error::io(path, "read"))?;
    serde_json::from_slice(&bytes).map_err(|source| {
        Error::other_file(path, expected, &bytes).unwrap_or_else(|| Error::Json {
            path: path.to_owned(),
            expected,
            source,
        })
    })
}
