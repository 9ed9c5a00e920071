//! Takes over the photos of other indexes: several processes index parts of a collection, each into a folder
//! of its own, and one index is made of them without encoding a photo again.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::segment::SegmentBuilder;
use crate::{
    Error, Filter, Index, IndexedPhoto, ModelIdentity, NewPhoto, Preview, Result, SelectedSegment,
    UnreadablePhoto, Writer,
};

/// How many photos of several indexes become one segment, which is held in memory until it is written. A
/// compaction makes larger ones.
const MOST_PHOTOS: usize = 1024;

/// What became of the photos of the adopted indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdoptionCounts {
    /// Photos whose path was not indexed before.
    pub new: usize,
    /// Photos that replace the one at their path.
    pub changed: usize,
    /// Photos that were indexed already, from the same file or a newer one.
    pub unchanged: usize,
    /// Files that could not be read.
    pub unreadable: usize,
    /// Photos that were left out, because `stop` was set.
    pub remaining: usize,
}

impl Writer {
    /// Adds the photos of other indexes that the same model made, with their regions, thumbnails and boxes
    /// as they are there. Of two states of a file the one that was modified last stays, whatever the order.
    /// Photos that none of the others has stay, and so do the other indexes.
    ///
    /// `on_index` is told how many indexes are done. Repeating a call that was stopped or has failed adds what
    /// is missing.
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
        self.adopt_in_batches(MOST_PHOTOS, folders, on_index, stop)
    }

    /// The same with segments of another number of photos.
    pub(crate) fn adopt_in_batches(
        &mut self,
        most_photos: usize,
        folders: &[PathBuf],
        on_index: &mut dyn FnMut(usize),
        stop: &AtomicBool,
    ) -> Result<AdoptionCounts> {
        for folder in folders {
            self.index().expect_alike(&Index::open(folder)?)?;
        }
        let unreadable = self.index().unreadable()?.into_iter();
        let mut adoption = Adoption {
            batch: Batch::new(self.index().model())?,
            most_photos,
            unreadable: unreadable
                .map(|note| (note.file.path, note.file.modified))
                .collect(),
            writer: self,
            stop,
            counts: AdoptionCounts::default(),
        };
        for (done, folder) in folders.iter().enumerate() {
            if let Err(error) = adoption.take(folder) {
                // Photos before an error are kept.
                adoption.write()?;
                return Err(error);
            }
            on_index(done + 1);
        }
        adoption.write()?;
        Ok(adoption.counts)
    }
}

struct Adoption<'a> {
    writer: &'a mut Writer,
    batch: Batch,
    /// How many photos a segment has.
    most_photos: usize,
    /// The files that cannot be read, with the time of their modification.
    unreadable: HashMap<PathBuf, i64>,
    stop: &'a AtomicBool,
    counts: AdoptionCounts,
}

/// Photos and their regions, to be added as one segment.
struct Batch {
    segment: SegmentBuilder,
    photos: Vec<NewPhoto>,
    paths: HashSet<PathBuf>,
}

impl Batch {
    fn new(model: &ModelIdentity) -> Result<Self> {
        Ok(Self {
            segment: SegmentBuilder::new(model)?,
            photos: Vec::new(),
            paths: HashSet::new(),
        })
    }
}

impl Adoption<'_> {
    /// Adds the photos of one index to the batch.
    fn take(&mut self, folder: &Path) -> Result<()> {
        let mut other = Index::open(folder)?;
        if self.is_stopped() {
            self.counts.remaining += other.size()?.photos;
            return Ok(());
        }
        if let Some(damage) = other.check().first() {
            return Err(Error::Damaged {
                path: folder.to_owned(),
                damage: damage.description.clone(),
            });
        }
        for segment in other.select(&Filter::default())?.segments {
            for (&position, &id) in segment.positions.iter().zip(&segment.photos) {
                if self.is_stopped() {
                    self.counts.remaining += 1;
                } else if let Some(photo) = other.photo(id)?
                    // Else another process has indexed it again, and these are regions of an older state.
                    && (photo.segment, photo.position) == (segment.segment, position)
                    && let Some(preview) = other.preview(id)?
                {
                    self.add(photo, preview, &segment)?;
                }
            }
        }
        match self.is_stopped() {
            true => Ok(()),
            false => self.note_unreadable(&other),
        }
    }

    /// Adds a photo of a segment to the batch, if it is wanted.
    fn add(
        &mut self,
        photo: IndexedPhoto,
        preview: Preview,
        segment: &SelectedSegment,
    ) -> Result<()> {
        let is_full = self.batch.photos.len() >= self.most_photos;
        if is_full || self.batch.paths.contains(&photo.file.path) {
            self.write()?;
        }
        if self.is_wanted(&photo)? {
            let batch = &mut self.batch;
            batch.segment.push_photo(&segment.mapped, photo.position)?;
            batch.paths.insert(photo.file.path.clone());
            batch.photos.push(NewPhoto {
                file: photo.file,
                content: photo.content,
                metadata: photo.metadata,
                preview,
            });
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether a photo is not indexed yet from the same file or a newer one, and counts it.
    fn is_wanted(&mut self, photo: &IndexedPhoto) -> Result<bool> {
        let known = self.writer.index().photo_at(&photo.file.path)?;
        let noted = self.unreadable.get(&photo.file.path);
        let is_old = |modified: i64| modified >= photo.file.modified;
        let is_kept = known.as_ref().is_some_and(|known| {
            let is_same = known.file == photo.file && known.content == photo.content;
            is_same || is_old(known.file.modified)
        });
        let count = match known {
            _ if is_kept => &mut self.counts.unchanged,
            None if noted.is_some_and(|&modified| is_old(modified)) => return Ok(false),
            None => &mut self.counts.new,
            Some(_) => &mut self.counts.changed,
        };
        *count += 1;
        Ok(!is_kept)
    }

    /// Notes the files that the other index could not read, unless there is a newer photo or note.
    fn note_unreadable(&mut self, other: &Index) -> Result<()> {
        let unreadable = other.unreadable()?;
        if unreadable.is_empty() {
            return Ok(());
        }
        // First the photos, so that each note is compared with what is indexed.
        self.write()?;
        let mut new: Vec<UnreadablePhoto> = Vec::new();
        for note in unreadable {
            let photo = self.writer.index().photo_at(&note.file.path)?;
            let photo = photo.map(|photo| photo.file.modified);
            let known = photo.or(self.unreadable.get(&note.file.path).copied());
            if known.is_none_or(|known| known < note.file.modified) {
                self.unreadable
                    .insert(note.file.path.clone(), note.file.modified);
                new.push(note);
            }
        }
        self.counts.unreadable += new.len();
        self.writer.add_unreadable(&new)
    }

    /// Adds the batch to the index.
    fn write(&mut self) -> Result<()> {
        let next = Batch::new(self.writer.index().model())?;
        let batch = std::mem::replace(&mut self.batch, next);
        self.writer.add_segment(&batch.photos, batch.segment)?;
        Ok(())
    }
}

impl Index {
    /// Checks that another index can be adopted: that the regions of both are vectors of one space, packed in
    /// one precision.
    ///
    /// # Errors
    /// What differs.
    pub fn expect_alike(&self, other: &Self) -> Result<()> {
        let described = |index: &Self| {
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
        let pairs = described(self).into_iter().zip(described(other));
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
}
