//! Writes a feature store; a write that was stopped can be continued.
//!
//! The list of images is split into parts of a fixed number of entries. A part is written after its last
//! entry was added, and is on disk whole or not at all. So a write that is stopped loses at most one part,
//! continues after the last whole part, and ends with the same bytes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use uard_files::DirectoryLock;

use super::entry::Entry;
use super::error::{EntryProblem, StoreError};
use super::feature_store::{part_path, store_path};
use super::manifest::{Manifest, StoreFile};
use super::part::Part;
use super::part_builder::{PartBuilder, PartHeader};
use super::share::ShareOfList;
use crate::{Error, Result};

/// The file that lists the entries without features.
pub(super) const UNREADABLE: &str = "unreadable.tsv";

/// The number of unreadable entries that an error names if no image could be stored.
const NAMED_UNREADABLE: usize = 3;

/// Writes a store entry by entry; one part at a time is held in memory.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let dir = dir.path();
/// use uard_data::store::{Element, Entry, FeatureStore, Manifest, Provenance, StoreWriter};
///
/// let provenance = Provenance::Imported {
///     format: "mine".to_owned(),
///     sources: vec![],
///     tool_version: "1".to_owned(),
/// };
/// let manifest = Manifest::new(2, Element::F32, 36, provenance).with_columns(["boxes"]);
/// let (mut writer, stored) = StoreWriter::create_or_continue(dir, "dev", &manifest)?;
/// assert_eq!(stored, 0);
/// for id in ["a", "b"] {
///     if writer.already_has(id)? {
///         continue;
///     }
///     writer.add(Entry {
///         id: id.to_owned(),
///         boxes: Some(vec![[0.0, 0.0, 9.0, 9.0]]),
///         features: vec![0.5, 1.0],
///         ..Entry::default()
///     })?;
/// }
/// assert_eq!(writer.finish()?.images, 2);
/// assert_eq!(FeatureStore::open(dir, "dev")?.boxes(1)?.unwrap().len(), 1);
/// # Ok::<(), uard_data::Error>(())
/// ```
#[derive(Debug)]
pub struct StoreWriter {
    path: PathBuf,
    file: StoreFile,
    /// The headers of the parts on disk.
    written: Vec<PartHeader>,
    part: PartBuilder,
    /// The index in the list of every entry that was stored or skipped.
    positions: HashMap<String, usize>,
    /// The entries that were stored before, in the order of the list.
    stored: Vec<String>,
    /// The number of these entries that the caller has passed again.
    passed: usize,
    /// Locks out other writers; `None` for a complete store, which is not written to.
    _lock: Option<DirectoryLock>,
}

/// The number of entries of a finished store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Finished {
    /// Images with features.
    pub images: usize,
    /// Entries of the list without features.
    pub unreadable: usize,
}

impl StoreWriter {
    /// Begins `DIR/{split}_store`, or continues it after its last whole part.
    ///
    /// Returns the number of entries of the list that are stored already. They must be passed again, to
    /// [`already_has`](Self::already_has), so that a changed list is refused.
    ///
    /// # Errors
    /// A store of another manifest (the difference is named) or format; a damaged part; another process
    /// that writes the store; files that cannot be read or written.
    pub fn create_or_continue(
        dir: &Path,
        split: &str,
        manifest: &Manifest,
    ) -> Result<(Self, usize)> {
        Self::create_or_continue_share(dir, split, manifest, None)
    }

    /// The same for a share of a list, in a store of its own: `DIR/{split}-3-of-16_store`. Without an image
    /// it can be finished too.
    ///
    /// # Errors
    /// Those of [`create_or_continue`](Self::create_or_continue), and a list that has changed.
    pub fn create_or_continue_share(
        dir: &Path,
        split: &str,
        manifest: &Manifest,
        share: Option<&ShareOfList>,
    ) -> Result<(Self, usize)> {
        let path = match share {
            None => store_path(dir, split),
            Some(share) => store_path(dir, &share.share.split(split)),
        };
        let begun = StoreFile::begun(manifest, share);
        let lock = lock(&path)?;
        let file = match StoreFile::path(&path).exists() {
            true => StoreFile::read(&path)?,
            false => {
                begun.write(&path)?;
                begun.clone()
            }
        };
        file.check_continues(&path, &begun)?;
        let written = whole_parts(&path, &file)?;
        let lists = written.iter().flat_map(PartHeader::list);
        let stored: Vec<String> = lists.map(|entry| entry.id().to_owned()).collect();
        let positions = stored.iter().cloned().zip(0..).collect();
        let writer = Self {
            part: PartBuilder::new(written.len(), &file.manifest),
            path,
            file,
            written,
            positions,
            passed: 0,
            stored,
            _lock: lock,
        };
        let stored = writer.stored.len();
        Ok((writer, stored))
    }

    /// Checks that a store can be written, so that an error is reported before features are computed.
    ///
    /// # Errors
    /// Another process that writes the store; a directory that cannot be written.
    pub fn check_writable(store: &Path) -> Result<()> {
        drop(lock(store)?);
        // Removes the directory only if it is empty, that is, if the lock created it.
        let _ = std::fs::remove_dir(store);
        Ok(())
    }

    /// Whether the next entry of the list is stored already; if so, it counts as passed.
    ///
    /// # Errors
    /// The store has another entry at this position of the list.
    pub fn already_has(&mut self, id: &str) -> Result<bool> {
        let Some(stored) = self.stored.get(self.passed) else {
            return Ok(false);
        };
        if stored != id {
            return Err(Error::Store(StoreError::OtherList {
                path: self.path.clone(),
                position: self.passed,
                stored: stored.clone(),
                given: id.to_owned(),
            }));
        }
        self.passed += 1;
        Ok(true)
    }

