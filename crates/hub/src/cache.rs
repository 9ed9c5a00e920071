//! What the cache of a repository holds, and of which commit.
//!
//! The folders are those of the Python library: `blobs/` holds files under their etags,
//! `snapshots/COMMIT/` links to them by name, `refs/REVISION` holds the commit of a branch or tag,
//! and an empty `.no_exist/COMMIT/FILE` says that the repository lacks a file.

use std::path::{Path, PathBuf};

use hf_hub::Repo;

use super::Wanted;
use crate::source::HubName;
use crate::{Error, Result};

/// Digits of a commit.
const COMMIT: usize = 40;

/// The cached files of one repository.
pub(super) struct Cached {
    folder: PathBuf,
}

impl Cached {
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

    /// The commit of a revision, as far as it was ever asked for; a commit stands for itself.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = uard_files::read_text(&self.reference(revision)).ok()?;
        is_commit(&commit).then_some(commit)
    }

    /// Remembers the commit of a revision.
    pub(super) fn remember(&self, revision: &str, commit: &str) -> Result<()> {
        if is_commit(revision) {
            return Ok(());
        }
        write_new(&self.reference(revision), commit)
    }

    pub(super) fn snapshot(&self, commit: &str) -> Snapshot {
        Snapshot {
            folder: self.folder.join("snapshots").join(commit),
            lacking: self.folder.join(".no_exist").join(commit),
        }
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }
}

/// The cached files of one commit.
pub(super) struct Snapshot {
    pub(super) folder: PathBuf,
    lacking: PathBuf,
}

impl Snapshot {
    pub(super) fn has(&self, file: &str) -> bool {
        self.folder.join(file).exists()
    }

    /// Whether the repository is known to lack a file.
    pub(super) fn lacks(&self, file: &str) -> bool {
        self.lacking.join(file).exists()
    }

    /// Remembers which of the optional files the repository lacks.
    pub(super) fn remember_lacking(
        &self,
        wanted: Wanted<'_>,
        has: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let lacking = wanted.optional.iter().filter(|file| !has(file));
        lacking
            .filter(|file| !self.lacks(file))
            .try_for_each(|file| write_new(&self.lacking.join(file), ""))
    }
}

pub(super) fn is_commit(text: &str) -> bool {
    text.len() == COMMIT && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    }
    uard_files::write(path, text).map_err(Error::io(path, "write"))
}
