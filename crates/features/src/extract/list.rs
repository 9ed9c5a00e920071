//! Lists the photos of a folder or of a text file, in a fixed order.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::ExtractError;
use crate::backbone::is_photo;
use uard_data::captions::read_lines;
use uard_files::{FileError, FileIdentity, is_ignored};

use crate::{Error, Result};

/// A photo of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPhoto {
    /// Its path relative to the folder, with `/`, or its line of the list. Control characters and
    /// bytes that are not UTF-8 are escaped (`\t`, `\xe9`).
    pub id: String,
    /// The path of the file.
    pub path: PathBuf,
    /// Why it cannot be read, if that is known before it is opened.
    pub unreadable: Option<String>,
}

/// Photos in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotoList {
    photos: Vec<ListedPhoto>,
}

impl PhotoList {
    /// The files of a folder and of the folders below it, in the order of their names; or the lines
    /// of a list, as paths relative to the list's folder, or to the working directory if the list
    /// is a pipe; or one photo.
    ///
    /// Hidden files and folders are ignored, and so are those that operating systems create beside
    /// photos. Links are followed. Each folder is visited once, by its path without links if it has
    /// one below the given folder; two names of the same file are two photos. A folder that cannot
    /// be read is listed as unreadable, and so is a name with control characters or bytes that are
    /// not UTF-8. Files are listed whatever their names end with, and whether or not they are
    /// photos.
    ///
    /// # Errors
    /// When the path is neither a folder, nor a list, nor a photo; when it is empty or cannot be
    /// read; when a photo is listed twice.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(Error::io(path, "open"))?;
        let list = if metadata.is_dir() {
            Self::walk(path)?
        } else if metadata.is_file() && is_photo(path)? {
            let name = path.file_name().unwrap_or(path.as_os_str());
            Self::from(vec![ListedPhoto::new(name, path.to_owned())])
        } else {
            let folder = path.parent().filter(|_| metadata.is_file());
            match Self::read(path, folder.unwrap_or(Path::new(""))) {
                Err(Error::Data(uard_data::Error::File(FileError::NotUtf8 { path, .. }))) => {
                    return Err(Error::Extract(ExtractError::NoPhotos { path }));
                }
                outcome => outcome?,
            }
        };
        if list.photos.is_empty() {
            let path = path.to_owned();
            return Err(Error::Extract(ExtractError::NoPhotos { path }));
        }
        Ok(list)
    }

    /// The files of a folder and of the folders below it.
    fn walk(root: &Path) -> Result<Self> {
        let mut photos = Vec::new();
        let mut visited = HashSet::new();
        // Folders are visited before links to folders, so that a folder that a link leads to as
        // well is listed by its own path.
        let mut pending = VecDeque::from([(root.to_owned(), OsString::new())]);
        while let Some((folder, prefix)) = pending.pop_front() {
            let entries = match entries(&folder, &mut visited) {
                Ok(entries) => entries,
                Err(error) if folder == root => return Err(Error::io(root, "read")(error)),
                Err(error) => {
                    let unreadable = format!("the folder cannot be read: {error}");
                    photos.push(ListedPhoto {
                        unreadable: Some(unreadable),
                        ..ListedPhoto::new(&prefix, folder)
                    });
                    continue;
                }
            };
            for entry in &entries {
                let (path, mut id) = (entry.path(), prefix.clone());
                id.push(entry.file_name());
                if !path.is_dir() {
                    photos.push(ListedPhoto::new(&id, path));
                    continue;
                }
                id.push("/");
                match entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                    true => pending.push_back((path, id)),
                    false => pending.push_front((path, id)),
                }
            }
        }
        // Two names may be equal after escaping: the name without escapes is sorted first, because
        // only it is readable.
        photos.sort_by(|a, b| (&a.id, &a.unreadable).cmp(&(&b.id, &b.unreadable)));
        Ok(Self::from(photos))
    }

    /// Reads a list with a path relative to `folder` on each line.
    ///
    /// # Errors
    /// When the list cannot be read, or a photo is listed twice.
    pub fn read(list: &Path, folder: &Path) -> Result<Self> {
        let lines = read_lines(list)?;
        let lines = lines.iter().map(|line| line.trim());
        let names: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let mut first = HashMap::new();
        for (at, name) in names.iter().enumerate() {
            if let Some(before) = first.insert(*name, at) {
                return Err(Error::Extract(ExtractError::RepeatedPhoto {
                    path: list.to_owned(),
                    id: (*name).to_owned(),
                    first: before + 1,
                    second: at + 1,
                }));
            }
        }
        let photos = names
            .into_iter()
            .map(|name| ListedPhoto::new(OsStr::new(name), folder.join(name)));
        Ok(Self::from(photos.collect::<Vec<_>>()))
    }

    /// The photos.
    pub fn photos(&self) -> &[ListedPhoto] {
        &self.photos
    }
}

impl From<Vec<ListedPhoto>> for PhotoList {
    fn from(photos: Vec<ListedPhoto>) -> Self {
        Self { photos }
    }
}

impl ListedPhoto {
    /// An id stands on a line of text between tabs. A name with control characters or bytes that
    /// are not UTF-8 is escaped, and the photo is listed as unreadable.
    fn new(name: &OsStr, path: PathBuf) -> Self {
        let mut id = String::new();
        let mut unreadable = None;
        for chunk in name.as_encoded_bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() {
                    id.extend(character.escape_default());
                    unreadable = Some(
                        "its name holds a tab, the end of a line or another control character; rename it",
                    );
                } else {
                    id.push(character);
                }
            }
            for byte in chunk.invalid() {
                id.push_str(&format!("\\x{byte:02x}"));
                unreadable = Some("its name is not UTF-8; rename it");
            }
        }
        Self {
            id,
            path,
            unreadable: unreadable.map(str::to_owned),
        }
    }
}

