//! A split of a data directory: opens its files and checks that they fit each other.
//!
//! | file | holds | |
//! |---|---|---|
//! | `{split}_ims.npy` | region features `[I, R, F]` | required, or: |
//! | `{split}_store/` | a feature store: features, boxes, ids, sizes | read if there is no array |
//! | `{split}_caps.txt` | a caption a line | required |
//! | `{split}_map.txt` | the image index of each caption | required if C is no multiple of I |
//! | `{split}_ids.txt` | an id a line, for each image or each caption | optional |
//! | `{split}_counts.npy` | valid regions of each image | optional |
//! | `{split}_boxes.npy` | x1, y1, x2, y2 in pixels `[I, R, 4]` | optional |
//! | `{split}_alignments.json` | which regions show which word | optional |
//! | `{split}_things.json` | what each image shows, whether or not a caption says it | optional |
//! | `images/` | the pictures, named by id | optional |

mod alignments;
mod ids;
mod things;

use std::path::{Component, Path, PathBuf};

use crate::captions::{CaptionFiles, captions_in_order, read_captions, read_map};
use crate::store::{Boxes, RegionStore};
use crate::{Error, Result};
pub use alignments::{Alignments, WordAlignment};
pub(crate) use ids::stem;
use ids::{expect_stored, read_ids};
pub use things::{Thing, Things};
use uard_files::FieldsHash;

/// The number of images whose bytes are hashed by [`Split::data_hash`].
const HASHED_IMAGES: usize = 256;

/// The file extensions of pictures that are looked for, beside the one in the id.
const PICTURE_ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// A split: its features and captions, and optionally boxes, pictures and alignments.
///
/// # Shapes
/// I images, C captions; image i has [`RegionStore::count`] regions.
#[derive(Debug)]
pub struct Split {
    /// `train`, `dev`, `test`, …
    pub name: String,
    /// The features of I images.
    pub regions: RegionStore,
    /// `[C]`
    pub captions: Vec<String>,
    /// `[C]`: the image that each caption is about.
    pub image_of_caption: Vec<usize>,
    /// `[I]`: from the store or the ids file, else the index of each image.
    pub ids: Vec<String>,
    /// The box of each region.
    pub boxes: Option<Boxes>,
    /// The directory of pictures, for [`image_file`](Self::image_file).
    pub images_dir: Option<PathBuf>,
    /// The regions that truly show each word.
    pub alignments: Option<Alignments>,
    /// What each image truly shows.
    pub things: Option<Things>,
    /// A warning for the user, if images are nearly copies of each other.
    pub warning: Option<String>,
}

impl Split {
    /// Opens a split and checks that its files fit each other.
    ///
    /// If there are as many captions as stored images, no map, and equal images follow each other
    /// in runs, each run counts as one image ([`RegionStore::merge_copies`]).
    ///
    /// # Errors
    /// A missing directory or file; errors of the single files; a number of captions, ids, counts, boxes
    /// or alignments that does not fit.
    pub fn open(dir: &Path, split: &str) -> Result<Self> {
        check_present(dir, split)?;
        let files = CaptionFiles::in_directory(dir, split);
        let mut regions = RegionStore::open(dir, split)?;
        let captions = read_captions(&files.captions)?;
        let mut warning = None;
        let image_of_caption = match files.map.exists() {
            true => read_map(&files.map, captions.len(), regions.images())?,
            false => {
                if captions.len() == regions.images() && regions.merge_copies()? == 1 {
                    warning = near_copies(&regions)?;
                }
                captions_in_order(captions.len(), regions.images(), &files)?
            }
        };
        let files = SplitFiles { dir, split };
        let ids = files.ids(&regions, &image_of_caption)?;
        let boxes = files.boxes(&regions)?;
        let alignments = files.existing("alignments.json").map(|path| {
            Alignments::read_json(&path, &captions, |caption| {
                regions.count(image_of_caption[caption])
            })
        });
        let things = files.existing("things.json");
        let things = things.map(|path| Things::read_json(&path, regions.images()));
        Ok(Self {
            name: split.to_owned(),
            boxes,
            things: things.transpose()?,
            images_dir: existing(dir.join("images")),
            alignments: alignments.transpose()?,
            warning,
            regions,
            captions,
            image_of_caption,
            ids,
        })
    }

    /// Opens a split for its images alone. Captions may be missing; if they are there, all is checked as
    /// by [`open`](Self::open).
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_images(dir: &Path, split: &str) -> Result<Self> {
        if CaptionFiles::in_directory(dir, split).captions.exists() {
            return Self::open(dir, split);
        }
        check_features_present(dir, split)?;
        let regions = RegionStore::open(dir, split)?;
        let files = SplitFiles { dir, split };
        Ok(Self {
            name: split.to_owned(),
            ids: files.ids(&regions, &[])?,
            boxes: files.boxes(&regions)?,
            images_dir: existing(dir.join("images")),
            captions: Vec::new(),
            image_of_caption: Vec::new(),
            alignments: None,
            things: None,
            warning: None,
            regions,
        })
    }

    /// The same split with its pictures looked up in another directory.
    pub fn with_images_dir(mut self, dir: PathBuf) -> Self {
        self.images_dir = Some(dir);
        self
    }

    /// The number of images, I.
    pub fn images(&self) -> usize {
        self.regions.images()
    }

