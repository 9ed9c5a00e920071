//! The extraction: one thread decodes the next photos while the network computes the current ones,
//! and their regions are stored in the order of the list.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use rayon::prelude::*;
use serde_json::json;

use super::{ListedPhoto, PhotoEncoder, PhotoRegions};
use crate::backbone::{Photo, PhotoLimits, Truncated, VisionError};
use uard_data::store::{
    BOXES, Element, Entry, Finished, Manifest, Provenance, SIZES, Size, StoreError, StoreWriter,
};
use uard_files::FileError;
use uard_hub::weights::{file_of, sha256};

use crate::{Error, Result};

/// Photos of a batch. One batch is encoded, one waits and one is decoded, which bounds the memory:
/// a photo of 50 megapixels takes 150 MB.
const BATCH: usize = 8;

/// An encoder of photos and the settings of an extraction.
pub struct Extraction<'a> {
    /// The network.
    pub encoder: &'a dyn PhotoEncoder,
    /// The name of the encoder.
    pub name: &'a str,
    /// The file, or folder, that its weights were read from.
    pub weights: &'a Path,
    /// Which photos are decoded.
    pub limits: PhotoLimits,
    /// The number type of stored features.
    pub element: Element,
}

/// How far an extraction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Photos that are stored or listed as unreadable.
    pub done: usize,
    /// Of these, the photos that an earlier call stored or listed.
    pub before: usize,
    /// All photos of the list.
    pub total: usize,
}

/// How an extraction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extracted {
    /// All photos are stored or listed as unreadable.
    Finished(Finished),
    /// It was stopped. Complete parts of the store are kept; the same call continues with the next
    /// part.
    Stopped,
}

/// Where a feature store is: `{dir}/{split}_store`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorePlace<'a> {
    /// The data directory.
    pub dir: &'a Path,
    /// The split.
    pub split: &'a str,
}

/// A listed photo, decoded, or the error of decoding it.
type Decoded = (ListedPhoto, Result<Photo>);

