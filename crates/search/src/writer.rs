//! Changes an index. When a call returns, its changes are on disk; a call that fails or is
//! interrupted changes nothing that a reader sees.

use std::path::{Path, PathBuf};

use rusqlite::{Transaction, params};
use uard_core::Regions;
use uard_files::{DirectoryLock, FileError};

use crate::database::{self, DATABASE, PathBytes};
use crate::filter::range_inside;
use crate::photo::{NewPhoto, PhotoFile, PhotoId, Preview, UnreadablePhoto};
use crate::segment::{self, SegmentBuilder, StepHook, WriterStep};
use crate::{Error, Index, Result};

/// An index opened for writing. One process at a time can have one; dropping it releases the lock.
#[derive(Debug)]
pub struct Writer {
    index: Index,
    /// The number of the next segment. It also grows if a transaction fails: SQLite may find that
    /// transaction complete after a crash, and then its segment must still be there, unchanged.
    next_segment: i64,
    pub(crate) hook: StepHook,
    /// The last field, so that it is dropped after the database is closed.
    _lock: DirectoryLock,
}

/// A photo whose file has another path or modification time, but the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedPhoto {
    /// The photo.
    pub id: PhotoId,
    /// Its file as it is now.
    pub file: PhotoFile,
}

impl Writer {
    /// Opens an index for writing, and removes what an interrupted writer left.
    ///
    /// # Errors
    /// The folder holds no index or one of a later version, cannot be written, or another process
    /// writes there, which the message names.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::open_with_hook(folder, StepHook::default())
    }

    /// The same with a hook of a test.
    pub(crate) fn open_with_hook(folder: &Path, hook: StepHook) -> Result<Self> {
        if !folder.join(DATABASE).is_file() {
            return Err(Error::NoIndex {
                path: folder.to_owned(),
            });
        }
        let lock = DirectoryLock::acquire(folder).map_err(Error::locked(folder))?;
        let mut writer = Self::open_locked(folder, lock)?;
        writer.hook = hook;
        writer.remove_unlisted_segments()?;
        Ok(writer)
    }

    /// A writer in a folder that is locked already.
    pub(crate) fn open_locked(folder: &Path, lock: DirectoryLock) -> Result<Self> {
        let index = Index::with_database(folder, database::open_to_write(folder)?)?;
        let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'segments'";
        let last: i64 = index
            .database
            .query_row(sql, [], |row| row.get(0))
            .map_err(index.read_error())?;
        let last_on_disk = segment::find_all(folder)?.last().map_or(0, |last| last.0);
        Ok(Self {
            index,
            next_segment: last.max(last_on_disk) + 1,
            hook: StepHook::default(),
            _lock: lock,
        })
    }

    /// The index, for reading.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The index, for [`Index::select`].
    pub fn index_mut(&mut self) -> &mut Index {
        &mut self.index
    }

    /// Adds photos with their regions, as one segment, and returns their numbers. If a path is
    /// indexed already, the new photo replaces the old one and keeps its number. Larger batches make
    /// fewer segments: a few hundred photos are a good batch.
    ///
    /// # Shapes
    /// `regions`: [photos, R, D], with the width D of the index's model.
    ///
    /// # Errors
    /// The number of images or boxes differs from that of photos or regions; the width is another
    /// one, or a number is not finite; the disk is full, or SQLite reports an error.
    pub fn add(&mut self, photos: &[NewPhoto], regions: &Regions) -> Result<Vec<PhotoId>> {
        let mut segment = SegmentBuilder::new(self.index.model())?;
        segment.push(regions)?;
        self.add_segment(photos, segment)
    }

    /// Adds photos with a segment that holds their regions.
    pub(crate) fn add_segment(
        &mut self,
        photos: &[NewPhoto],
        segment: SegmentBuilder,
    ) -> Result<Vec<PhotoId>> {
        check_batch(photos, segment.counts())?;
        if photos.is_empty() {
            return Ok(Vec::new());
        }
        let segment = self.write_segment(segment)?;
        self.commit("add photos to", |transaction| {
            segment.insert(transaction)?;
            let add =
                |(position, photo)| insert_photo(transaction, photo, segment.number, position);
            photos.iter().enumerate().map(add).collect()
        })
    }

    /// Removes the photos at these paths, and the notes about files there that could not be read.
    /// Ignores paths that are not indexed. Returns how many photos were removed.
    ///
    /// # Errors
    /// SQLite reports an error.
    pub fn remove(&mut self, paths: &[PathBuf]) -> Result<usize> {
        self.commit("remove photos from", |transaction| {
            let mut removed = 0;
            for path in paths {
                removed += delete_path(transaction, path)?;
            }
            Ok(removed)
        })
    }

    /// As [`remove`](Self::remove), for all paths inside of a folder, at any depth.
    ///
    /// # Errors
    /// SQLite reports an error.
    pub fn remove_folder(&mut self, folder: &Path) -> Result<usize> {
        self.commit("remove photos from", |transaction| {
            let [first, last] = range_inside(folder);
            let range = [&first, &last];
            transaction.execute("DELETE FROM unreadable WHERE path > ? AND path < ?", range)?;
            transaction.execute("DELETE FROM photos WHERE path > ? AND path < ?", range)
        })
    }

    /// Stores the new paths and times of files whose content is the same. The photos keep their
    /// numbers and regions. Files may have exchanged their paths within one call. A photo that was
    /// indexed at a new path, and is not moved itself, is removed.
    ///
    /// # Errors
    /// A photo is not in the index; SQLite reports an error.
    pub fn move_photos(&mut self, moved: &[MovedPhoto]) -> Result<()> {
        for &MovedPhoto { id, .. } in moved {
            if self.index.photo(id)?.is_none() {
                let path = self.index.folder.clone();
                return Err(Error::NoPhoto { path, id });
            }
        }
        self.commit("move photos of", |transaction| {
            // First each photo gets a temporary path, because a path must not be there twice at any
            // time. It begins with a zero byte, which no path of a file contains.
            let mut release = transaction.prepare("UPDATE photos SET path = ? WHERE id = ?")?;
            for &MovedPhoto { id, .. } in moved {
                release.execute(params![format!("\0{id}").into_bytes(), id])?;
            }
            let sql = "UPDATE photos SET path = ?, bytes = ?, modified = ?, inode = ? WHERE id = ?";
            let mut update = transaction.prepare(sql)?;
            for MovedPhoto { id, file } in moved {
                delete_path(transaction, &file.path)?;
                update.execute(params![
                    PathBytes::from(file.path.as_path()),
                    file.bytes,
                    file.modified,
                    file.inode.cast_signed(),
                    id
                ])?;
            }
            Ok(())
        })
    }

    /// Notes files that cannot be indexed, so that an update leaves them out until they change. A
    /// photo that was indexed at such a path is removed, because the file has other content now.
    ///
    /// # Errors
    /// SQLite reports an error.
    pub fn add_unreadable(&mut self, unreadable: &[UnreadablePhoto]) -> Result<()> {
        self.commit("note unreadable photos in", |transaction| {
            for UnreadablePhoto { file, reason } in unreadable {
                delete_path(transaction, &file.path)?;
                transaction.execute(
                    "INSERT INTO unreadable VALUES (?, ?, ?, ?, ?)",
                    params![
                        PathBytes::from(file.path.as_path()),
                        file.bytes,
                        file.modified,
                        file.inode.cast_signed(),
                        reason
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// Writes a segment that the database does not list yet.
    pub(crate) fn write_segment(&mut self, segment: SegmentBuilder) -> Result<WrittenSegment> {
        let number = self.next_segment;
        self.next_segment += 1;
        let path = segment::path(&self.index.folder, number);
        let photos = segment.counts().len();
        segment::write(&path, &segment.finish()?, &mut self.hook)?;
        let bytes = path.metadata().map_err(FileError::io(&path, "read"))?.len();
        Ok(WrittenSegment {
            number,
            photos,
            bytes,
        })
    }

    /// Makes changes in one transaction: when this returns, all of them are on disk, or none is made.
    pub(crate) fn commit<T>(
        &mut self,
        action: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let path = self.index.folder.join(DATABASE);
        let failed = || Error::database(&path, action);
        let transaction = database::begin(&mut self.index.database).map_err(failed())?;
        let changed = change(&transaction).map_err(failed())?;
        let stopped = || FileError::io(&path, "write");
        self.hook.run(WriterStep::Commit).map_err(stopped())?;
        transaction.commit().map_err(failed())?;
        self.hook.run(WriterStep::Committed).map_err(stopped())?;
        Ok(changed)
    }

    /// Removes the segments that the database does not list.
    pub(crate) fn remove_unlisted_segments(&mut self) -> Result<()> {
        let recorded = self.index.recorded_segments()?;
        let listed = recorded.into_iter().map(|old| old.number).collect();
        segment::remove_unlisted(&self.index.folder, &listed, &mut self.hook)
    }
}

/// A segment that is on disk.
pub(crate) struct WrittenSegment {
    pub number: i64,
    photos: usize,
    bytes: u64,
}

impl WrittenSegment {
    /// Lists the segment in the database.
    pub fn insert(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let sql = "INSERT INTO segments VALUES (?, ?, ?)";
        transaction.execute(sql, params![self.number, self.photos, self.bytes])?;
        Ok(())
    }
}

/// The checksum of a thumbnail and its boxes: SQLite does not compute one.
pub(crate) fn checksum(thumbnail: &[u8], boxes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(thumbnail);
    hasher.update(boxes);
    hasher.finalize()
}

fn check_batch(photos: &[NewPhoto], counts: &[usize]) -> Result<()> {
    if photos.len() != counts.len() {
        return Err(Error::ImageCount {
            photos: photos.len(),
            images: counts.len(),
        });
    }
    for (photo, &regions) in photos.iter().zip(counts) {
        if photo.preview.boxes.len() != regions {
            return Err(Error::BoxCount {
                path: photo.file.path.clone(),
                regions,
                boxes: photo.preview.boxes.len(),
            });
        }
    }
    Ok(())
}

fn insert_photo(
    transaction: &Transaction<'_>,
    photo: &NewPhoto,
    segment: i64,
    position: usize,
) -> rusqlite::Result<PhotoId> {
    let NewPhoto {
        file,
        content,
        metadata,
        preview,
    } = photo;
    let path = PathBytes::from(file.path.as_path());
    transaction.execute("DELETE FROM unreadable WHERE path = ?", [&path])?;
    let sql =
        "INSERT INTO photos (path, bytes, modified, inode, content, width, height, date, camera,
                   latitude, longitude, segment, position)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT (path) DO UPDATE SET
                   bytes = excluded.bytes, modified = excluded.modified, inode = excluded.inode,
                   content = excluded.content, width = excluded.width, height = excluded.height,
                   date = excluded.date, camera = excluded.camera, latitude = excluded.latitude,
                   longitude = excluded.longitude, segment = excluded.segment,
                   position = excluded.position
               RETURNING id";
    let coordinates = metadata.coordinates;
    let values = params![
        path,
        file.bytes,
        file.modified,
        file.inode.cast_signed(),
        content,
        metadata.width,
        metadata.height,
        metadata.date,
        metadata.camera,
        coordinates.map(|coordinates| coordinates.latitude),
        coordinates.map(|coordinates| coordinates.longitude),
        segment,
        position
    ];
    let id: PhotoId = transaction.query_row(sql, values, |row| row.get(0))?;
    let Preview { thumbnail, .. } = preview;
    let boxes = preview.boxes_to_bytes();
    transaction.execute(
        "INSERT OR REPLACE INTO previews VALUES (?, ?, ?, ?)",
        params![id, thumbnail, boxes, checksum(thumbnail, &boxes)],
    )?;
    Ok(id)
}

/// Deletes the photo at a path and the note that it is unreadable. Returns how many photos there
/// were: one or none.
fn delete_path(transaction: &Transaction<'_>, path: &Path) -> rusqlite::Result<usize> {
    let path = PathBytes::from(path);
    transaction.execute("DELETE FROM unreadable WHERE path = ?", [&path])?;
    transaction.execute("DELETE FROM photos WHERE path = ?", [&path])
}
