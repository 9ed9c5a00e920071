//! An index opened for reading: its model, its photos, and the regions that a filter selects.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use uard_attention::{PackedRegions, Precision};
use uard_files::{DirectoryLock, FileError};

use crate::database::{self, DATABASE, PathBytes};
use crate::filter::Filter;
use crate::photo::{
    Coordinates, Date, IndexedPhoto, PhotoFile, PhotoId, PhotoMetadata, Preview, UnreadablePhoto,
};
use crate::segment::{self, Segment};
use crate::{Error, Result, Writer};

/// The model that made an index, as the caller describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelIdentity {
    /// A hash of its weights. Regions of other weights are vectors of another space.
    pub hash: String,
    /// Its threshold on relevance.
    pub threshold: f64,
    /// The name of the encoder of photos.
    pub encoder: String,
    /// Width D of the joint space.
    pub width: usize,
    /// The precision that the regions are packed for: f32, bf16 or exact.
    pub precision: Precision,
}

/// An index of photos, opened for reading. Any number of processes may read while one writes.
///
/// Each call reads the state of the last transaction. What was selected stays readable, whatever is
/// written later.
#[derive(Debug)]
pub struct Index {
    pub(crate) folder: PathBuf,
    pub(crate) database: Connection,
    model: ModelIdentity,
    /// The segments that a call of `select` has mapped, by number.
    mapped: HashMap<i64, Arc<Segment>>,
}

/// The photos that a filter selects, by segment.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Each segment with at least one selected photo, in the order of their numbers.
    pub segments: Vec<SelectedSegment>,
}

/// The selected photos of one segment. The segment may hold more: those that the filter leaves out, or that
/// were removed or indexed again.
#[derive(Debug, Clone)]
pub struct SelectedSegment {
    /// The number of the segment.
    pub segment: i64,
    /// The selected images of [`regions`](Self::regions), in ascending order.
    pub positions: Vec<usize>,
    /// The photo at each of `positions`.
    pub photos: Vec<PhotoId>,
    pub(crate) mapped: Arc<Segment>,
}

impl SelectedSegment {
    /// The regions of its photos, memory-mapped. The images after those of the photos, if there are any, are
    /// not photos: each has one region, the mean of a photo's.
    pub fn regions(&self) -> &PackedRegions {
        &self.mapped.regions
    }
}

/// How many photos and bytes an index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexSize {
    /// Photos.
    pub photos: usize,
    /// Files that could not be indexed.
    pub unreadable: usize,
    /// Segments.
    pub segments: usize,
    /// Photos in all segments, including those that were removed or indexed again.
    pub packed_images: usize,
    /// The size of all segments in bytes.
    pub segment_bytes: u64,
    /// The size of the database in bytes, thumbnails included.
    pub database_bytes: u64,
}

/// What the photos of an index can be filtered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterValues {
    /// The date of the first photo that has one.
    pub first_date: Option<Date>,
    /// The date of the last photo.
    pub last_date: Option<Date>,
    /// How many photos have coordinates.
    pub with_coordinates: usize,
    /// The cameras, in alphabetical order.
    pub cameras: Vec<String>,
}

/// The columns of a photo that [`photo_from_row`] reads.
const PHOTO_COLUMNS: &str = "id, path, bytes, modified, inode, content, width, height, date, \
                             camera, latitude, longitude, segment, position";

impl Index {
    /// Creates an empty index in a folder and opens it for writing. The folder is created if it is
    /// missing.
    ///
    /// # Errors
    /// The folder holds an index already, cannot be written, or another process writes there; the
    /// width is out of range, or nothing is packed for the precision.
    pub fn create(folder: &Path, model: &ModelIdentity) -> Result<Writer> {
        PackedRegions::builder(model.width, model.precision)?;
        let lock = DirectoryLock::acquire(folder).map_err(Error::locked(folder))?;
        database::create(folder, |transaction| {
            transaction.execute(
                "INSERT INTO model VALUES (1, ?, ?, ?, ?, ?)",
                params![
                    model.hash,
                    model.threshold,
                    model.encoder,
                    model.width,
                    model.precision.to_string()
                ],
            )?;
            Ok(())
        })?;
        for folder in [Some(folder), folder.parent()].into_iter().flatten() {
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            uard_files::sync_directory(folder).map_err(FileError::io(folder, "sync"))?;
        }
        Writer::open_locked(folder, lock)
    }

