//! How does a file of ours appear whole or not at all, and how is it read again?

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uard_features::npy::{InPlaceF32, write_f32};

use crate::exit::wrong;

/// Writes an array of f32 under a hidden name beside `path`, and renames it when it is whole.
pub fn write_array(path: &Path, shape: &[usize], values: &[f32]) -> anyhow::Result<()> {
    write_with(path, |unfinished| Ok(write_f32(unfinished, shape, values)?))
}

/// Computes an array of f32 into its file, which may be larger than memory.
pub fn fill_array<T>(
    path: &Path,
    shape: &[usize],
    fill: impl FnOnce(&mut [f32]) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut filled = None;
    write_with(path, |unfinished| {
        let mut array = InPlaceF32::create(unfinished, shape)?;
        filled = Some(fill(array.values())?);
        Ok(array.finish()?)
    })?;
    filled.context("an array that was written was filled")
}

/// The same as [`write_array`] for a text.
pub fn write_text(path: &Path, text: &str) -> anyhow::Result<()> {
    write_with(path, |unfinished| Ok(fs::write(unfinished, text)?))
}

/// Writes a value as one line of JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(value)
        .with_context(|| format!("writing {} as JSON", path.display()))?;
    write_text(path, &(text + "\n"))
}

/// Reads what [`write_json`] wrote; `None` where nothing is.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let text = match fs::read(path) {
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

fn write_with(path: &Path, write: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let unfinished = beside(path)?;
    let outcome = write(&unfinished)
        .and_then(|()| Ok(fs::rename(&unfinished, path)?))
        .with_context(|| format!("cannot write {}", path.display()));
    if outcome.is_err() {
        // The first error says what happened.
        let _ = fs::remove_file(&unfinished);
    }
    outcome
}

fn beside(path: &Path) -> anyhow::Result<PathBuf> {
    let name = path
        .file_name()
        .filter(|_| !path.is_dir())
        .ok_or_else(|| wrong(format!("{}: expected the name of a file", path.display())))?;
    let mut hidden = std::ffi::OsString::from(".unfinished-");
    hidden.push(name);
    Ok(path.with_file_name(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_remnant() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.npy");
        write_array(&path, &[2], &[1.0, 2.0]).unwrap();
        let before = fs::read(&path).unwrap();
        // The shape promises more than is there.
        assert!(write_array(&path, &[3], &[1.0, 2.0]).is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_computation_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.npy");
        let outcome: anyhow::Result<()> = fill_array(&path, &[4], |_| anyhow::bail!("no"));
        assert!(outcome.is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let sum = fill_array(&path, &[2], |values| {
            values.copy_from_slice(&[1.0, 2.0]);
            Ok(values.iter().sum::<f32>())
        });
        assert_eq!(sum.unwrap(), 3.0);
        let read = uard_features::npy::read_f32(&path).unwrap();
        assert_eq!(read.values, [1.0, 2.0]);
    }

    #[test]
    fn a_directory_is_no_output_file() {
        let directory = tempfile::tempdir().unwrap();
        let message = write_text(directory.path(), "").unwrap_err().to_string();
        assert!(message.contains("expected the name of a file"), "{message}");
    }
}