/// The entries of a folder in the order of their names; none if the folder was visited before.
fn entries(folder: &Path, visited: &mut HashSet<FileIdentity>) -> io::Result<Vec<fs::DirEntry>> {
    if !visited.insert(FileIdentity::new(folder, &fs::metadata(folder)?)?) {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let mut entries: Vec<fs::DirEntry> = entries
        .into_iter()
        .filter(|entry| !is_ignored(&entry.file_name()))
        .collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &PhotoList) -> Vec<&str> {
        list.photos.iter().map(|photo| photo.id.as_str()).collect()
    }

    #[test]
    fn a_folder_lists_all_files_below_it_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for name in ["z.jpg", "b/猫 1.png", "a b.gif", ".hidden"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        let list = PhotoList::open(folder.path()).unwrap();
        assert_eq!(ids(&list), ["a b.gif", "b/猫 1.png", "z.jpg"]);
        assert!(list.photos.iter().all(|photo| photo.path.is_file()));
    }

    #[test]
    fn a_list_is_read_relative_to_its_folder_and_names_each_photo_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.txt");
        fs::write(&path, "z.jpg\n\na b.gif\n").unwrap();
        let list = PhotoList::open(&path).unwrap();
        assert_eq!(ids(&list), ["z.jpg", "a b.gif"]);
        assert_eq!(list.photos[1].path, folder.path().join("a b.gif"));
        fs::write(&path, "z.jpg\na\nz.jpg\n").unwrap();
        let message = PhotoList::open(&path).unwrap_err().to_string();
        assert!(message.contains("entries 1 and 3"), "{message}");
        let nothing = PhotoList::open(&folder.path().join("nothing"));
        assert!(nothing.unwrap_err().to_string().contains("nothing"));
    }

    fn refusal(path: &Path) -> String {
        PhotoList::open(path).unwrap_err().to_string()
    }

    #[test]
    fn one_photo_is_a_list_of_one_and_another_kind_of_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a photo");
        fs::write(&path, b"\xff\xd8\xff\xe0 and so on").unwrap();
        assert_eq!(ids(&PhotoList::open(&path).unwrap()), ["a photo"]);
        fs::write(&path, b"\0\xff, a film").unwrap();
        assert!(refusal(&path).contains("expected a folder of photos, one photo"));
        fs::write(&path, b"\n").unwrap();
        assert!(refusal(&path).contains("expected a folder of photos, one photo"));
        fs::remove_file(&path).unwrap();
        assert!(refusal(folder.path()).contains("expected a folder of photos, one photo"));
    }

    #[test]
    fn files_of_operating_systems_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["@eaDir", ".thumbnails", "__MACOSX", "album"] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("a.jpg"), b"").unwrap();
        }
        for name in ["._a.jpg", ".DS_Store", "thumbs.DB", "desktop.ini", "a.jpg"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        let list = PhotoList::open(folder.path()).unwrap();
        assert_eq!(ids(&list), ["a.jpg", "album/a.jpg"]);
    }

    #[cfg(unix)]
    mod unix {
        use super::*;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::symlink;

        #[test]
        fn each_folder_is_visited_once_however_many_links_lead_to_it() {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            for inner in ["album/inner", "other"] {
                fs::create_dir_all(at(inner)).unwrap();
            }
            for name in ["a.jpg", "album/inner/b.jpg", "other/c.jpg"] {
                fs::write(at(name), b"").unwrap();
            }
            let outside = tempfile::tempdir().unwrap();
            fs::write(outside.path().join("d.jpg"), b"").unwrap();
            for (to, link) in [
                (Path::new("."), "0 itself"),
                (Path::new("."), "1 itself"),
                (Path::new("other"), "2 sibling"),
                (Path::new("../.."), "album/inner/up"),
                (outside.path(), "outside"),
                (outside.path(), "outside again"),
                (folder.path(), "other/root"),
                (Path::new("nothing"), "dangling"),
                (Path::new("a.jpg"), "a again.jpg"),
            ] {
                symlink(to, at(link)).unwrap();
            }
            let list = PhotoList::open(folder.path()).unwrap();
            let expected = [
                "a again.jpg",
                "a.jpg",
                "album/inner/b.jpg",
                "dangling",
                "other/c.jpg",
                "outside/d.jpg",
            ];
            assert_eq!(ids(&list), expected);
        }

        #[test]
        fn names_with_control_characters_or_not_in_utf8_are_escaped_and_unreadable() {
            let folder = tempfile::tempdir().unwrap();
            for name in [
                &b"a\tb"[..],
                b"a\\tb",
                b"x\xe8",
                b"x\xe9",
                b"new\nline\r",
                b"\x1b[2J",
                "é 猫".as_bytes(),
            ] {
                fs::write(folder.path().join(OsStr::from_bytes(name)), b"").unwrap();
            }
            fs::create_dir(folder.path().join("in\there")).unwrap();
            fs::write(folder.path().join("in\there/a.jpg"), b"").unwrap();
            let list = PhotoList::open(folder.path()).unwrap();
            let found: Vec<(&str, bool)> = list
                .photos
                .iter()
                .map(|photo| (photo.id.as_str(), photo.unreadable.is_none()))
                .collect();
            let expected = [
                ("\\u{1b}[2J", false),
                ("a\\tb", true),
                ("a\\tb", false),
                ("in\\there/a.jpg", false),
                ("new\\nline\\r", false),
                ("x\\xe8", false),
                ("x\\xe9", false),
                ("é 猫", true),
            ];
            assert_eq!(found, expected);
        }
    }
}
