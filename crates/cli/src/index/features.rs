//! Updates an index from a data directory: the features of its images were computed before, and no
//! encoder of photos is needed. Pictures are optional.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use rayon::prelude::*;
use uard_data::dataset::Split;
use uard_data::store::{Boxes, Provenance};
use uard_features::backbone::PhotoLimits;
use uard_features::extract::Decoded;
use uard_files::sha256;
use uard_search::{ContentHash, NewPhoto, PhotoFile, PhotoMetadata, Preview, Scan, Writer};

use candle_core::Device;

use super::batch::{Batch, PhotoToAdd};
use super::model::{HASH_DIGITS, IndexModel, expect_encoder};
use super::photo;
use super::report::{Changes, Updated};
use crate::exit::wrong;
use crate::interrupt;
use crate::terminal::{bar_of_photos, note, photos_a_second};

/// How many images are read at once: as many as a segment of the index holds.
const CHUNK: usize = 256;

/// A split of a data directory whose images are to be indexed.
#[derive(Debug)]
pub struct FeatureSource {
    split: Split,
    boxes: Boxes,
    /// The data directory, as an existing path.
    data: PathBuf,
    /// The picture of each image that has one, as an existing path.
    pictures: Vec<Option<PathBuf>>,
}

/// An image of the split, and what is compared with the index.
struct SplitImage {
    index: usize,
    file: PhotoFile,
    content: ContentHash,
}

impl FeatureSource {
    /// Opens a split. Pictures are looked for in `images`, or else in the folder `images` of the data
    /// directory.
    pub fn open(data: &Path, split: &str, images: Option<&Path>) -> anyhow::Result<Self> {
        let mut split = Split::open_images(data, split)?;
        split.warning.iter().for_each(|warning| note(warning));
        if let Some(images) = images {
            split = split.with_images_dir(images.to_owned());
        }
        let Some(boxes) = split.boxes.take() else {
            return Err(wrong(format!(
                "{}: its regions have no boxes, which an index needs to show where a word is found; add \
                 {}_boxes.npy [images, regions, 4], or extract the features with `uard extract`",
                split.regions.path().display(),
                split.name
            )));
        };
        let pictures = (0..split.images()).into_par_iter();
        let pictures = pictures.map(|image| picture(&split, image));
        Ok(Self {
            data: super::paths::existing(data)?,
            pictures: pictures.collect(),
            split,
            boxes,
        })
    }

