//! Segments: files of packed regions that are written completely and never changed.
//!
//! A segment is written under a hidden name and brought to disk, then renamed, then listed in the
//! database by a transaction. A segment that no transaction lists belongs to a writer that was
//! interrupted, and the next writer removes it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uard_attention::PackedRegions;
use uard_files::{FileError, UnfinishedFile};

use crate::index::ModelIdentity;
use crate::{Error, Result};

const NAME_START: &str = "segment-";
const NAME_END: &str = ".packed";

/// A moment in the work of a writer, at which tests look at the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriterStep {
    /// Before the file of a segment is created.
    Create,
    /// Before some bytes of it are written.
    Write,
    /// Before it is brought to disk and renamed.
    Finish,
    /// After that.
    Finished,
    /// Before a transaction is committed.
    Commit,
    /// After that.
    Committed,
    /// Before a segment that the database does not list is removed.
    Remove,
    /// After that.
    Removed,
}

/// A function that tests run at every step of a writer: it looks at the folder, or lets the step
/// fail. Outside of tests there is none.
#[derive(Default)]
pub(crate) struct StepHook(pub Option<Box<dyn FnMut(WriterStep) -> io::Result<()> + Send>>);

impl fmt::Debug for StepHook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("StepHook").finish_non_exhaustive()
    }
}

impl StepHook {
    /// Calls the function, if there is one.
    ///
    /// # Errors
    /// The function's error.
    pub fn run(&mut self, step: WriterStep) -> io::Result<()> {
        match &mut self.0 {
            Some(hook) => hook(step),
            None => Ok(()),
        }
    }
}

/// The path of a segment.
pub(crate) fn path(folder: &Path, number: i64) -> PathBuf {
    folder.join(format!("{NAME_START}{number}{NAME_END}"))
}

/// Maps a segment, which must have the width and precision of the index.
pub(crate) fn open(path: &Path, model: &ModelIdentity) -> Result<PackedRegions> {
    let regions = PackedRegions::open(path)?;
    let found = (regions.width(), regions.precision());
    if found == (model.width, model.precision) {
        return Ok(regions);
    }
    Err(Error::SegmentShape {
        path: path.to_owned(),
        expected: format!("width {} in {}", model.width, model.precision),
        found: format!("width {} in {}", found.0, found.1),
    })
}

/// Writes a segment, brings it to disk and gives it its name. The database does not list it yet.
pub(crate) fn write(path: &Path, regions: &PackedRegions, hook: &mut StepHook) -> Result<()> {
    let written = write_steps(path, regions, hook);
    Ok(written.map_err(FileError::io(path, "write"))?)
}

fn write_steps(path: &Path, regions: &PackedRegions, hook: &mut StepHook) -> io::Result<()> {
    hook.run(WriterStep::Create)?;
    let mut file = UnfinishedFile::create(path)?;
    regions.write_to(HookedFile {
        file: &mut file,
        hook,
    })?;
    hook.run(WriterStep::Finish)?;
    file.finish()?;
    hook.run(WriterStep::Finished)
}

/// Removes the segments whose numbers are not `listed`.
pub(crate) fn remove_unlisted(
    folder: &Path,
    listed: &BTreeSet<i64>,
    hook: &mut StepHook,
) -> Result<()> {
    for (number, path) in find_all(folder)? {
        if !listed.contains(&number) {
            let mut run = |step| hook.run(step).map_err(FileError::io(&path, "remove"));
            run(WriterStep::Remove)?;
            // On Windows a file that a reader has mapped cannot be removed. The next writer tries
            // again.
            let _ = fs::remove_file(&path);
            run(WriterStep::Removed)?;
        }
    }
    Ok(())
}

/// Number and path of each segment in a folder, listed in the database or not, in order.
pub(crate) fn find_all(folder: &Path) -> Result<Vec<(i64, PathBuf)>, FileError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(FileError::io(folder, "list"))? {
        let entry = entry.map_err(FileError::io(folder, "list"))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(NAME_START));
        let number = number.and_then(|rest| rest.strip_suffix(NAME_END)?.parse().ok());
        found.extend(number.map(|number| (number, entry.path())));
    }
    found.sort();
    Ok(found)
}

/// A file that runs a hook before each write.
struct HookedFile<'a> {
    file: &'a mut UnfinishedFile,
    hook: &'a mut StepHook,
}

impl Write for HookedFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hook.run(WriterStep::Write)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
