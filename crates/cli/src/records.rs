//! Reading and writing text files and JSON records in run directories.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exit::wrong;

/// Writes a text file, whole or not at all.
pub fn write_text(path: &Path, text: &str) -> anyhow::Result<()> {
    uard_files::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a value as one line of JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(value)
        .with_context(|| format!("writing {} as JSON", path.display()))?;
    write_text(path, &(text + "\n"))
}

/// Reads a file that [`write_json`] wrote; `None` if there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let text = match uard_files::read(path) {
        Ok(text) => text,
        Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => {
            return Err(cause).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    let value = serde_json::from_slice(&text).map_err(|cause| {
        wrong(format!(
            "{} cannot be read by this version of uard: {cause}; remove the file, and it is made again",
            path.display()
        ))
    })?;
    Ok(Some(value))
}