    /// Opens an index for reading. Only the first pages of the database are read.
    ///
    /// # Errors
    /// The folder holds no index, or one of another version; SQLite reports an error.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::with_database(folder, database::open_to_read(folder)?)
    }

    pub(crate) fn with_database(folder: &Path, database: Connection) -> Result<Self> {
        let path = folder.join(DATABASE);
        let model = read_model(&database).map_err(Error::database(&path, "read"))?;
        Ok(Self {
            folder: folder.to_owned(),
            database,
            model,
            mapped: HashMap::new(),
        })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The model that made the index.
    pub fn model(&self) -> &ModelIdentity {
        &self.model
    }

    /// Checks that a model has the hash of the one that made the index.
    ///
    /// # Errors
    /// When it has another hash; the message says how to mend it.
    pub fn expect_model(&self, hash: &str) -> Result<()> {
        if self.model.hash == hash {
            return Ok(());
        }
        Err(Error::OtherModel {
            path: self.folder.clone(),
            expected: self.model.hash.clone(),
            found: hash.to_owned(),
        })
    }

    /// The photos that meet a filter, with their segments mapped.
    ///
    /// # Errors
    /// A segment is missing or damaged; SQLite reports an error.
    pub fn select(&mut self, filter: &Filter) -> Result<Selection> {
        let mut gone = None;
        loop {
            let rows = self.selected_rows(filter).map_err(self.read_error())?;
            match self.map_segments(rows) {
                Ok(selection) => {
                    self.unmap_removed_segments()?;
                    return Ok(selection);
                }
                // A writer has merged the segment with others since the rows were read: read them
                // again, once, because rows that name it still are damaged.
                Err(UnmappedSegment::Missing { number, .. })
                    if gone != Some(number) && !self.has_segment(number)? =>
                {
                    gone = Some(number);
                }
                Err(
                    UnmappedSegment::Missing { error, .. } | UnmappedSegment::Damaged { error },
                ) => return Err(error),
            }
        }
    }

    /// A photo by its number; `None` if it was removed.
    ///
    /// # Errors
    /// SQLite reports an error.
    pub fn photo(&self, id: PhotoId) -> Result<Option<IndexedPhoto>> {
        let sql = format!("SELECT {PHOTO_COLUMNS} FROM photos WHERE id = ?");
        let photo = self.database.query_row(&sql, [id], photo_from_row);
        photo.optional().map_err(self.read_error())
    }

    /// A photo by its number.
    ///
    /// # Errors
    /// When there is none; SQLite reports an error.
    pub fn expect_photo(&self, id: PhotoId) -> Result<IndexedPhoto> {
        self.photo(id)?.ok_or_else(|| self.no_photo(id))
    }

    /// The error of a number that no photo has.
    pub fn no_photo(&self, id: PhotoId) -> Error {
        Error::NoPhoto {
            path: self.folder.clone(),
            id,
        }
    }

    /// Opens the file of a photo.
    ///
    /// # Errors
    /// When no photo has this number, or its file is no longer the one that was indexed: it is gone, or
    /// another file or a link to one is in its place.
    pub fn open_original(&self, id: PhotoId) -> Result<File> {
        let photo = self.expect_photo(id)?;
        let path = &photo.file.path;
        let changed = || Error::Changed {
            path: path.clone(),
            id,
        };
        let file = uard_files::open_regular(path).map_err(|_| changed())?;
        let metadata = file.metadata().map_err(FileError::io(path, "read"))?;
        let found = PhotoFile::new(path, &metadata).map_err(FileError::io(path, "read"))?;
        match found == photo.file {
            true => Ok(file),
            false => Err(changed()),
        }
    }

    /// What the photos can be filtered by.
    ///
    /// # Errors
    /// SQLite reports an error.
    pub fn filter_values(&self) -> Result<FilterValues> {
        let read = || -> rusqlite::Result<_> {
            let sql = "SELECT min(date), max(date), count(latitude) FROM photos";
            let mut found = self.database.query_row(sql, [], |row| {
                Ok(FilterValues {
                    first_date: row.get(0)?,
                    last_date: row.get(1)?,
                    with_coordinates: row.get(2)?,
                    cameras: Vec::new(),
                })
            })?;
            let sql = "SELECT DISTINCT camera FROM photos WHERE camera IS NOT NULL ORDER BY camera";
            let mut statement = self.database.prepare(sql)?;
            let cameras = statement.query_map([], |row| row.get(0))?;
            found.cameras = cameras.collect::<Result<_, _>>()?;
            Ok(found)
        };
        read().map_err(self.read_error())
    }

    /// A photo by the path of its file; `None` if the path is not indexed.
    ///
    /// # Errors
    /// SQLite reports an error.
    pub fn photo_at(&self, path: &Path) -> Result<Option<IndexedPhoto>> {
        let sql = format!("SELECT {PHOTO_COLUMNS} FROM photos WHERE path = ?");
        let path = PathBytes::from(path);
        let photo = self.database.query_row(&sql, [path], photo_from_row);
        photo.optional().map_err(self.read_error())
    }

    /// Thumbnail and boxes of a photo; `None` if it was removed.
    ///
    /// # Errors
    /// SQLite reports an error.
    pub fn preview(&self, id: PhotoId) -> Result<Option<Preview>> {
        let sql = "SELECT thumbnail, boxes FROM previews WHERE photo = ?";
        let preview = self.database.query_row(sql, [id], |row| {
            Ok(Preview {
                thumbnail: row.get(0)?,
                boxes: Preview::boxes_from_bytes(row.get_ref(1)?.as_blob()?),
            })
        });
        preview.optional().map_err(self.read_error())
    }

    /// The files that could not be indexed, in the order of their paths.
    ///
    /// # Errors
    /// SQLite reports an error.
    pub fn unreadable(&self) -> Result<Vec<UnreadablePhoto>> {
        let sql = "SELECT path, bytes, modified, inode, reason FROM unreadable ORDER BY path";
        let read = || -> rusqlite::Result<_> {
            let mut statement = self.database.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(UnreadablePhoto {
                    file: file_from_row(row, 0)?,
                    reason: row.get(4)?,
                })
            })?;
            rows.collect()
        };
        read().map_err(self.read_error())
    }

    /// How many photos and bytes the index holds.
    ///
    /// # Errors
    /// SQLite reports an error.
    pub fn size(&self) -> Result<IndexSize> {
        let sql = "SELECT (SELECT count(*) FROM photos), (SELECT count(*) FROM unreadable),
                       count(*), total(images), total(bytes),
                       (SELECT page_count * page_size FROM pragma_page_count, pragma_page_size)
                   FROM segments";
        let size = self.database.query_row(sql, [], |row| {
            Ok(IndexSize {
                photos: row.get(0)?,
                unreadable: row.get(1)?,
                segments: row.get(2)?,
                packed_images: row.get::<_, f64>(3)? as usize,
                segment_bytes: row.get::<_, f64>(4)? as u64,
                database_bytes: row.get(5)?,
            })
        });
        size.map_err(self.read_error())
    }

    /// The segments that the database lists, in the order of their numbers.
    pub(crate) fn recorded_segments(&self) -> Result<Vec<RecordedSegment>> {
        let read = || -> rusqlite::Result<_> {
            let sql = "SELECT id, images, bytes FROM segments ORDER BY id";
            let mut statement = self.database.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(RecordedSegment {
                    number: row.get(0)?,
                    photos: row.get(1)?,
                    bytes: row.get(2)?,
                })
            })?;
            rows.collect()
        };
        read().map_err(self.read_error())
    }

    /// The paths of all photos, in the order of their numbers.
    ///
    /// # Errors
    /// SQLite reports an error.
    pub fn paths(&self) -> Result<Vec<PathBuf>> {
        let read = || -> rusqlite::Result<_> {
            let mut statement = self
                .database
                .prepare("SELECT path FROM photos ORDER BY id")?;
            let rows = statement.query_map([], |row| Ok(row.get::<_, PathBytes>(0)?.into()))?;
            rows.collect()
        };
        read().map_err(self.read_error())
    }

    /// For `map_err`: the database could not be read.
    pub(crate) fn read_error(&self) -> impl FnOnce(rusqlite::Error) -> Error + use<> {
        Error::database(&self.folder.join(DATABASE), "read")
    }

    /// The photos that meet a filter, by segment, without mapping the segments.
    pub(crate) fn selected_rows(&self, filter: &Filter) -> rusqlite::Result<Vec<SelectedRows>> {
        let conditions = filter.conditions();
        let sql = format!(
            "SELECT segment, position, id FROM photos WHERE {} ORDER BY segment, position",
            conditions.sql
        );
        let mut statement = self.database.prepare(&sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(conditions.values))?;
        let mut found: Vec<SelectedRows> = Vec::new();
        while let Some(row) = rows.next()? {
            let number = row.get(0)?;
            if found.last().is_none_or(|last| last.number != number) {
                found.push(SelectedRows {
                    number,
                    positions: Vec::new(),
                    photos: Vec::new(),
                });
            }
            if let Some(last) = found.last_mut() {
                last.positions.push(row.get(1)?);
                last.photos.push(row.get(2)?);
            }
        }
        Ok(found)
    }

    pub(crate) fn map_segments(
        &mut self,
        found: Vec<SelectedRows>,
    ) -> Result<Selection, UnmappedSegment> {
        let mut segments = Vec::new();
        for rows in found {
            let mapped = match self.mapped.get(&rows.number) {
                Some(mapped) => mapped.clone(),
                None => Arc::new(self.map_segment(rows.number)?),
            };
            // The database may be damaged. The last position is the largest.
            let photos = mapped.photos;
            if let Some(&found) = rows.positions.last().filter(|&&last| last >= photos) {
                let path = segment::path(&self.folder, rows.number);
                return Err(UnmappedSegment::Damaged {
                    error: Error::Position {
                        path,
                        photos,
                        found,
                    },
                });
            }
            self.mapped.insert(rows.number, mapped.clone());
            segments.push(SelectedSegment {
                segment: rows.number,
                positions: rows.positions,
                photos: rows.photos,
                mapped,
            });
        }
        Ok(Selection { segments })
    }

    /// Unmaps the segments that the database no longer lists. A `Selection` keeps its own.
    fn unmap_removed_segments(&mut self) -> Result<()> {
        let recorded = self.recorded_segments()?;
        self.mapped
            .retain(|&number, _| recorded.iter().any(|old| old.number == number));
        Ok(())
    }

    fn map_segment(&self, number: i64) -> Result<Segment, UnmappedSegment> {
        let sql = "SELECT images FROM segments WHERE id = ?";
        let photos = self.database.query_row(sql, [number], |row| row.get(0));
        let photos = photos.optional().map_err(self.read_error());
        let photos = photos.map_err(|error| UnmappedSegment::Damaged { error })?;
        let photos = photos.ok_or_else(|| UnmappedSegment::Missing {
            number,
            error: Error::Unlisted {
                path: self.folder.join(DATABASE),
                number,
            },
        })?;
        let path = segment::path(&self.folder, number);
        let opened = Segment::open(&path, &self.model, photos);
        opened.map_err(|error| match path.exists() {
            true => UnmappedSegment::Damaged { error },
            false => UnmappedSegment::Missing { number, error },
        })
    }

    /// Whether the database lists a segment.
    pub(crate) fn has_segment(&self, number: i64) -> Result<bool> {
        let sql = "SELECT count(*) > 0 FROM segments WHERE id = ?";
        let has = self.database.query_row(sql, [number], |row| row.get(0));
        has.map_err(self.read_error())
    }
}