    /// Stores the next entry of the list.
    ///
    /// # Errors
    /// [`StoreError::Entry`] for an invalid entry, of which nothing is stored; a stored entry that was not
    /// [passed](Self::already_has) before; a complete store; a part that cannot be written.
    pub fn add(&mut self, entry: Entry) -> Result<()> {
        self.check_next(&entry.id)?;
        if let Some(&first) = self.positions.get(&entry.id) {
            return Err(Error::Store(StoreError::Entry {
                id: entry.id,
                problem: EntryProblem::RepeatedId { first },
            }));
        }
        let id = entry.id.clone();
        let refuse = |problem| {
            Error::Store(StoreError::Entry {
                id: id.clone(),
                problem,
            })
        };
        entry.check(&self.file.manifest).map_err(refuse)?;
        self.part.add(entry, &self.file.manifest).map_err(refuse)?;
        self.note(id)
    }

    /// Records that the next entry of the list has no features, with the reason. Its id may be that of
    /// an earlier entry.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn skip(&mut self, id: &str, reason: &str) -> Result<()> {
        self.check_next(id)?;
        self.part.skip(id, reason);
        self.note(id.to_owned())
    }

    /// Writes the last part and marks the store as complete.
    ///
    /// # Errors
    /// A list that is shorter than the stored part of it; a store without images; files that cannot be
    /// written.
    pub fn finish(mut self) -> Result<Finished> {
        if self.passed < self.stored.len() {
            return Err(Error::Store(StoreError::ShorterList {
                path: self.path,
                stored: self.stored.len(),
                given: self.passed,
            }));
        }
        if self.part.entries() > 0 {
            self.write_part()?;
        }
        let images = self.written.iter().map(|part| part.ids.len()).sum();
        let unreadable = self.written.iter().map(|part| part.unreadable.len()).sum();
        if !self.file.complete && unreadable > 0 {
            self.write_unreadable()?;
        }
        if images == 0 && self.file.share.is_none() {
            let entries = self.written.iter().flat_map(|part| &part.unreadable);
            let first = entries.map(|entry| format!("{}: {}", entry.id, entry.reason));
            return Err(Error::Store(StoreError::Empty {
                first: first.take(NAMED_UNREADABLE).collect(),
                path: self.path,
                unreadable,
            }));
        }
        if !self.file.complete {
            let digests = self.written.iter().map(|part| part.sha256.clone());
            self.file.parts = digests.collect();
            self.file.images = images;
            self.file.complete = true;
            self.file.write(&self.path)?;
        }
        Ok(Finished { images, unreadable })
    }

    fn check_next(&self, id: &str) -> Result<()> {
        if let Some(stored) = self.stored.get(self.passed) {
            return Err(Error::Store(StoreError::OtherList {
                path: self.path.clone(),
                position: self.passed,
                stored: stored.clone(),
                given: id.to_owned(),
            }));
        }
        if self.file.complete {
            return Err(Error::Store(StoreError::Complete {
                path: self.path.clone(),
                id: id.to_owned(),
            }));
        }
        if id.is_empty() || id.contains(['\t', '\n', '\r']) {
            return Err(Error::Store(StoreError::Entry {
                id: id.to_owned(),
                problem: EntryProblem::Id,
            }));
        }
        Ok(())
    }

    fn note(&mut self, id: String) -> Result<()> {
        self.positions.insert(id, self.positions.len());
        match self.part.entries() == self.file.manifest.images_per_part {
            true => self.write_part(),
            false => Ok(()),
        }
    }

    fn write_part(&mut self) -> Result<()> {
        let number = self.written.len();
        let next = PartBuilder::new(number + 1, &self.file.manifest);
        let part = std::mem::replace(&mut self.part, next);
        self.written
            .push(part.write(&part_path(&self.path, number))?);
        Ok(())
    }

    fn write_unreadable(&self) -> Result<()> {
        let entries = self.written.iter().flat_map(|part| &part.unreadable);
        let lines = entries.map(|entry| {
            let reason = entry.reason.replace(['\t', '\n', '\r'], " ");
            format!("{}\t{reason}\n", entry.id)
        });
        let path = self.path.join(UNREADABLE);
        uard_files::write(&path, lines.collect::<String>()).map_err(Error::io(&path, "write"))
    }
}

/// Locks a store against other writers. A complete store is not locked, because it is not written to and
/// may lie in a read-only directory.
fn lock(store: &Path) -> Result<Option<DirectoryLock>> {
    if StoreFile::path(store).exists() && StoreFile::read(store)?.complete {
        return Ok(None);
    }
    let lock = DirectoryLock::acquire(store).map_err(Error::io(store, "write to"))?;
    Ok(Some(lock))
}

/// The headers of the parts on disk up to the first that is missing.
///
/// In a store that is not complete, a part with fewer entries than `images_per_part` does not count: it
/// was the last part of the list, and is written again.
fn whole_parts(store: &Path, file: &StoreFile) -> Result<Vec<PartHeader>> {
    let mut written = Vec::new();
    loop {
        let number = written.len();
        let path = part_path(store, number);
        let expected = match file.complete {
            true => number < file.parts.len(),
            false => path.exists(),
        };
        if !expected {
            return Ok(written);
        }
        let header = Part::open(&path, number, &file.manifest)?.header;
        if !file.complete && header.entries() < file.manifest.images_per_part {
            return Ok(written);
        }
        written.push(header);
    }
}
