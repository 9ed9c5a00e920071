//! Compares an index with the files of a scan: which photos are new, changed, moved, removed.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::index::file_from_row;
use crate::photo::{ContentHash, PhotoFile, PhotoId};
use crate::{Index, MovedPhoto, Result, Scan};

/// The changes that make an index equal to the files of a scan. Apply [`moved`](Self::moved) first
/// and in one call, because files may have exchanged their paths; the others in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdatePlan {
    /// Photos that are not indexed: encode and add them.
    pub new: Vec<PhotoFile>,
    /// Indexed paths whose files have other content now: encode and add them again.
    pub changed: Vec<PhotoFile>,
    /// Photos with another path or time, and the same content: for [`Writer::move_photos`].
    ///
    /// [`Writer::move_photos`]: crate::Writer::move_photos
    pub moved: Vec<MovedPhoto>,
    /// Indexed paths, of photos and of unreadable files, that no longer exist: for
    /// [`Writer::remove`].
    ///
    /// [`Writer::remove`]: crate::Writer::remove
    pub removed: Vec<PathBuf>,
    /// Files that could not be indexed before, and have not changed since.
    pub still_unreadable: Vec<PhotoFile>,
    /// How many photos are as they were indexed.
    pub unchanged: usize,
}

/// What the plan needs of an indexed photo.
#[derive(Debug)]
struct KnownPhoto {
    id: PhotoId,
    file: PhotoFile,
    content: ContentHash,
}

/// A file that differs from the photo that is indexed at its path, or has no such photo.
struct DifferentFile {
    file: PhotoFile,
    /// The photo that is indexed at its path.
    indexed: Option<KnownPhoto>,
    /// The hash of the file. It is computed only if the file may be a moved one.
    content: Option<ContentHash>,
}

impl Index {
    /// Compares the index with the files that a scan found. A file with the indexed path, size, time
    /// and inode is unchanged, and is not opened.
    ///
    /// A file counts as moved if it has the content of a photo whose own file is gone or has changed.
    /// So files that exchanged their paths are moved, and a copy is a new photo.
    ///
    /// Photos outside of the scanned folders stay as they are, and so do those in files and folders
    /// that the scan could not read.
    ///
    /// # Errors
    /// SQLite reports an error.
    pub fn plan(&self, scan: &Scan) -> Result<UpdatePlan> {
        let mut plan = UpdatePlan::default();
        let mut known = self.known_photos()?;
        let mut unreadable: HashMap<PathBuf, PhotoFile> = HashMap::new();
        for found in self.unreadable()? {
            unreadable.insert(found.file.path.clone(), found.file);
        }
        let mut different = Vec::new();
        for file in &scan.files {
            let indexed = known.remove(&file.path);
            if indexed.as_ref().is_some_and(|photo| photo.file == *file) {
                plan.unchanged += 1;
            } else if unreadable.remove(&file.path).as_ref() == Some(file) {
                plan.still_unreadable.push(file.clone());
            } else {
                different.push(DifferentFile {
                    file: file.clone(),
                    indexed,
                    content: None,
                });
            }
        }
        let scanned = ScannedFolders::new(scan);
        known.retain(|path, _| scanned.contain(path));
        unreadable.retain(|path, _| scanned.contain(path));
        let mut gone: Vec<KnownPhoto> = known.into_values().collect();
        gone.sort_by_key(|photo| photo.id);
        hash_possible_moves(&mut different, &gone);
        plan.assign(different, gone);
        plan.removed.extend(unreadable.into_keys());
        plan.removed.sort();
        Ok(plan)
    }

    fn known_photos(&self) -> Result<HashMap<PathBuf, KnownPhoto>> {
        let read = || -> rusqlite::Result<_> {
            let sql = "SELECT id, content, path, bytes, modified, inode FROM photos";
            let mut statement = self.database.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                let known = KnownPhoto {
                    id: row.get(0)?,
                    content: row.get(1)?,
                    file: file_from_row(row, 2)?,
                };
                Ok((known.file.path.clone(), known))
            })?;
            rows.collect()
        };
        read().map_err(self.read_error())
    }
}

impl UpdatePlan {
    /// Adds each different file as moved, changed or new, and each photo that is gone as removed
    /// unless its file was moved.
    fn assign(&mut self, different: Vec<DifferentFile>, gone: Vec<KnownPhoto>) {
        // A file with the content that is indexed at its path has only another time or inode.
        let (touched, different): (Vec<_>, Vec<_>) = different.into_iter().partition(|found| {
            let indexed = found.indexed.as_ref().map(|photo| photo.content);
            indexed.is_some() && indexed == found.content
        });
        for DifferentFile { file, indexed, .. } in touched {
            self.moved
                .extend(indexed.map(|photo| MovedPhoto { id: photo.id, file }));
        }
        // The photos that lost their files, by content. Of several with one content, those without
        // a file at their path come first, then those with another one, each in the order of their
        // numbers; the lists are reversed, because they are taken from the end.
        let changed = different.iter().filter_map(|found| found.indexed.as_ref());
        let mut lost: HashMap<ContentHash, Vec<PhotoId>> = HashMap::new();
        let mut photos: Vec<&KnownPhoto> = gone.iter().chain(changed).collect();
        photos.reverse();
        for photo in photos {
            lost.entry(photo.content).or_default().push(photo.id);
        }
        let mut found_again = HashSet::new();
        let mut others = Vec::new();
        for found in different {
            let photos = found.content.and_then(|content| lost.get_mut(&content));
            match photos.and_then(Vec::pop) {
                Some(id) => {
                    found_again.insert(id);
                    let file = found.file;
                    self.moved.push(MovedPhoto { id, file });
                }
                None => others.push(found),
            }
        }
        for DifferentFile { file, indexed, .. } in others {
            match indexed {
                Some(photo) if !found_again.contains(&photo.id) => self.changed.push(file),
                _ => self.new.push(file),
            }
        }
        let gone = gone
            .into_iter()
            .filter(|photo| !found_again.contains(&photo.id));
        self.removed.extend(gone.map(|photo| photo.file.path));
    }
}

/// Hashes the files that have the size of a photo whose file is gone or has changed: no other file
/// can be a moved one. A file that cannot be read gets no hash; the caller will fail to encode it.
fn hash_possible_moves(different: &mut [DifferentFile], gone: &[KnownPhoto]) {
    let changed = different.iter().filter_map(|found| found.indexed.as_ref());
    let sizes: HashSet<u64> = gone
        .iter()
        .chain(changed)
        .map(|photo| photo.file.bytes)
        .collect();
    for found in different {
        if sizes.contains(&found.file.bytes) {
            found.content = ContentHash::hash_file(&found.file.path).ok();
        }
    }
}

/// The folders in which a scan would have found a file.
struct ScannedFolders<'a> {
    roots: &'a [PathBuf],
    unread: HashSet<&'a Path>,
}

impl<'a> ScannedFolders<'a> {
    fn new(scan: &'a Scan) -> Self {
        Self {
            roots: &scan.roots,
            unread: scan
                .unread
                .iter()
                .map(|problem| problem.path.as_path())
                .collect(),
        }
    }

    fn contain(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| path.starts_with(root))
            && !path.ancestors().any(|folder| self.unread.contains(folder))
    }
}
