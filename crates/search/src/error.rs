//! The error type of this crate.

use std::io;
use std::path::{Path, PathBuf};

use uard_files::FileError;

use crate::PhotoId;

/// The result of a call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an index cannot be read or written, with the file, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder of the index could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A segment is damaged, or regions cannot be packed.
    #[error(transparent)]
    Packed(#[from] uard_attention::Error),
    /// The model of the index cannot be read, or cannot encode a query.
    #[error(transparent)]
    Model(#[from] uard_model::Error),
    /// An index has no words of its model, because it was made before they were learned.
    #[error("{}: missing, so that no word can be judged; learn the words of the model with `uard words --checkpoint RUN --data DIR`, then update the index with --model RUN", path.display())]
    NoWords {
        /// The missing file.
        path: PathBuf,
    },
    /// A query cannot be understood.
    #[error("query `{query}`: {cause}")]
    Query {
        /// The query.
        query: String,
        /// What is wrong, and how to write it.
        cause: String,
    },
    /// SQLite reports an error.
    #[error("cannot {action} {}: {source}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The error of SQLite.
        source: rusqlite::Error,
    },
    /// The folder holds no index.
    #[error("{}: no index of photos is here; create one first, or name the folder of another", path.display())]
    NoIndex {
        /// The folder.
        path: PathBuf,
    },
    /// The folder already holds an index.
    #[error("{}: an index of photos is here already; add to it, or choose another folder", path.display())]
    IndexExists {
        /// The folder.
        path: PathBuf,
    },
    /// The database belongs to another program.
    #[error("{}: expected an index of photos, found a database of another program; choose another folder", path.display())]
    OtherDatabase {
        /// The database.
        path: PathBuf,
    },
    /// The index was written by another version of this crate.
    #[error("{}: expected version {expected} of the index, found {found}; use the version of this program that wrote it, or index the photos again into another folder", path.display())]
    Version {
        /// The database.
        path: PathBuf,
        /// The version that this crate reads.
        expected: i64,
        /// The version of the database.
        found: i64,
    },
    /// Another process writes to the index, or the folder cannot be locked.
    #[error("cannot write to the index {}: {source}", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The holder of the lock, or the error of the operating system.
        source: io::Error,
    },
    /// The index was made with another model.
    #[error("{}: made with the model {expected}, asked with the model {found}; ask with the model that made it, or index the photos again with the other model into another folder", path.display())]
    OtherModel {
        /// The folder.
        path: PathBuf,
        /// The hash of the model that made the index.
        expected: String,
        /// The hash of the given model.
        found: String,
    },
    /// An index to be adopted was not made as the index that adopts it.
    #[error("{}: expected {what} {expected}, as of the index that adopts it, found {found}; index its photos again", path.display())]
    OtherIndex {
        /// The folder of the index to be adopted.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// That of the index that adopts it.
        expected: String,
        /// Its own.
        found: String,
    },
    /// An index to be adopted is damaged.
    #[error("{}: damaged: {damage}; mend it first, as `uard index --check` says", path.display())]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// The first damage.
        damage: String,
    },
    /// The regions to be added are those of more or fewer photos.
    #[error(
        "expected the regions of {photos} photos, found those of {images}; give the regions of each photo, in the order of the photos"
    )]
    ImageCount {
        /// How many photos were given.
        photos: usize,
        /// How many images the regions belong to.
        images: usize,
    },
    /// A photo to be added has more or fewer boxes than regions.
    #[error("{}: expected {regions} boxes, one for each region, found {boxes}", path.display())]
    BoxCount {
        /// The photo.
        path: PathBuf,
        /// How many regions it has.
        regions: usize,
        /// How many boxes it has.
        boxes: usize,
    },
    /// A segment was packed with another width or precision than the index has.
    #[error("{}: expected regions of {expected}, found {found}; remove its photos from the index, and index them again", path.display())]
    SegmentShape {
        /// The segment.
        path: PathBuf,
        /// Width and precision of the index.
        expected: String,
        /// Width and precision of the segment.
        found: String,
    },
    /// A segment has other images than those of its photos and their means.
    #[error("{}: expected the regions of {photos} photos, or those and as many means, found {images} images; remove its photos from the index, and index them again", path.display())]
    SegmentImages {
        /// The segment.
        path: PathBuf,
        /// How many photos it was written with.
        photos: usize,
        /// How many images it has.
        images: usize,
    },
    /// The means of a segment's photos cannot be computed.
    #[error("{}: its regions are damaged: {cause}; check the index", path.display())]
    Means {
        /// The segment.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The database does not list a segment that it names.
    #[error("{}: its photos are in segment {number}, which it does not list; check the index", path.display())]
    Unlisted {
        /// The database.
        path: PathBuf,
        /// The segment.
        number: i64,
    },
    /// The database names a photo that the segment does not hold.
    #[error("{}: expected {photos} photos, but the database names photo {found}, counted from 0; check the index", path.display())]
    Position {
        /// The segment.
        path: PathBuf,
        /// How many photos it holds.
        photos: usize,
        /// The photo that the database names.
        found: usize,
    },
    /// No photo of the index has this number.
    #[error("{}: the index holds no photo {id}; list its photos again", path.display())]
    NoPhoto {
        /// The folder of the index.
        path: PathBuf,
        /// The number.
        id: PhotoId,
    },
    /// The file of a photo is not the one that was indexed.
    #[error("{}: gone, or changed since it was indexed; update the index", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The number of the photo.
        id: PhotoId,
    },
    /// A text is not the place of a result.
    #[error("expected the `cursor` of an answer, found `{found}`; ask for the first results again")]
    Cursor {
        /// The text.
        found: String,
    },
    /// A text is not a date.
    #[error(
        "expected a date such as 2024, 2024-05, 2024-05-17 or 2024-05-17T10:30:00, found `{found}`"
    )]
    Date {
        /// The text.
        found: String,
    },
}

impl Error {
    /// For `map_err`: the folder could not be locked.
    pub(crate) fn locked(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Locked { path, source }
    }

    /// For `map_err`: names the database and what was being done to it.
    pub(crate) fn database(
        path: &Path,
        action: &'static str,
    ) -> impl FnOnce(rusqlite::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Database {
            path,
            action,
            source,
        }
    }
}
