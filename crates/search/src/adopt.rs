//! Takes over the photos of other indexes: several processes index parts of a collection, each into a folder
//! of its own, and one index is made of them without encoding a photo again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use uard_attention::PackedRegions;
use uard_attention::packed::RegionsBuilder;

use crate::compact::TARGET_BYTES;
use crate::{
    Error, Filter, Index, IndexedPhoto, ModelIdentity, NewPhoto, Result, UnreadablePhoto, Writer,
};

/// What became of the photos of the adopted indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdoptionCounts {
    /// Photos whose path was not indexed before.
    pub new: usize,
    /// Photos that replace the one at their path.
    pub changed: usize,
    /// Photos that were indexed already, from the same file.
    pub unchanged: usize,
    /// Files that could not be read.
    pub unreadable: usize,
    /// Indexes that were not begun, because `stop` was set.
    pub remaining: usize,
}

impl Writer {
    /// Adds the photos of other indexes that the same model made, with their regions, thumbnails and boxes
    /// as they are there. A photo replaces the one at its path. The other indexes stay as they are.
    ///
    /// `on_index` is told how many indexes are done; `stop` ends the adoption before the next one. Repeating
    /// a call that was stopped or has failed adds what is missing.
    ///
    /// # Errors
    /// A folder holds no index, a damaged one, or that of another model, encoder or precision; the disk is
    /// full, or SQLite reports an error.
    pub fn adopt(
        &mut self,
        folders: &[PathBuf],
        on_index: &mut dyn FnMut(usize),
        stop: &AtomicBool,
    ) -> Result<AdoptionCounts> {
        let mut adoption = Adoption {
            batch: Batch::new(self.index().model())?,
            writer: self,
            counts: AdoptionCounts::default(),
        };
        for (done, folder) in folders.iter().enumerate() {
            if stop.load(Ordering::Relaxed) {
                adoption.counts.remaining = folders.len() - done;
                break;
            }
            adoption.take(folder)?;
            on_index(done + 1);
        }
        adoption.finish()
    }
}

struct Adoption<'a> {
    writer: &'a mut Writer,
    batch: Batch,
    counts: AdoptionCounts,
}

/// Photos and their regions, to be added as one segment.
struct Batch {
    regions: RegionsBuilder,
    photos: Vec<NewPhoto>,
    paths: HashSet<PathBuf>,
    /// About how many bytes the segment has.
    bytes: u64,
}

impl Batch {
    fn new(model: &ModelIdentity) -> Result<Self> {
        Ok(Self {
            regions: PackedRegions::builder(model.width, model.precision)?,
            photos: Vec::new(),
            paths: HashSet::new(),
            bytes: 0,
        })
    }
}

impl Adoption<'_> {
    /// Adds the photos of one index to the batch.
    fn take(&mut self, folder: &Path) -> Result<()> {
        let mut other = Index::open(folder)?;
        expect_alike(self.writer.index(), &other)?;
        if let Some(damage) = other.check().first() {
            return Err(Error::Damaged {
                path: folder.to_owned(),
                damage: damage.description.clone(),
            });
        }
        let segments = other.select(&Filter::default())?.segments;
        for segment in &segments {
            let bytes = other.segment_bytes(segment.segment)? / segment.regions.images() as u64;
            for (&position, &id) in segment.positions.iter().zip(&segment.photos) {
                // None if another process has removed it meanwhile.
                let (Some(photo), Some(preview)) = (other.photo(id)?, other.preview(id)?) else {
                    continue;
                };
                if self.batch.paths.contains(&photo.file.path) || self.batch.bytes >= TARGET_BYTES {
                    self.write()?;
                }
                if self.is_wanted(&photo)? {
                    let batch = &mut self.batch;
                    batch.regions.push_packed(&segment.regions, &[position])?;
                    batch.bytes += bytes;
                    batch.paths.insert(photo.file.path.clone());
                    batch.photos.push(NewPhoto {
                        file: photo.file,
                        content: photo.content,
                        metadata: photo.metadata,
                        preview,
                    });
                }
            }
        }
        self.note_unreadable(&other)
    }

    /// Whether a photo is not indexed yet from the same file, and counts it.
    fn is_wanted(&mut self, photo: &IndexedPhoto) -> Result<bool> {
        let known = self.writer.index().photo_at(&photo.file.path)?;
        let count = match &known {
            None => &mut self.counts.new,
            Some(known) if known.file == photo.file && known.content == photo.content => {
                self.counts.unchanged += 1;
                return Ok(false);
            }
            Some(_) => &mut self.counts.changed,
        };
        *count += 1;
        Ok(true)
    }

    fn note_unreadable(&mut self, other: &Index) -> Result<()> {
        let unreadable = other.unreadable()?;
        if unreadable.is_empty() {
            return Ok(());
        }
        let known = self.writer.index().unreadable()?;
        let is_new = |photo: &UnreadablePhoto| !known.contains(photo);
        let new: Vec<UnreadablePhoto> = unreadable.into_iter().filter(is_new).collect();
        self.counts.unreadable += new.len();
        self.write()?;
        self.writer.add_unreadable(&new)
    }

    /// Adds the batch to the index.
    fn write(&mut self) -> Result<()> {
        let next = Batch::new(self.writer.index().model())?;
        let batch = std::mem::replace(&mut self.batch, next);
        self.writer
            .add_packed(&batch.photos, &batch.regions.finish())?;
        Ok(())
    }

    fn finish(mut self) -> Result<AdoptionCounts> {
        self.write()?;
        Ok(self.counts)
    }
}

/// Checks that the regions of two indexes are vectors of one space, packed in one precision.
fn expect_alike(index: &Index, other: &Index) -> Result<()> {
    let described = |index: &Index| {
        let ModelIdentity {
            hash,
            encoder,
            precision,
            ..
        } = index.model();
        [
            ("the model", hash.clone()),
            ("the encoder", encoder.clone()),
            ("the precision", precision.to_string()),
        ]
    };
    let pairs = described(index).into_iter().zip(described(other));
    for ((what, expected), (_, found)) in pairs {
        if expected != found {
            return Err(Error::OtherIndex {
                path: other.folder().to_owned(),
                what,
                expected,
                found,
            });
        }
    }
    Ok(())
}
