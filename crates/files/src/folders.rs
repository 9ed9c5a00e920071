//! For walks through folders of photos: which names are ignored, and whether two paths lead to the
//! same file.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::path::Path;

/// Files and folders that operating systems and storage servers create beside photos, mostly for
/// thumbnails. Names that begin with a dot are ignored as well (`.DS_Store`, `._photo.jpg`,
/// `.thumbnails`).
const IGNORED: [&str; 9] = [
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "__MACOSX",
    "lost+found",
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
];

/// Whether a file or folder of this name is ignored among photos: it is hidden, or operating
/// systems and storage servers create it.
pub fn is_ignored(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
        || IGNORED
            .iter()
            .any(|ignored| name.eq_ignore_ascii_case(ignored))
}

/// Identifies a file or folder whatever path leads to it: device and inode number.
#[cfg(unix)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

/// Identifies a file or folder whatever path leads to it: its path without links. Two hard links to
/// one file count as two files.
#[cfg(not(unix))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileIdentity(std::path::PathBuf);

impl FileIdentity {
    /// The identity of the file that a path leads to. `metadata` is that of the file, not of a link.
    ///
    /// # Errors
    /// The system refuses, where paths must be resolved.
    #[cfg(unix)]
    pub fn new(_: &Path, metadata: &Metadata) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// The identity of the file that a path leads to.
    ///
    /// # Errors
    /// The system refuses.
    #[cfg(not(unix))]
    pub fn new(path: &Path, _: &Metadata) -> io::Result<Self> {
        std::fs::canonicalize(path).map(Self)
    }

    /// The inode number; zero where the system has none.
    pub fn inode(&self) -> u64 {
        #[cfg(unix)]
        return self.inode;
        #[cfg(not(unix))]
        return 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_and_those_of_operating_systems_are_ignored() {
        for name in [".DS_Store", "._a.jpg", "@eaDir", "thumbs.DB"] {
            assert!(is_ignored(OsStr::new(name)), "{name}");
        }
        for name in ["a.jpg", "album", "eaDir", "a.Thumbs.db"] {
            assert!(!is_ignored(OsStr::new(name)), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn all_paths_of_a_file_have_one_identity() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let identity = |name: &str| {
            let path = at(name);
            FileIdentity::new(&path, &std::fs::metadata(&path).unwrap()).unwrap()
        };
        std::fs::write(at("a"), b"").unwrap();
        std::fs::write(at("b"), b"").unwrap();
        std::fs::hard_link(at("a"), at("hard")).unwrap();
        std::os::unix::fs::symlink(at("a"), at("soft")).unwrap();
        assert_eq!(identity("a"), identity("hard"));
        assert_eq!(identity("a"), identity("soft"));
        assert_ne!(identity("a"), identity("b"));
        assert_ne!(identity("a").inode(), identity("b").inode());
    }
}
