//! Decodes and encodes photos in batches: a thread decodes the next batch while the network computes
//! the current one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use rayon::prelude::*;
use uard_data::store::Size;

use super::{PhotoEncoder, PhotoRegions};
use crate::backbone::{Photo, VisionError};
use crate::{Error, Result};

/// Photos of a batch. One batch is encoded, one waits and one is decoded, which bounds the memory:
/// a photo of 50 megapixels takes 150 MB.
const BATCH: usize = 8;

/// Encodes many photos, until it is stopped.
#[derive(Clone, Copy)]
pub struct Encoding<'a> {
    /// The network.
    pub encoder: &'a dyn PhotoEncoder,
    /// Stops before the next batch when it is set.
    pub stop: &'a AtomicBool,
}

/// A decoded photo, and what else is kept of its file.
#[derive(Debug)]
pub struct Decoded<D> {
    /// The photo.
    pub photo: Photo,
    /// What else is kept of its file.
    pub details: D,
}

/// What came of an item: its regions, or why there are none.
#[derive(Debug)]
pub struct Encoded<'a, T, D> {
    /// The item.
    pub item: &'a T,
    /// Its regions; an error of decoding, or of a photo that cannot be resized.
    pub outcome: Result<EncodedRegions<D>>,
}

/// The regions of a photo.
#[derive(Debug)]
pub struct EncodedRegions<D> {
    /// The regions.
    pub regions: PhotoRegions,
    /// The size of the upright photo.
    pub size: Size,
    /// What else was kept of its file.
    pub details: D,
}

impl Encoding<'_> {
    /// Encodes all items in their order, and hands them to `on_batch`. Returns whether it came to the
    /// end.
    ///
    /// `decode` runs on several threads.
    ///
    /// # Errors
    /// When the encoder fails for another reason than that a photo cannot be resized, or `on_batch`
    /// fails.
    pub fn run<'a, T: Sync, D: Send, E: From<Error>>(
        self,
        items: &'a [T],
        decode: impl Fn(&T) -> Result<Decoded<D>> + Sync,
        mut on_batch: impl FnMut(Vec<Encoded<'a, T, D>>) -> std::result::Result<(), E>,
    ) -> std::result::Result<bool, E> {
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            let decode = &decode;
            scope.spawn(move || decode_batches(items, decode, self.stop, &sender));
            let mut done = 0;
            for decoded in receiver {
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
                let batch = &items[done..done + decoded.len()];
                done += batch.len();
                on_batch(self.encode(batch, decoded)?)?;
            }
            Ok(done == items.len())
        })
    }

    fn encode<'a, T, D>(
        self,
        items: &'a [T],
        decoded: Vec<Result<Decoded<D>>>,
    ) -> Result<Vec<Encoded<'a, T, D>>> {
        let mut photos = Vec::with_capacity(decoded.len());
        let mut details = Vec::with_capacity(decoded.len());
        for outcome in decoded {
            details.push(outcome.map(|decoded| {
                photos.push(decoded.photo);
                decoded.details
            }));
        }
        let mut found = self.regions(&photos)?.into_iter().zip(&photos);
        let mut encoded = Vec::with_capacity(items.len());
        for (item, details) in items.iter().zip(details) {
            let outcome = match details {
                Err(error) => Err(error),
                Ok(details) => {
                    let Some((regions, photo)) = found.next() else {
                        break;
                    };
                    let size = Size {
                        height: photo.height(),
                        width: photo.width(),
                    };
                    regions.map(|regions| EncodedRegions {
                        regions,
                        size,
                        details,
                    })
                }
            };
            encoded.push(Encoded { item, outcome });
        }
        Ok(encoded)
    }

    /// Encodes photos as one batch, or one by one if a photo of the batch cannot be resized.
    fn regions(self, photos: &[Photo]) -> Result<Vec<Result<PhotoRegions>>> {
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

/// Decodes items in batches and sends them. Ends early when the receiver is dropped or `stop` is set.
fn decode_batches<T: Sync, D: Send>(
    items: &[T],
    decode: &(impl Fn(&T) -> Result<Decoded<D>> + Sync),
    stop: &AtomicBool,
    sender: &SyncSender<Vec<Result<Decoded<D>>>>,
) {
    for items in items.chunks(BATCH) {
        let batch = items.par_iter().map(|item| {
            let continues = !stop.load(Ordering::Relaxed);
            continues.then(|| decode(item))
        });
        let batch = batch.collect::<Option<Vec<_>>>();
        if batch.is_none_or(|batch| sender.send(batch).is_err()) {
            break;
        }
    }
}