impl Selection {
    /// How many photos are selected.
    pub fn photos(&self) -> usize {
        let counts = self.segments.iter().map(|segment| segment.photos.len());
        counts.sum()
    }
}

/// A segment as the database lists it.
pub(crate) struct RecordedSegment {
    pub number: i64,
    /// How many photos it was written with.
    pub photos: usize,
    /// The size of its file.
    pub bytes: u64,
}

/// The selected photos of a segment that is not mapped yet.
pub(crate) struct SelectedRows {
    number: i64,
    positions: Vec<usize>,
    photos: Vec<PhotoId>,
}

/// Why a segment could not be mapped.
pub(crate) enum UnmappedSegment {
    /// The database does not list it, or it has no file.
    Missing { number: i64, error: Error },
    /// Its file, or what the database says about it, is damaged.
    Damaged { error: Error },
}

fn read_model(database: &Connection) -> rusqlite::Result<ModelIdentity> {
    let sql = "SELECT hash, threshold, encoder, width, precision FROM model";
    database.query_row(sql, [], |row| {
        let precision: String = row.get(4)?;
        Ok(ModelIdentity {
            hash: row.get(0)?,
            threshold: row.get(1)?,
            encoder: row.get(2)?,
            width: row.get(3)?,
            precision: precision.parse().map_err(|error| {
                let text = rusqlite::types::Type::Text;
                rusqlite::Error::FromSqlConversionFailure(4, text, Box::new(error))
            })?,
        })
    })
}

fn photo_from_row(row: &Row<'_>) -> rusqlite::Result<IndexedPhoto> {
    let coordinates = |latitude: f64| -> rusqlite::Result<Coordinates> {
        let longitude = row.get(11)?;
        Ok(Coordinates {
            latitude,
            longitude,
        })
    };
    Ok(IndexedPhoto {
        id: row.get(0)?,
        file: file_from_row(row, 1)?,
        content: row.get(5)?,
        metadata: PhotoMetadata {
            width: row.get(6)?,
            height: row.get(7)?,
            date: row.get(8)?,
            camera: row.get(9)?,
            coordinates: row
                .get::<_, Option<f64>>(10)?
                .map(coordinates)
                .transpose()?,
        },
        segment: row.get(12)?,
        position: row.get(13)?,
    })
}

/// Reads a file from the columns path, bytes, modified and inode, of which `first` is the path.
pub(crate) fn file_from_row(row: &Row<'_>, first: usize) -> rusqlite::Result<PhotoFile> {
    Ok(PhotoFile {
        path: row.get::<_, PathBytes>(first)?.into(),
        bytes: row.get(first + 1)?,
        modified: row.get(first + 2)?,
        inode: row.get::<_, i64>(first + 3)?.cast_unsigned(),
    })
}
