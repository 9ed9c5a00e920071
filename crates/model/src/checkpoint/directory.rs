//! Writes and removes the checkpoints of a run so that a crash at any moment leaves only complete
//! ones.
//!
//! The files of a checkpoint are written into a hidden directory and synced, then the directory is
//! renamed. Directories whose name starts with a dot are therefore unfinished or outdated, and are
//! removed when the run is resumed.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use uard_files::sync_directory;

use super::sums::{SUMS, Sums};
use crate::{Error, Result};

/// The name of the directory in a run.
pub(super) const CHECKPOINTS: &str = "checkpoints";

const UNFINISHED: &str = ".unfinished-";
const OUTDATED: &str = ".outdated-";
const PREFIX: &str = "step-";

/// Number of bytes that are read of a pointer file; more than any name of a checkpoint has.
const LONGEST_NAME: u64 = 60;

/// Name and bytes of a file of a checkpoint.
pub type NamedBytes = (&'static str, Vec<u8>);

/// The directory `checkpoints` of a run.
#[derive(Debug, Clone)]
pub struct CheckpointDirectory {
    path: PathBuf,
}

/// The two pointer files of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointer {
    /// `latest`, which names the newest checkpoint.
    Latest,
    /// `best`, which names the checkpoint of highest rsum.
    Best,
}

impl Pointer {
    fn file(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::Best => "best",
        }
    }
}

/// The checkpoint that a pointer file names; `None` without such a file.
///
/// # Errors
/// The file cannot be read, or names no checkpoint beside it.
pub(super) fn named_by(pointer: &Path) -> Result<Option<PathBuf>> {
    let bytes = match uard_files::open(pointer) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened
            .and_then(first_bytes)
            .map_err(Error::io(pointer, "read"))?,
    };
    let name = String::from_utf8_lossy(&bytes).trim().to_owned();
    let path = pointer.with_file_name(&name);
    if name.starts_with(PREFIX) && path.is_dir() {
        return Ok(Some(path));
    }
    Err(Error::Pointer {
        path: pointer.to_path_buf(),
        found: name,
    })
}

