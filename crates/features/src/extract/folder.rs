//! Reads a folder of photos with captions and writes the captions of a data directory for training.

use std::path::{Path, PathBuf};

use super::error::ExtractError;
use super::list::PhotoList;
use crate::{Error, Result};
use uard_data::captions::{CaptionFiles, captions_in_order, read_captions, read_map};
use uard_data::store::FeatureStore;

/// The names of splits.
const SPLITS: [&str; 3] = ["train", "dev", "test"];

/// The folders with the photos; if there is neither, photos lie beside the lists.
const PHOTOS: [&str; 2] = ["photos", "images"];

/// A folder of photos with lists of the photos of each split and captions.
///
/// | file | content |
/// |---|---|
/// | `photos/` or `images/` | the photos |
/// | `{split}_ids.txt` | on each line the name of a file in that folder |
/// | `{split}_caps.txt` | on each line a caption, the same number for each photo, in the order of the ids |
/// | `{split}_map.txt` | the index of each caption's photo; needed if photos differ in their number of captions |
#[derive(Debug)]
pub struct CaptionedPhotos {
    /// The folder of the photos.
    pub photos: PathBuf,
    /// Those of `train`, `dev` and `test` that have a list.
    pub splits: Vec<CaptionedSplit>,
}

/// The photos of a split with their captions.
#[derive(Debug)]
pub struct CaptionedSplit {
    /// `train`, `dev`, `test`.
    pub name: String,
    /// I photos.
    pub list: PhotoList,
    /// The captions, `[C]`.
    captions: Vec<String>,
    /// The index of each caption's photo, `[C]`.
    image_of_caption: Vec<usize>,
}

impl CaptionedPhotos {
    /// Reads lists and captions of every split that has a list.
    ///
    /// # Errors
    /// When there is no list, a file cannot be read, or captions do not fit the photos.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut photos = PHOTOS.iter().map(|name| folder.join(name));
        let photos = photos.find(|path| path.is_dir());
        let photos = photos.unwrap_or_else(|| folder.to_owned());
        let listed = |name: &&str| folder.join(format!("{name}_ids.txt")).is_file();
        let splits = SPLITS.into_iter().filter(listed);
        let splits = splits.map(|name| CaptionedSplit::open(folder, name, &photos));
        let splits = splits.collect::<Result<Vec<_>>>()?;
        if splits.is_empty() {
            return Err(Error::Extract(ExtractError::NoSplits {
                path: folder.to_owned(),
            }));
        }
        Ok(Self { photos, splits })
    }
}

impl CaptionedSplit {
    fn open(folder: &Path, name: &str, photos: &Path) -> Result<Self> {
        let ids = folder.join(format!("{name}_ids.txt"));
        let list = PhotoList::read(&ids, photos)?;
        let files = CaptionFiles {
            images: ids,
            ..CaptionFiles::in_directory(folder, name)
        };
        let captions = read_captions(&files.captions)?;
        let images = list.photos().len();
        let image_of_caption = match files.map.exists() {
            true => read_map(&files.map, captions.len(), images)?,
            false => captions_in_order(captions.len(), images, &files)?,
        };
        Ok(Self {
            name: name.to_owned(),
            list,
            captions,
            image_of_caption,
        })
    }

    /// Writes the captions of the photos in a store, and the index of each caption's image, to the
    /// directory of the store.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn write_captions(&self, dir: &Path, store: &FeatureStore) -> Result<()> {
        // The store has the ids of the list in the same order, without those of unreadable photos.
        let mut stored = store.ids().zip(0..).peekable();
        let index = |id: &str| {
            stored
                .next_if(|(stored, _)| *stored == id)
                .map(|(_, at)| at)
        };
        let ids = self.list.photos().iter().map(|photo| photo.id.as_str());
        let indices: Vec<Option<usize>> = ids.map(index).collect();
        let (mut captions, mut map) = (String::new(), String::new());
        for (caption, &image) in self.captions.iter().zip(&self.image_of_caption) {
            if let Some(index) = indices[image] {
                captions.push_str(&format!("{caption}\n"));
                map.push_str(&format!("{index}\n"));
            }
        }
        let files = CaptionFiles::in_directory(dir, &self.name);
        for (path, text) in [(files.captions, captions), (files.map, map)] {
            uard_files::write(&path, text).map_err(Error::io(&path, "write"))?;
        }
        Ok(())
    }
}