    /// The picture of an image: the file of its id in the images directory, without change or with another
    /// extension. `None` if there is none, and for an id that leads out of the directory.
    pub fn image_file(&self, image: usize) -> Option<PathBuf> {
        let dir = self.images_dir.as_ref()?;
        let id = Path::new(self.ids.get(image)?);
        let inside = id
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return None;
        }
        let whole = dir.join(id);
        let appended = PICTURE_ENDINGS.iter().map(|ending| {
            let mut path = whole.clone().into_os_string();
            path.push(format!(".{ending}"));
            PathBuf::from(path)
        });
        let replaced = PICTURE_ENDINGS
            .iter()
            .map(|ending| whole.with_extension(ending));
        let mut candidates = std::iter::once(whole.clone())
            .chain(appended)
            .chain(replaced);
        candidates.find(|path| path.is_file())
    }

    /// The SHA-256 of the data in hex, by which a resumed run checks that it has the data it began with.
    ///
    /// Hashes captions, the image of each, ids, shape and type of the features, counts, and the stored
    /// bytes of at most 256 evenly spread images, first and last included. Reading all of a 33 GB file
    /// would take minutes at every start; so a change in other images is not detected.
    ///
    /// # Errors
    /// A damaged part of a feature store.
    pub fn data_hash(&self) -> Result<String> {
        let mut fields = FieldsHash::default();
        fields.add_number(self.captions.len());
        for (caption, &image) in self.captions.iter().zip(&self.image_of_caption) {
            fields.add(caption.as_bytes());
            fields.add_number(image);
        }
        fields.add_number(self.images());
        for (image, id) in self.ids.iter().enumerate() {
            fields.add(id.as_bytes());
            fields.add_number(self.regions.count(image));
        }
        fields.add(self.regions.element().name().as_bytes());
        fields.add_number(self.regions.regions());
        fields.add_number(self.regions.width());
        for image in spread(self.images(), HASHED_IMAGES) {
            fields.add_number(image);
            fields.add(self.regions.image_bytes(image)?);
        }
        Ok(fields.hex())
    }
}

/// The files of a split beside its features.
struct SplitFiles<'a> {
    dir: &'a Path,
    split: &'a str,
}

impl SplitFiles<'_> {
    /// The file of this ending, if it exists.
    fn existing(&self, ending: &str) -> Option<PathBuf> {
        existing(self.dir.join(format!("{}_{ending}", self.split)))
    }

    /// The id of each image: from the store or the ids file, else its index.
    fn ids(&self, regions: &RegionStore, image_of_caption: &[usize]) -> Result<Vec<String>> {
        match (regions.feature_store(), self.existing("ids.txt")) {
            (Some(store), beside) => {
                let stored = store.ids().step_by(regions.copies());
                let stored: Vec<String> = stored.map(str::to_owned).collect();
                if let Some(path) = beside {
                    let ids = read_ids(&path, regions, image_of_caption)?;
                    expect_stored(&path, &ids, &stored)?;
                }
                Ok(stored)
            }
            (None, Some(path)) => read_ids(&path, regions, image_of_caption),
            (None, None) => Ok((0..regions.images()).map(|i| i.to_string()).collect()),
        }
    }

    /// The boxes of the store or of the boxes file.
    fn boxes(&self, regions: &RegionStore) -> Result<Option<Boxes>> {
        match (Boxes::stored(regions), self.existing("boxes.npy")) {
            (None, Some(path)) => Ok(Some(Boxes::open(path, regions)?)),
            (stored, _) => Ok(stored),
        }
    }
}

/// At most `most` indices below `count`, evenly spread, the first and the last included.
fn spread(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let chosen = count.min(most);
    (0..chosen).map(move |index| match chosen {
        1 => 0,
        _ => index * (count - 1) / (chosen - 1),
    })
}

/// The warning for runs of nearly equal rows, which are probably one image, stored once for each
/// caption and then saved in another precision.
fn near_copies(regions: &RegionStore) -> Result<Option<String>> {
    let Some(copies) = regions.near_copies()? else {
        return Ok(None);
    };
    Ok(Some(format!(
        "{}: each {copies} rows in a run are nearly equal, like copies of one image saved in another \
         precision; they count as different images, so that the captions of one count as wrong for the \
         others. To keep only every {copies}th row: numpy.save(path, array[::{copies}])",
        regions.path().display()
    )))
}

fn existing(path: PathBuf) -> Option<PathBuf> {
    path.exists().then_some(path)
}

fn check_present(dir: &Path, split: &str) -> Result<()> {
    check_features_present(dir, split)?;
    let captions = CaptionFiles::in_directory(dir, split).captions;
    expect_file(captions, split, "captions, one a line,")
}

fn check_features_present(dir: &Path, split: &str) -> Result<()> {
    if !dir.is_dir() {
        return Err(Error::MissingDirectory {
            path: dir.to_owned(),
            split: split.to_owned(),
        });
    }
    let features = CaptionFiles::in_directory(dir, split).images;
    let needed = "region features (images, regions, features), or {split}_store/ beside it,";
    expect_file(features, split, needed)
}

fn expect_file(path: PathBuf, split: &str, needed: &'static str) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    Err(Error::MissingFile {
        path,
        split: split.to_owned(),
        needed,
    })
}

/// Whether a name can be that of a split. The names of its files begin with it, so it must not lead to
/// another directory or name a hidden file.
pub fn is_split_name(name: &str) -> bool {
    let is_forbidden = |c: char| matches!(c, '/' | '\\' | ':') || c.is_control();
    !name.is_empty() && !name.starts_with('.') && !name.contains(is_forbidden)
}

#[cfg(test)]
mod tests;
