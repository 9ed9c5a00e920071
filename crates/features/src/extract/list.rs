//! Which photos are meant by a folder, or by a list of them?

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::ExtractError;
use crate::captions::read_lines;
use crate::{Error, Result};

/// A photo to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPhoto {
    /// Its path below the folder, with `/`; or its line of the list.
    pub id: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Photos in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotoList {
    photos: Vec<ListedPhoto>,
}

impl PhotoList {
    /// Every file of a folder and the folders below it, in the order of their names; or every line
    /// of a list, as a path relative to the list's folder. Hidden files and folders are left out.
    ///
    /// Whether a file holds a photo shows when it is read: its name decides nothing.
    ///
    /// # Errors
    /// Neither a folder nor a file; one that cannot be read; a photo that is listed twice.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Self::of_folder(path);
        }
        if !path.is_file() {
            return Err(Error::Extract(ExtractError::NoPhotos {
                path: path.to_owned(),
            }));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::of_names(path, folder)
    }

    /// Every file below a folder.
    fn of_folder(folder: &Path) -> Result<Self> {
        let mut photos = Vec::new();
        collect(folder, "", &mut photos)?;
        photos.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Self { photos })
    }

    /// The lines of a list, as paths below a folder.
    ///
    /// # Errors
    /// A list that cannot be read; a photo that is listed twice.
    pub fn of_names(list: &Path, folder: &Path) -> Result<Self> {
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
        let photos = names.into_iter().map(|name| ListedPhoto {
            id: name.to_owned(),
            path: folder.join(name),
        });
        Ok(Self {
            photos: photos.collect(),
        })
    }

    /// The photos.
    pub fn photos(&self) -> &[ListedPhoto] {
        &self.photos
    }
}

/// Files below a folder, with ids that begin with `prefix`.
fn collect(folder: &Path, prefix: &str, photos: &mut Vec<ListedPhoto>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder, "read"))?;
    for entry in entries {
        let entry = entry.map_err(Error::io(folder, "read"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let (path, id) = (entry.path(), format!("{prefix}{name}"));
        match path.is_dir() {
            true => collect(&path, &format!("{id}/"), photos)?,
            false => photos.push(ListedPhoto { id, path }),
        }
    }
    Ok(())
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
        assert!(
            nothing
                .unwrap_err()
                .to_string()
                .contains("a folder of photos")
        );
    }
}
