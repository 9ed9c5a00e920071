//! The cached files of a repository, and the commit that each revision had.
//!
//! The folders are those of the Python library: `blobs/` holds files under their etags,
//! `snapshots/COMMIT/` links to them by name, `refs/REVISION` holds the commit of a branch or tag,
//! and an empty `.no_exist/COMMIT/FILE` means that the repository lacks a file.

use std::path::{Path, PathBuf};

use hf_hub::Repo;

use super::WantedFiles;
use crate::source::HubName;
use crate::{Error, Result};

/// Hexadecimal digits of a commit.
const COMMIT_DIGITS: usize = 40;

/// The cached files of one repository.
pub(super) struct CachedRepository {
    folder: PathBuf,
}

impl CachedRepository {
    pub(super) fn new(cache: &Path, name: &HubName) -> Self {
        let repository = Repo::model(name.repository().to_owned());
        Self {
            folder: cache.join(repository.folder_name()),
        }
    }

    /// `models--OWNER--NAME` of the cache.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The commit of a revision that was downloaded before; the revision itself if it is a commit.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = uard_files::read_text(&self.reference(revision)).ok()?;
        is_commit(&commit).then_some(commit)
    }

    /// Writes the commit of a revision into the cache.
    pub(super) fn save_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) {
            return Ok(());
        }
        write_new(&self.reference(revision), commit)
    }

    pub(super) fn snapshot(&self, commit: &str) -> Snapshot {
        Snapshot {
            folder: self.folder.join("snapshots").join(commit),
            absent: self.folder.join(".no_exist").join(commit),
        }
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }
}

/// The cached files of one commit.
pub(super) struct Snapshot {
    pub(super) folder: PathBuf,
    absent: PathBuf,
}

impl Snapshot {
    pub(super) fn has(&self, file: &str) -> bool {
        self.folder.join(file).exists()
    }

    /// Whether the cache says that the repository lacks a file.
    pub(super) fn is_absent(&self, file: &str) -> bool {
        self.absent.join(file).exists()
    }

    /// Writes into the cache which optional files the repository lacks.
    pub(super) fn save_absent(
        &self,
        wanted: WantedFiles<'_>,
        has: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let absent = wanted.optional.iter().filter(|file| !has(file));
        absent
            .filter(|file| !self.is_absent(file))
            .try_for_each(|file| write_new(&self.absent.join(file), ""))
    }
}

pub(super) fn is_commit(text: &str) -> bool {
    text.len() == COMMIT_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    }
    uard_files::write(path, text).map_err(Error::io(path, "write"))
}