/// The first [`LONGEST_NAME`] bytes of a file, because the user may give any large file as a pointer.
fn first_bytes(file: fs::File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST_NAME).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl CheckpointDirectory {
    /// The directory `checkpoints` of a run directory. Creates and reads nothing.
    pub fn of_run(run: &Path) -> Self {
        Self {
            path: run.join(CHECKPOINTS),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the checkpoint of a step; the alphabetical order of names is the order of steps.
    pub fn name(step: usize) -> String {
        format!("{PREFIX}{step:08}")
    }

    /// Names of the complete checkpoints, oldest first; empty if there is no directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = self.entries()?;
        names.retain(|name| name.starts_with(PREFIX));
        names.sort_unstable();
        Ok(names)
    }

    /// The newest complete checkpoint.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn newest(&self) -> Result<Option<PathBuf>> {
        Ok(self.names()?.last().map(|name| self.path.join(name)))
    }

    /// The checkpoint that a pointer names; `None` where there is no such pointer.
    ///
    /// # Errors
    /// When the pointer cannot be read, or names a missing checkpoint.
    pub fn pointed(&self, pointer: Pointer) -> Result<Option<PathBuf>> {
        named_by(&self.path.join(pointer.file()))
    }

    /// Removes the unfinished directories of a killed process, and restores a checkpoint that it was
    /// about to replace.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn recover(&self) -> Result<()> {
        for entry in self.entries()? {
            let path = self.path.join(&entry);
            let original = entry
                .strip_prefix(OUTDATED)
                .map(|name| self.path.join(name));
            match original {
                Some(original) if !original.exists() => {
                    fs::rename(&path, &original).map_err(Error::io(&path, "rename"))?;
                }
                Some(_) => remove(&path)?,
                None if entry.starts_with(UNFINISHED) => remove(&path)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Writes a checkpoint and its checksums atomically; replaces a checkpoint of the same name.
    ///
    /// # Errors
    /// When a file cannot be written; then the existing checkpoints are unchanged.
    pub fn write(&self, name: &str, files: &[NamedBytes]) -> Result<PathBuf> {
        self.write_with(name, files, |path, bytes| uard_files::write(path, bytes))
    }

    fn write_with(
        &self,
        name: &str,
        files: &[NamedBytes],
        write: impl Fn(&Path, &[u8]) -> io::Result<()>,
    ) -> Result<PathBuf> {
        let target = self.path.join(name);
        let unfinished = self.path.join(format!("{UNFINISHED}{name}"));
        let outcome = fill(&unfinished, files, write)
            .and_then(|()| self.put(&unfinished, name))
            .map_err(|source| Error::SaveFailed {
                path: target.clone(),
                source,
            });
        if outcome.is_err() {
            // Only the first error is reported. If this removal fails, `recover` removes the rest.
            let _ = fs::remove_dir_all(&unfinished);
        }
        outcome.map(|()| target)
    }

    /// Renames a finished directory to its final name. An existing checkpoint of that name is renamed
    /// first and removed at the end.
    fn put(&self, unfinished: &Path, name: &str) -> io::Result<()> {
        let target = self.path.join(name);
        let outdated = self.path.join(format!("{OUTDATED}{name}"));
        let replaces = target.exists();
        if replaces {
            fs::rename(&target, &outdated)?;
        }
        if let Err(error) = fs::rename(unfinished, &target) {
            if replaces {
                fs::rename(&outdated, &target)?;
            }
            return Err(error);
        }
        sync_directory(&self.path)?;
        if replaces {
            fs::remove_dir_all(&outdated)
        } else {
            Ok(())
        }
    }

    /// Points a pointer at a checkpoint, atomically.
    ///
    /// # Errors
    /// When the pointer cannot be written; then it is unchanged.
    pub fn point(&self, pointer: Pointer, name: &str) -> Result<()> {
        let target = self.path.join(pointer.file());
        uard_files::write(&target, format!("{name}\n")).map_err(|source| Error::SaveFailed {
            path: target,
            source,
        })
    }

    /// Removes all checkpoints but the newest `keep_last` and the best.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn prune(&self, keep_last: usize, best: Option<&str>) -> Result<()> {
        let names = self.names()?;
        let old = names.len().saturating_sub(keep_last);
        for name in names[..old]
            .iter()
            .filter(|name| Some(name.as_str()) != best)
        {
            // Renamed first, so that a crash during the removal leaves no incomplete checkpoint.
            let path = self.path.join(name);
            let outdated = self.path.join(format!("{UNFINISHED}{name}"));
            fs::rename(&path, &outdated).map_err(Error::io(&path, "rename"))?;
            remove(&outdated)?;
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<String>> {
        let listing = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listing => listing.map_err(Error::io(&self.path, "list"))?,
        };
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(Error::io(&self.path, "list"))?;
            names.extend(entry.file_name().into_string().ok());
        }
        Ok(names)
    }
}

/// Writes files and their checksums to a new directory, which appears whole or not at all.
pub(super) fn write_new(directory: &Path, files: &[NamedBytes]) -> io::Result<()> {
    let mut hidden = OsString::from(UNFINISHED);
    hidden.push(directory.file_name().unwrap_or_default());
    let unfinished = directory.with_file_name(hidden);
    fill(&unfinished, files, |path, bytes| {
        uard_files::write(path, bytes)
    })?;
    fs::rename(&unfinished, directory)?;
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// Writes files and their checksums into a new directory.
fn fill(
    directory: &Path,
    files: &[NamedBytes],
    write: impl Fn(&Path, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    for (name, bytes) in files {
        write(&directory.join(name), bytes)?;
    }
    write(&directory.join(SUMS), Sums::text(files).as_bytes())?;
    sync_directory(directory)
}

fn remove(path: &Path) -> Result<()> {
    let outcome = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    outcome.map_err(Error::io(path, "remove"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Vec<NamedBytes> {
        vec![("a", text.as_bytes().to_vec()), ("b", vec![0; 10])]
    }

    fn directory(run: &tempfile::TempDir) -> CheckpointDirectory {
        CheckpointDirectory::of_run(run.path())
    }

    #[test]
    fn a_failed_write_leaves_earlier_checkpoints_and_no_unfinished_directory() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = directory(&run);
        let before = checkpoints.write("step-00000001", &files("old")).unwrap();
        for name in ["step-00000001", "step-00000002"] {
            let full = |path: &Path, bytes: &[u8]| match path.file_name() {
                Some(name) if name == "b" => Err(io::Error::from(io::ErrorKind::StorageFull)),
                _ => uard_files::write(path, bytes),
            };
            let error = checkpoints
                .write_with(name, &files("new"), full)
                .unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("earlier checkpoints are untouched"),
                "{error}"
            );
            assert_eq!(fs::read(before.join("a")).unwrap(), b"old");
            assert_eq!(checkpoints.entries().unwrap(), ["step-00000001"]);
        }
    }

    #[test]
    fn writing_again_replaces_the_whole_checkpoint() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = directory(&run);
        checkpoints.write("step-00000001", &files("old")).unwrap();
        let path = checkpoints.write("step-00000001", &files("new")).unwrap();
        assert_eq!(fs::read(path.join("a")).unwrap(), b"new");
        assert_eq!(checkpoints.entries().unwrap(), ["step-00000001"]);
    }

    #[test]
    fn directories_of_a_killed_process_are_removed_or_restored() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = directory(&run);
        let one = checkpoints.write("step-00000001", &files("one")).unwrap();
        let two = checkpoints.write("step-00000002", &files("two")).unwrap();
        let at = |name: &str| checkpoints.path().join(name);
        // The states after a kill while writing, between the two renames, and before the last
        // removal.
        fs::create_dir(at(".unfinished-step-00000003")).unwrap();
        fs::write(at(".unfinished-best"), "x").unwrap();
        fs::rename(&one, at(".outdated-step-00000001")).unwrap();
        fs::create_dir(at(".outdated-step-00000002")).unwrap();
        checkpoints.recover().unwrap();
        let mut entries = checkpoints.entries().unwrap();
        entries.sort();
        assert_eq!(entries, ["step-00000001", "step-00000002"]);
        assert_eq!(fs::read(two.join("a")).unwrap(), b"two");
        assert_eq!(checkpoints.newest().unwrap(), Some(two));
    }

    #[test]
    fn pruning_keeps_the_newest_and_the_best() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = directory(&run);
        for step in 1..=5 {
            checkpoints
                .write(&CheckpointDirectory::name(step), &files("x"))
                .unwrap();
        }
        checkpoints.prune(2, Some("step-00000002")).unwrap();
        assert_eq!(
            checkpoints.names().unwrap(),
            ["step-00000002", "step-00000004", "step-00000005"]
        );
    }

    #[test]
    fn a_pointer_to_a_missing_checkpoint_is_an_error() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = directory(&run);
        assert_eq!(checkpoints.names().unwrap(), Vec::<String>::new());
        assert_eq!(checkpoints.pointed(Pointer::Best).unwrap(), None);
        let path = checkpoints.write("step-00000001", &files("x")).unwrap();
        checkpoints.point(Pointer::Best, "step-00000001").unwrap();
        assert_eq!(checkpoints.pointed(Pointer::Best).unwrap(), Some(path));
        checkpoints.point(Pointer::Best, "step-00000009").unwrap();
        let error = checkpoints.pointed(Pointer::Best).unwrap_err().to_string();
        assert!(error.contains("step-00000009"), "{error}");
    }
}