    /// Adds the images whose features are new or have changed. Images that are no longer in the split stay,
    /// because an index may hold several splits; an image that was indexed without its picture is replaced.
    ///
    /// After Ctrl-C the images that were encoded are written.
    pub fn update(&self, model: &IndexModel) -> anyhow::Result<Updated> {
        model.checkpoint().expect_width(&self.split)?;
        let origin = self.origin();
        let mut writer = model.writer(|| Ok(origin.clone()))?;
        expect_encoder(writer.index(), model.folder(), &origin)?;
        let removed = self.remove_placeholders(&mut writer)?;
        let (different, unchanged) = self.compare(&writer)?;
        let encoder = model.checkpoint().model(&Device::Cpu)?;
        let stop = interrupt::watch();
        let bar = bar_of_photos(different.len(), "indexing");
        let started = Instant::now();
        let mut batch = Batch::new(&mut writer, &encoder);
        let mut done = 0;
        for chunk in different.chunks(CHUNK) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let photos = chunk.par_iter().map(|image| self.photo(image));
            for photo in photos.collect::<anyhow::Result<Vec<_>>>()? {
                batch.add(photo)?;
            }
            done += chunk.len();
            bar.set_position(done as u64);
            bar.set_message(photos_a_second(done, started));
        }
        bar.finish_and_clear();
        let written = batch.finish()?;
        Ok(Updated {
            changes: Changes {
                new: written.new,
                changed: written.changed,
                moved: 0,
                removed,
                unchanged,
                unreadable: 0,
            },
            photos: writer.index().size()?.photos,
            remaining: different.len() - done,
            speed: match done {
                0 => String::new(),
                _ => photos_a_second(done, started),
            },
            unreadable: Vec::new(),
            problems: Vec::new(),
        })
    }

    /// Where the features come from, in one line: an index must not mix those of several encoders.
    fn origin(&self) -> String {
        let store = self.split.regions.feature_store();
        match store.map(|store| &store.manifest().provenance) {
            Some(Provenance::Extracted {
                encoder,
                weights_sha256,
                preprocessing,
                ..
            }) => {
                let settings = sha256(preprocessing.to_string().as_bytes());
                let short = |hash: &str| hash.chars().take(HASH_DIGITS).collect::<String>();
                format!(
                    "stored features of {encoder}, settings {}, weights {}",
                    short(&settings),
                    short(weights_sha256)
                )
            }
            Some(Provenance::Imported { format, .. }) => {
                format!("{format} features in {}", self.data.display())
            }
            None => format!("features in {}", self.data.display()),
        }
    }

    /// The images that are not indexed with these features, and the number of the others.
    fn compare(&self, writer: &Writer) -> anyhow::Result<(Vec<SplitImage>, usize)> {
        let images = (0..self.split.images()).into_par_iter();
        let contents =
            images.map(|image| self.split.regions.image_bytes(image).map(ContentHash::hash));
        let contents: Vec<ContentHash> = contents.collect::<uard_data::Result<_>>()?;
        let mut files = self.picture_files();
        let mut different = Vec::new();
        for (index, content) in contents.into_iter().enumerate() {
            let path = match &self.pictures[index] {
                Some(picture) => picture.clone(),
                None => placeholder(&self.split, index, &self.data),
            };
            let indexed = writer.index().photo_at(&path)?;
            if indexed.is_none_or(|photo| photo.content != content) {
                let file = files.remove(&path).unwrap_or(PhotoFile {
                    path,
                    bytes: 0,
                    modified: 0,
                    inode: 0,
                });
                different.push(SplitImage {
                    index,
                    file,
                    content,
                });
            }
        }
        let unchanged = self.split.images() - different.len();
        Ok((different, unchanged))
    }

    /// The pictures as files with sizes and times.
    fn picture_files(&self) -> HashMap<PathBuf, PhotoFile> {
        let pictures: Vec<PathBuf> = self.pictures.iter().flatten().cloned().collect();
        let files = Scan::folders(&pictures).files.into_iter();
        files.map(|file| (file.path.clone(), file)).collect()
    }

    /// Removes the images that were indexed without a picture and have one now.
    fn remove_placeholders(&self, writer: &mut Writer) -> anyhow::Result<usize> {
        let pictures = self.pictures.iter().enumerate();
        let with_picture = pictures.filter(|(_, picture)| picture.is_some());
        let paths: Vec<PathBuf> = with_picture
            .map(|(image, _)| placeholder(&self.split, image, &self.data))
            .collect();
        match paths.is_empty() {
            true => Ok(0),
            false => Ok(writer.remove(&paths)?),
        }
    }

    fn photo(&self, image: &SplitImage) -> anyhow::Result<PhotoToAdd> {
        let regions = &self.split.regions;
        let count = regions.count(image.index);
        let mut features = vec![0.0; regions.regions() * regions.width()];
        regions.read(image.index, &mut features)?;
        features.truncate(count * regions.width());
        let corners = self.boxes.read(image.index)?;
        let boxes = corners[..count.min(corners.len())].to_vec();
        let picture = self.pictures[image.index].as_ref();
        // A picture that cannot be read costs the thumbnail, not the image.
        let read = picture.and_then(|path| photo::read(path, PhotoLimits::default()).ok());
        let (metadata, thumbnail) = match read {
            Some(Decoded { details, .. }) => (details.metadata, details.thumbnail),
            None => (self.metadata(image.index, &boxes)?, Vec::new()),
        };
        Ok(PhotoToAdd {
            photo: NewPhoto {
                file: image.file.clone(),
                content: image.content,
                metadata,
                preview: Preview { thumbnail, boxes },
            },
            features,
        })
    }

    /// The size of an image that has no picture: the stored one, or else that of all boxes together.
    fn metadata(&self, image: usize, boxes: &[[f32; 4]]) -> anyhow::Result<PhotoMetadata> {
        let regions = &self.split.regions;
        let store = regions.feature_store();
        let size = store.map(|store| store.size(regions.row_of(image)));
        let (width, height) = match size.transpose()?.flatten() {
            Some(size) => (size.width, size.height),
            None => {
                let largest = |corner: usize| {
                    let corners = boxes.iter().map(|region| region[corner]);
                    corners.fold(0.0, f32::max).ceil() as u32
                };
                (largest(2), largest(3))
            }
        };
        Ok(PhotoMetadata {
            width,
            height,
            ..PhotoMetadata::default()
        })
    }
}

/// The path that an image of a split has in an index; `data` is the data directory, as an existing path.
pub fn indexed_path(split: &Split, image: usize, data: &Path) -> PathBuf {
    picture(split, image).unwrap_or_else(|| placeholder(split, image, data))
}

fn picture(split: &Split, image: usize) -> Option<PathBuf> {
    split.image_file(image)?.canonicalize().ok()
}

/// The path of an image without a picture: its id in the data directory, where no file is.
fn placeholder(split: &Split, image: usize, data: &Path) -> PathBuf {
    data.join(&split.ids[image])
}
