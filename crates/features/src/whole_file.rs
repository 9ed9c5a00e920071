//! How does a file appear whole or not at all? Written beside its place, synced, and renamed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Has `write` fill a hidden file beside `path`, brings it to disk, and gives it its name.
///
/// # Errors
/// Those of `write`; the system refuses. Nothing is left behind then, and what had the name before
/// is as it was.
pub(crate) fn write_whole(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let unfinished = unfinished(path);
    let outcome = write(&unfinished)
        .and_then(|()| sync(&unfinished))
        .and_then(|()| fs::rename(&unfinished, path).map_err(Error::io(path, "rename a file to")));
    if outcome.is_err() {
        // The first error says what happened.
        let _ = fs::remove_file(&unfinished);
    }
    outcome?;
    sync_directory(path)
}

/// Where the file is until it is whole.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let mut hidden = OsString::from(".unfinished-");
    hidden.push(path.file_name().unwrap_or_default());
    path.with_file_name(hidden)
}

fn sync(path: &Path) -> Result<()> {
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.sync_all())
        .map_err(Error::io(path, "write"))
}

/// Makes the new name survive a power cut; where directories cannot be opened, the system does.
fn sync_directory(path: &Path) -> Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if cfg!(unix) {
        let opened = File::open(directory);
        opened
            .and_then(|directory| directory.sync_all())
            .map_err(Error::io(directory, "write"))?;
    }
    Ok(())
}