impl Extraction<'_> {
    /// Stores the regions of photos, or continues a store that an earlier call began.
    ///
    /// Photos that cannot be read are listed in the store with the reason. The bytes of the store
    /// do not depend on the number of threads, nor on whether extraction was stopped and continued.
    ///
    /// # Errors
    /// When the store belongs to another encoder, other weights, settings or photos, or cannot be
    /// written; when the encoder fails for another reason than that a photo cannot be resized.
    pub fn run(
        &self,
        place: StorePlace<'_>,
        photos: &[ListedPhoto],
        on_progress: &dyn Fn(Progress),
        stop: &AtomicBool,
    ) -> Result<Extracted> {
        let manifest = self.manifest()?;
        let (mut writer, _) = StoreWriter::create_or_continue(place.dir, place.split, &manifest)?;
        let mut before = 0;
        while before < photos.len() && writer.already_has(&photos[before].id)? {
            before += 1;
        }
        let report = |done| {
            on_progress(Progress {
                done,
                before,
                total: photos.len(),
            });
        };
        report(before);
        let remaining = &photos[before..];
        let stopped = thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            scope.spawn(move || decode(remaining, self.limits, stop, &sender));
            let mut done = before;
            for decoded in receiver {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                done += decoded.len();
                self.store(decoded, &mut writer)?;
                report(done);
            }
            Ok::<_, Error>(done < photos.len())
        })?;
        match stopped {
            true => Ok(Extracted::Stopped),
            false => Ok(Extracted::Finished(writer.finish()?)),
        }
    }

    fn manifest(&self) -> Result<Manifest> {
        let file = file_of(self.weights)?;
        let weights = file.file_name().unwrap_or_default();
        let mut preprocessing = json!({
            "encoder": self.encoder.settings()?,
            "most_pixels_a_side": self.limits.side,
            "most_bytes": self.limits.bytes,
        });
        if self.limits.truncated == Truncated::Accepted {
            preprocessing["truncated"] = json!(Truncated::Accepted);
        }
        let provenance = Provenance::Extracted {
            encoder: self.name.to_owned(),
            weights: weights.to_string_lossy().into_owned(),
            weights_sha256: sha256(&file)?,
            preprocessing,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (width, regions) = (self.encoder.width(), self.encoder.most_regions());
        let columns = [BOXES, SIZES].into_iter();
        let columns = columns.chain(self.encoder.extras().iter().copied());
        Ok(Manifest::new(width, self.element, regions, provenance).with_columns(columns))
    }

    fn store(&self, decoded: Vec<Decoded>, writer: &mut StoreWriter) -> Result<()> {
        let mut listed = Vec::with_capacity(decoded.len());
        let mut photos = Vec::with_capacity(decoded.len());
        for (photo, outcome) in decoded {
            listed.push((photo, outcome.map(|photo| photos.push(photo))));
        }
        let mut found = self.encode(&photos)?.into_iter().zip(photos);
        for (photo, outcome) in listed {
            let found = match outcome {
                Ok(()) => found.next(),
                Err(error) => {
                    writer.skip(&photo.id, &reason(error))?;
                    continue;
                }
            };
            match found {
                Some((Ok(regions), pixels)) => {
                    match writer.add(entry(photo.id, regions, &pixels)) {
                        Err(uard_data::Error::Store(StoreError::Entry { id, problem })) => {
                            writer.skip(&id, &problem.to_string())?;
                        }
                        outcome => outcome?,
                    }
                }
                Some((Err(error), _)) => writer.skip(&photo.id, &reason(error))?,
                None => {}
            }
        }
        Ok(())
    }

    /// Encodes photos as one batch, or one by one if a photo of the batch cannot be resized.
    fn encode(&self, photos: &[Photo]) -> Result<Vec<Result<PhotoRegions>>> {
        match self.encoder.encode(photos) {
            Ok(found) => Ok(found.into_iter().map(Ok).collect()),
            Err(Error::Vision(VisionError::Resize { .. })) => {
                let alone = |photo| match self.encoder.encode(std::slice::from_ref(photo)) {
                    Err(error @ Error::Vision(VisionError::Resize { .. })) => Ok(vec![Err(error)]),
                    found => Ok(found?.into_iter().map(Ok).collect()),
                };
                let each: Vec<Vec<_>> = photos.iter().map(alone).collect::<Result<_>>()?;
                Ok(each.into_iter().flatten().collect())
            }
            Err(error) => Err(error),
        }
    }
}

/// Decodes photos in batches and sends them. Ends early when the receiver is dropped or `stop` is
/// set.
fn decode(
    photos: &[ListedPhoto],
    limits: PhotoLimits,
    stop: &AtomicBool,
    sender: &SyncSender<Vec<Decoded>>,
) {
    for photos in photos.chunks(BATCH) {
        let batch = photos.par_iter().map(|photo| {
            let continues = !stop.load(Ordering::Relaxed);
            continues.then(|| (photo.clone(), open_photo(photo, limits)))
        });
        let batch = batch.collect::<Option<Vec<_>>>();
        if batch.is_none_or(|batch| sender.send(batch).is_err()) {
            break;
        }
    }
}

fn open_photo(photo: &ListedPhoto, limits: PhotoLimits) -> Result<Photo> {
    match &photo.unreadable {
        None => Photo::open(&photo.path, limits),
        Some(cause) => Err(Error::Vision(VisionError::UnreadablePhoto {
            origin: photo.path.display().to_string(),
            cause: cause.clone(),
        })),
    }
}

fn entry(id: String, regions: PhotoRegions, photo: &Photo) -> Entry {
    Entry {
        id,
        size: Some(Size {
            height: photo.height(),
            width: photo.width(),
        }),
        boxes: Some(regions.boxes),
        features: regions.features,
        extras: regions.extras,
    }
}

/// The message of an error without the path of the photo, so that the bytes of a store do not
/// depend on the folder of the photos. The photo's id stands beside the message.
fn reason(error: Error) -> String {
    match error {
        Error::Vision(VisionError::UnreadablePhoto { cause, .. }) => cause,
        Error::File(FileError::Io { action, source, .. }) => {
            format!("cannot {action} it: {source}")
        }
        other => other.to_string(),
    }
}
