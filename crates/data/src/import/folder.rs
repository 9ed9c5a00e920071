//! The files of a folder that are the images of a dump, in order.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::ImportError;
use super::name;
use crate::store::Source;
use crate::{Error, Result};

/// The files with an ending below some folders, and files that were named themselves.
#[derive(Debug)]
pub(super) struct Files {
    /// In the order in which they are read.
    pub(super) paths: Vec<PathBuf>,
    /// How many were taken with [`next`](Self::next).
    pub(super) taken: usize,
    pub(super) sources: Vec<Source>,
}

impl Files {
    /// Lists them: folder by folder in the order given, those of a folder by number where their
    /// names are numbers, else by name.
    ///
    /// # Errors
    /// A path that is not there; a folder without such a file, or with a folder of such files.
    pub(super) fn list(
        paths: &[PathBuf],
        ending: &'static str,
        expected: &'static str,
    ) -> Result<Self> {
        let mut files = Self {
            paths: Vec::new(),
            taken: 0,
            sources: Vec::new(),
        };
        for path in paths {
            let metadata = fs::metadata(path).map_err(Error::io(path, "open"))?;
            let mut found = match metadata.is_dir() {
                true => of_folder(path, ending)?,
                false => vec![(path.clone(), metadata.len())],
            };
            if found.is_empty() {
                return Err(Error::Import(ImportError::Nothing {
                    path: path.clone(),
                    expected,
                }));
            }
            found.sort_by_cached_key(|(path, _)| (number(path), path.clone()));
            files.sources.push(Source {
                name: name(path),
                bytes: found.iter().map(|(_, bytes)| bytes).sum(),
                files: found.len(),
            });
            files.paths.extend(found.into_iter().map(|(path, _)| path));
        }
        Ok(files)
    }

    /// The next file.
    pub(super) fn next(&mut self) -> Option<PathBuf> {
        let path = self.paths.get(self.taken)?;
        self.taken += 1;
        Some(path.clone())
    }

    /// Taken and all files.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.taken as u64, self.paths.len() as u64)
    }
}

/// The id that a file is named after.
pub(super) fn id(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

fn of_folder(folder: &Path, ending: &str) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let entry = entry.map_err(Error::io(folder, "read"))?;
        let path = entry.path();
        // What macOS keeps beside each file, `._NAME`, has the ending of the file.
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if is_hidden {
            continue;
        }
        let metadata = fs::metadata(&path).map_err(Error::io(&path, "open"))?;
        if metadata.is_dir() && holds(&path, ending)? {
            return Err(Error::Import(ImportError::FolderWithin { path }));
        }
        if !metadata.is_dir() && has(&path, ending) {
            found.push((path, metadata.len()));
        }
    }
    Ok(found)
}

fn holds(folder: &Path, ending: &str) -> Result<bool> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder, "read"))?;
    Ok(entries.flatten().any(|entry| has(&entry.path(), ending)))
}

fn has(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|its| its == ending)
}

/// Numbers before names.
fn number(path: &Path) -> (bool, u64) {
    let number = id(path).parse().ok();
    (number.is_none(), number.unwrap_or_default())
}
