//! Collects encoded photos and writes them to an index in batches.

use std::time::{Duration, Instant};

use uard_features::extract::{Encoded, EncodedRegions, reason};
use uard_model::{ImageFeatures, Model};
use uard_search::{NewPhoto, PhotoFile, Preview, UnreadablePhoto, Writer};

use super::photo::FileContent;

/// Each batch becomes a file of the index, so that batches must not be small.
const MOST_PHOTOS: usize = 256;

/// How much work an interrupted update may lose.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// What is wrong with a photo in which the encoder finds nothing.
pub const NO_REGION: &str = "the encoder finds no region in the photo";

/// Photos that are encoded and not yet written.
pub struct Batch<'a> {
    writer: &'a mut Writer,
    model: &'a Model,
    photos: Vec<PhotoToAdd>,
    unreadable: Vec<UnreadablePhoto>,
    written: Instant,
    counts: WrittenCounts,
}

/// A photo to be added to an index.
pub struct PhotoToAdd {
    /// The photo.
    pub photo: NewPhoto,
    /// [R, F], as many regions as the photo has boxes.
    pub features: Vec<f32>,
}

/// How many photos a batch has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WrittenCounts {
    /// Photos whose path was not indexed before.
    pub new: usize,
    /// Photos that replace the one at their path.
    pub changed: usize,
    /// Files that could not be read.
    pub unreadable: usize,
}

impl<'a> Batch<'a> {
    /// An empty batch.
    pub fn new(writer: &'a mut Writer, model: &'a Model) -> Self {
        Self {
            writer,
            model,
            photos: Vec::new(),
            unreadable: Vec::new(),
            written: Instant::now(),
            counts: WrittenCounts::default(),
        }
    }

    /// Adds a photo, or the note that it cannot be indexed.
    pub fn add_outcome(
        &mut self,
        encoded: Encoded<'_, PhotoFile, FileContent>,
    ) -> anyhow::Result<()> {
        let file = encoded.item.clone();
        match encoded.outcome.map_err(reason).and_then(checked) {
            Ok(found) => self.add(photo_to_add(file, found)),
            Err(reason) => {
                self.unreadable.push(UnreadablePhoto { file, reason });
                self.write_if_due()
            }
        }
    }

    /// Adds a photo, and writes the batch if it is complete.
    pub fn add(&mut self, photo: PhotoToAdd) -> anyhow::Result<()> {
        self.photos.push(photo);
        self.write_if_due()
    }

    /// Writes what is left.
    pub fn finish(mut self) -> anyhow::Result<WrittenCounts> {
        self.write()?;
        Ok(self.counts)
    }

    fn write_if_due(&mut self) -> anyhow::Result<()> {
        let is_full = self.photos.len() + self.unreadable.len() >= MOST_PHOTOS;
        match is_full || self.written.elapsed() >= LONGEST_WAIT {
            true => self.write(),
            false => Ok(()),
        }
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let unreadable = std::mem::take(&mut self.unreadable);
        if !unreadable.is_empty() {
            self.writer.add_unreadable(&unreadable)?;
            self.counts.unreadable += unreadable.len();
        }
        let encoded = std::mem::take(&mut self.photos);
        if !encoded.is_empty() {
            let regions = self.model.images(padded(&encoded))?;
            let photos: Vec<NewPhoto> = encoded.into_iter().map(|encoded| encoded.photo).collect();
            let mut changed = 0;
            for photo in &photos {
                let known = self.writer.index().photo_at(&photo.file.path)?;
                changed += usize::from(known.is_some());
            }
            self.writer.add(&photos, &regions)?;
            self.counts.new += photos.len() - changed;
            self.counts.changed += changed;
        }
        self.written = Instant::now();
        Ok(())
    }
}

/// Refuses regions that cannot be indexed: one such photo must not stop its whole batch.
fn checked(found: EncodedRegions<FileContent>) -> Result<EncodedRegions<FileContent>, String> {
    if found.regions.boxes.is_empty() {
        return Err(NO_REGION.to_owned());
    }
    match found.regions.features.iter().all(|value| value.is_finite()) {
        true => Ok(found),
        false => Err("the encoder's features of it are not finite numbers".to_owned()),
    }
}

fn photo_to_add(file: PhotoFile, found: EncodedRegions<FileContent>) -> PhotoToAdd {
    let FileContent {
        hash,
        metadata,
        thumbnail,
    } = found.details;
    PhotoToAdd {
        photo: NewPhoto {
            file,
            content: hash,
            metadata,
            preview: Preview {
                thumbnail,
                boxes: found.regions.boxes,
            },
        },
        features: found.regions.features,
    }
}

/// The features of all photos, padded with zeros to the most regions of one.
fn padded(photos: &[PhotoToAdd]) -> ImageFeatures {
    let count = |encoded: &PhotoToAdd| encoded.photo.preview.boxes.len();
    let counts: Vec<usize> = photos.iter().map(count).collect();
    let regions = counts.iter().copied().max().unwrap_or_default();
    let width = photos
        .first()
        .map_or(0, |first| first.features.len() / count(first));
    let mut values = Vec::with_capacity(photos.len() * regions * width);
    for (index, encoded) in photos.iter().enumerate() {
        values.extend_from_slice(&encoded.features);
        values.resize((index + 1) * regions * width, 0.0);
    }
    ImageFeatures {
        values,
        counts,
        regions,
        width,
    }
}
