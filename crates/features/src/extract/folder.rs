//! A folder of photos with captions, made into a data directory to train on.

use std::path::{Path, PathBuf};

use super::error::ExtractError;
use super::list::PhotoList;
use crate::{Error, Result};
use uard_data::captions::{CaptionFiles, captions_in_order, read_captions, read_map};
use uard_data::store::FeatureStore;

/// The splits that are looked for.
const SPLITS: [&str; 3] = ["train", "dev", "test"];

/// Folders that photos are looked for in; without one of them they lie beside the lists.
const PHOTOS: [&str; 2] = ["photos", "images"];

/// A folder of photos, lists of them, and their captions.
///
/// | file | holds |
/// |---|---|
/// | `photos/` or `images/` | the photos |
/// | `{split}_ids.txt` | a file name of that folder a line |
/// | `{split}_caps.txt` | a caption a line, as many for each photo, in the order of the ids |
/// | `{split}_map.txt` | the index of each caption's photo, where photos differ in their captions |
#[derive(Debug)]
pub struct CaptionedPhotos {
    /// Where the photos are.
    pub photos: PathBuf,
    /// `train`, `dev` and `test`, as far as there are lists of them.
    pub splits: Vec<CaptionedSplit>,
}

/// Photos of a split, and what they were called.
#[derive(Debug)]
pub struct CaptionedSplit {
    /// `train`, `dev`, `test`.
    pub name: String,
    /// I photos.
    pub list: PhotoList,
    /// `[C]`
    captions: Vec<String>,
    /// `[C]`
    image_of_caption: Vec<usize>,
}

impl CaptionedPhotos {
    /// Reads lists and captions of every split that is there.
    ///
    /// # Errors
    /// Not one list; a file that cannot be read; captions that do not fit their photos.
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
        let list = PhotoList::of_names(&ids, photos)?;
        let files = CaptionFiles {
            images: ids,
            ..CaptionFiles::of(folder, name)
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

    /// Writes the captions of the photos that a store holds beside it, with the image of each.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn write_captions(&self, dir: &Path, store: &FeatureStore) -> Result<()> {
        // Ids of a store are those of the list, in its order, without the unreadable ones.
        let mut stored = store.ids().zip(0..).peekable();
        let place = |id: &str| {
            stored
                .next_if(|(stored, _)| *stored == id)
                .map(|(_, at)| at)
        };
        let ids = self.list.photos().iter().map(|photo| photo.id.as_str());
        let places: Vec<Option<usize>> = ids.map(place).collect();
        let (mut captions, mut map) = (String::new(), String::new());
        for (caption, &image) in self.captions.iter().zip(&self.image_of_caption) {
            if let Some(place) = places[image] {
                captions.push_str(&format!("{caption}\n"));
                map.push_str(&format!("{place}\n"));
            }
        }
        let files = CaptionFiles::of(dir, &self.name);
        for (path, text) in [(files.captions, captions), (files.map, map)] {
            uard_files::write(&path, text).map_err(Error::io(&path, "write"))?;
        }
        Ok(())
    }
}
