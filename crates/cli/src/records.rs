//! Texts and JSON records that commands write for people and for later runs of their own.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exit::wrong;

/// Writes a text, whole or not at all.
pub fn write_text(path: &Path, text: &str) -> anyhow::Result<()> {
    uard_files::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a value as one line of JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(value)
        .with_context(|| format!("writing {} as JSON", path.display()))?;
    write_text(path, &(text + "\n"))
}

/// Reads what [`write_json`] wrote; `None` where nothing is.
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
            "{} is not of this version: {cause}; remove it, and it is made again",
            path.display()
        ))
    })?;
    Ok(Some(value))
}
