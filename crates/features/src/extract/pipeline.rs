//! The extraction: the regions of listed photos are stored in the order of the list.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::{Decoded, Encoded, EncodedRegions, Encoding, ListedPhoto, PhotoEncoder};
use crate::backbone::{Photo, PhotoLimits, Truncated, VisionError};
use uard_data::store::{
    BOXES, Element, Entry, Finished, Manifest, Provenance, SIZES, Share, StoreError, StoreWriter,
    store_path,
};
use uard_files::FileError;
use uard_hub::weights::{file_of, sha256};

use crate::{Error, Result};

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
    /// All photos of the list, or of the share of it that is stored.
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

/// Where a feature store is: `{dir}/{split}_store`, or `{dir}/{split}-3-of-16_store` for a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorePlace<'a> {
    /// The data directory.
    pub dir: &'a Path,
    /// The split.
    pub split: &'a str,
    /// The share of the list that is stored; none for the whole list.
    pub share: Option<Share>,
}

impl StorePlace<'_> {
    /// The folder of the store.
    pub fn path(&self) -> PathBuf {
        match self.share {
            None => store_path(self.dir, self.split),
            Some(share) => store_path(self.dir, &share.split(self.split)),
        }
    }
}

impl Extraction<'_> {
    /// Stores the regions of photos, or of a share of them, or continues a store that an earlier call began.
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
        let share = place.share.map(|share| {
            let ids = photos.iter().map(|photo| photo.id.as_str());
            share.of_list(ids)
        });
        let share = share.transpose()?;
        let photos = match &share {
            None => photos,
            Some(share) => &photos[share.share.range(photos.len())],
        };
        let (dir, split, share) = (place.dir, place.split, share.as_ref());
        let (mut writer, _) = StoreWriter::create_or_continue_share(dir, split, &manifest, share)?;
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
        let mut done = before;
        let encoding = Encoding {
            encoder: self.encoder,
            stop,
        };
        let open = |photo: &ListedPhoto| open_photo(photo, self.limits);
        let finished = encoding.run(&photos[before..], open, |batch| {
            done += batch.len();
            store(batch, &mut writer)?;
            report(done);
            Ok::<_, Error>(())
        })?;
        match finished {
            false => Ok(Extracted::Stopped),
            true => Ok(Extracted::Finished(writer.finish()?)),
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
}

/// Adds photos to a store, or to its list of what cannot be read.
fn store(batch: Vec<Encoded<'_, ListedPhoto, ()>>, writer: &mut StoreWriter) -> Result<()> {
    for Encoded { item, outcome } in batch {
        match outcome {
            Err(error) => writer.skip(&item.id, &reason(error))?,
            Ok(found) => match writer.add(entry(item.id.clone(), found)) {
                Err(uard_data::Error::Store(StoreError::Entry { id, problem })) => {
                    writer.skip(&id, &problem.to_string())?;
                }
                outcome => outcome?,
            },
        }
    }
    Ok(())
}

fn open_photo(photo: &ListedPhoto, limits: PhotoLimits) -> Result<Decoded<()>> {
    match &photo.unreadable {
        None => Ok(Decoded {
            photo: Photo::open(&photo.path, limits)?,
            details: (),
        }),
        Some(cause) => Err(Error::Vision(VisionError::UnreadablePhoto {
            origin: photo.path.display().to_string(),
            cause: cause.clone(),
        })),
    }
}

fn entry(id: String, found: EncodedRegions<()>) -> Entry {
    Entry {
        id,
        size: Some(found.size),
        boxes: Some(found.regions.boxes),
        features: found.regions.features,
        extras: found.regions.extras,
    }
}

/// The message of an error without the path of the photo, so that the bytes of a store do not
/// depend on the folder of the photos. The photo's id stands beside the message.
pub fn reason(error: Error) -> String {
    match error {
        Error::Vision(VisionError::UnreadablePhoto { cause, .. }) => cause,
        Error::File(FileError::Io { action, source, .. }) => {
            format!("cannot {action} it: {source}")
        }
        other => other.to_string(),
    }
}
