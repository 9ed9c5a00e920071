//! Finds the photos in folders. Links that form loops, folders that cannot be read, names that are
//! not UTF-8 and several names of one file do not disturb it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use uard_files::{FileIdentity, is_ignored};
use walkdir::{DirEntry, WalkDir};

use crate::PhotoFile;

/// The file name extensions of the formats that `uard-features` decodes, in lower case.
const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "gif"];

/// The photos in some folders, and what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// The folders and files that the caller gave, as absolute paths.
    pub roots: Vec<PathBuf>,
    /// Regular files with the extension of a photo, each under one name, in the order of their
    /// paths.
    pub files: Vec<PhotoFile>,
    /// Files and folders that could not be read. An update leaves the photos indexed there as they
    /// are.
    pub unread: Vec<ScanProblem>,
    /// Files and folders that were left out for another reason: empty files, pipes, further names
    /// of a file, links to folders that are read under another name.
    pub skipped: Vec<ScanProblem>,
}

/// A file or folder that was left out, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanProblem {
    /// The file or folder.
    pub path: PathBuf,
    /// The reason.
    pub reason: String,
}

impl fmt::Display for ScanProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path.display(), self.reason)
    }
}

impl Scan {
    /// Finds the photos in folders, at any depth. A root may also be a file, which is taken whatever
    /// its extension. Hidden files and folders are ignored, and so are those that operating systems
    /// create beside photos, unless they are roots. Symbolic links are followed last, so that a file
    /// or folder with a path of its own is found by that path.
    ///
    /// Never fails: what cannot be read is listed in [`unread`](Self::unread).
    pub fn folders(roots: &[PathBuf]) -> Self {
        let mut walk = Walk::default();
        for root in roots {
            match std::path::absolute(root) {
                Ok(root) => {
                    walk.starts.push_back(root.clone());
                    walk.scan.roots.push(root);
                }
                Err(error) => walk.add_unread(root, &error),
            }
        }
        while let Some(start) = walk.starts.pop_front() {
            walk.read_folder(&start);
        }
        let links = std::mem::take(&mut walk.linked_files);
        for link in links {
            walk.add_file(&link);
        }
        walk.scan.files.sort_by(|a, b| a.path.cmp(&b.path));
        walk.scan
    }
}

/// A scan in progress.
#[derive(Default)]
struct Walk {
    scan: Scan,
    /// The folders and files to read next: first the roots, then the targets of links to folders.
    starts: VecDeque<PathBuf>,
    /// Links to files, which are read last.
    linked_files: Vec<PathBuf>,
    /// The folders that were read.
    folders: HashSet<FileIdentity>,
    /// The files that were found, with their paths.
    files: HashMap<FileIdentity, PathBuf>,
}

impl Walk {
    /// Reads everything below a folder, except behind links.
    fn read_folder(&mut self, start: &Path) {
        let mut entries = WalkDir::new(start).sort_by_file_name().into_iter();
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) if entry.depth() > 0 && is_ignored(entry.file_name()) => {
                    if entry.file_type().is_dir() {
                        entries.skip_current_dir();
                    }
                }
                Ok(entry) if entry.depth() > 0 && entry.path_is_symlink() => {
                    self.add_link(entry.path());
                }
                Ok(entry) if is_folder(&entry) => {
                    if !self.enter_folder(entry.path(), start) {
                        entries.skip_current_dir();
                    }
                }
                Ok(entry) if entry.depth() == 0 || is_photo(entry.path()) => {
                    self.add_file(entry.path());
                }
                Ok(_) => {}
                Err(error) => {
                    let path = error.path().unwrap_or(start).to_owned();
                    let cause = error.io_error().map(io::Error::to_string);
                    self.scan.unread.push(ScanProblem {
                        path,
                        reason: cause.unwrap_or_else(|| error.to_string()),
                    });
                }
            }
        }
    }

    /// Whether to read a folder: only under the first path that leads to it.
    fn enter_folder(&mut self, folder: &Path, start: &Path) -> bool {
        let identity = fs::metadata(folder).and_then(|found| FileIdentity::new(folder, &found));
        let is_new = match identity {
            Ok(identity) => self.folders.insert(identity),
            Err(error) => {
                self.add_unread(folder, &error);
                return false;
            }
        };
        let is_link = folder == start && !self.scan.roots.iter().any(|root| root == start);
        if is_link && !is_new {
            let reason = "a link to a folder that is read under another name";
            self.add_skipped(folder, reason.into());
        }
        is_new
    }

    fn add_link(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => match self.leads_upward(path) {
                true => {
                    self.add_skipped(path, "a link to a folder that holds a scanned one".into())
                }
                false => self.starts.push_back(path.to_owned()),
            },
            Ok(_) if is_photo(path) => self.linked_files.push(path.to_owned()),
            Ok(_) => {}
            // A link that leads nowhere may have led to a folder, on a disk that is not mounted.
            Err(error) => self.add_unread(path, &error),
        }
    }

    /// Whether a link leads to a root or to a folder that contains one, up to the whole disk.
    fn leads_upward(&self, link: &Path) -> bool {
        let Ok(target) = fs::canonicalize(link) else {
            return false;
        };
        let mut roots = self
            .scan
            .roots
            .iter()
            .filter_map(|root| fs::canonicalize(root).ok());
        roots.any(|root| root.starts_with(&target))
    }

    fn add_file(&mut self, path: &Path) {
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) => return self.add_unread(path, &error),
        };
        let identity = match FileIdentity::new(path, &found) {
            Ok(identity) => identity,
            Err(error) => return self.add_unread(path, &error),
        };
        let file = PhotoFile::with_inode(path, &found, identity.inode());
        if !found.is_file() {
            self.add_skipped(path, "not a regular file".into());
        } else if found.len() == 0 {
            self.add_skipped(path, "an empty file".into());
        } else if let Some(first) = self.files.get(&identity) {
            if first != path {
                let reason = format!("another name of {}", first.display());
                self.add_skipped(path, reason);
            }
        } else {
            self.scan.files.push(file);
            self.files.insert(identity, path.to_owned());
        }
    }

    fn add_unread(&mut self, path: &Path, error: &io::Error) {
        self.scan.unread.push(ScanProblem {
            path: path.to_owned(),
            reason: error.to_string(),
        });
    }

    fn add_skipped(&mut self, path: &Path, reason: String) {
        self.scan.skipped.push(ScanProblem {
            path: path.to_owned(),
            reason,
        });
    }
}

impl PhotoFile {
    /// A file with these metadata.
    pub(crate) fn new(path: &Path, found: &Metadata) -> io::Result<Self> {
        let identity = FileIdentity::new(path, found)?;
        Ok(Self::with_inode(path, found, identity.inode()))
    }

    fn with_inode(path: &Path, found: &Metadata, inode: u64) -> Self {
        Self {
            path: path.to_owned(),
            bytes: found.len(),
            modified: modified(found),
            inode,
        }
    }
}

/// Whether an entry is a folder, or a root that is a link to one.
fn is_folder(entry: &DirEntry) -> bool {
    entry.file_type().is_dir() || (entry.depth() == 0 && entry.path().is_dir())
}

fn is_photo(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| EXTENSIONS.contains(&found.to_ascii_lowercase().as_str()))
}

/// When a file was last modified, in nanoseconds since 1970; zero where the file system keeps no
/// times.
fn modified(found: &Metadata) -> i64 {
    let Ok(time) = found.modified() else {
        return 0;
    };
    let nanoseconds = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    };
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}
