//! Lists the files of a dump that has a file for each image.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::ImportError;
use super::{Dump, DumpImage, Indexed, name};
use crate::store::Source;
use crate::{Error, Result};

/// The files with a given extension in some folders, and files that were given themselves.
#[derive(Debug)]
pub(super) struct Files {
    /// All files, in the order in which they are read.
    paths: Vec<PathBuf>,
    sources: Vec<Source>,
}

impl Files {
    /// Lists the files folder by folder in the given order. Within a folder, files whose names are numbers
    /// come first, ordered by number, then the others, ordered by name.
    ///
    /// # Errors
    /// A missing path; a folder without such a file, or with a subfolder of such files.
    pub(super) fn list(
        paths: &[PathBuf],
        ending: &'static str,
        expected: &'static str,
    ) -> Result<Self> {
        let mut files = Self {
            paths: Vec::new(),
            sources: Vec::new(),
        };
        for path in paths {
            let metadata = fs::metadata(path).map_err(Error::io(path, "open"))?;
            let mut found = match metadata.is_dir() {
                true => list_folder(path, ending)?,
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

    /// The files one after the other, each read by `read` as an image.
    pub(super) fn into_dump(
        self,
        read: impl Fn(&Path) -> Result<DumpImage> + 'static,
    ) -> Box<dyn Dump> {
        Box::new(Indexed {
            sources: self.sources,
            images: self.paths.len(),
            next: 0,
            read: move |image: usize| read(&self.paths[image]),
        })
    }
}

/// The id of an image: the name of its file without the extension.
pub(super) fn id(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

fn list_folder(folder: &Path, ending: &str) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let entry = entry.map_err(Error::io(folder, "read"))?;
        let path = entry.path();
        // macOS writes a file `._NAME` beside each file, with the same extension.
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

/// The sort key of a file: numbers before names, numbers by value.
fn number(path: &Path) -> (bool, u64) {
    let number = id(path).parse().ok();
    (number.is_none(), number.unwrap_or_default())
}
