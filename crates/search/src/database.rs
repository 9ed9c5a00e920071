//! The SQLite database of an index: its tables, how it is opened, and how values are stored in it.
//! SQLite reads and writes the file `index.sqlite` itself, without `uard-files`.
//!
//! When a commit returns, its changes are on disk (`synchronous = FULL`). Readers can read while a
//! transaction is written (WAL).

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::photo::{ContentHash, Date, PhotoId};
use crate::{Error, Result};

/// The name of the database in the folder of an index.
pub(crate) const DATABASE: &str = "index.sqlite";

/// How long a process waits for the locks that SQLite holds for a short time.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// SQLite's `application_id` of an index: the letters `UARD`.
const APPLICATION: i64 = 0x5541_5244;

/// The SQL that changes the tables from each version to the next; the first makes version 1. A later
/// version is a further entry, which the next writer applies.
///
/// Boxes are stored here beside the thumbnails, not in segments: both are read for the few photos
/// that are shown only, and a segment stays a file of packed regions. A removed photo has no row; its
/// regions stay in the segment until a compaction.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE model (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        hash TEXT NOT NULL,
        threshold REAL NOT NULL,
        encoder TEXT NOT NULL,
        width INTEGER NOT NULL,
        precision TEXT NOT NULL
    ) STRICT;
    CREATE TABLE segments (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        images INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE photos (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        path BLOB NOT NULL UNIQUE,
        bytes INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        content BLOB NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        date TEXT,
        camera TEXT,
        latitude REAL,
        longitude REAL,
        segment INTEGER NOT NULL REFERENCES segments (id),
        position INTEGER NOT NULL,
        UNIQUE (segment, position)
    ) STRICT;
    CREATE TABLE previews (
        photo INTEGER PRIMARY KEY REFERENCES photos (id) ON DELETE CASCADE,
        thumbnail BLOB NOT NULL,
        boxes BLOB NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE unreadable (
        path BLOB PRIMARY KEY,
        bytes INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;
"];

/// The version that this crate reads and writes.
const VERSION: i64 = MIGRATIONS.len() as i64;

/// What a database holds.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// Nothing: the file is new, or its creation was interrupted.
    Nothing,
    /// An index of this version or an older one.
    Index { version: i64 },
}

/// Opens the database of an index of this version for reading.
pub(crate) fn open_to_read(folder: &Path) -> Result<Connection> {
    let path = existing_path(folder)?;
    let database = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    match read_content(&database, &path)? {
        Content::Index { version: VERSION } => Ok(database),
        Content::Index { version } => Err(other_version(path, version)),
        Content::Nothing => Err(Error::NoIndex {
            path: folder.to_owned(),
        }),
    }
}

/// Opens the database of an index for writing, and changes its tables to this version.
pub(crate) fn open_to_write(folder: &Path) -> Result<Connection> {
    let path = existing_path(folder)?;
    let mut database = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let Content::Index { version } = read_content(&database, &path)? else {
        return Err(Error::NoIndex {
            path: folder.to_owned(),
        });
    };
    if version < VERSION {
        begin(&mut database)
            .and_then(|transaction| {
                migrate(&transaction, version)?;
                transaction.commit()
            })
            .map_err(Error::database(&path, "update"))?;
    }
    Ok(database)
}

/// Creates a database. `fill` adds rows to the new tables in the same transaction.
pub(crate) fn create(
    folder: &Path,
    fill: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
) -> Result<Connection> {
    let path = folder.join(DATABASE);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut database = connect(&path, flags)?;
    if read_content(&database, &path)? != Content::Nothing {
        return Err(Error::IndexExists {
            path: folder.to_owned(),
        });
    }
    begin(&mut database)
        .and_then(|transaction| {
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            migrate(&transaction, 0)?;
            fill(&transaction)?;
            transaction.commit()
        })
        .map_err(Error::database(&path, "create"))?;
    Ok(database)
}

/// Begins a transaction that may write; no other one can begin until it ends.
pub(crate) fn begin(database: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    database.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn existing_path(folder: &Path) -> Result<PathBuf> {
    let path = folder.join(DATABASE);
    match path.is_file() {
        true => Ok(path),
        false => Err(Error::NoIndex {
            path: folder.to_owned(),
        }),
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let connected = || -> rusqlite::Result<_> {
        let database = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        database.busy_timeout(LOCK_TIMEOUT)?;
        database.pragma_update(None, "foreign_keys", true)?;
        if !flags.contains(OpenFlags::SQLITE_OPEN_READ_ONLY) {
            database.pragma_update(None, "journal_mode", "wal")?;
            database.pragma_update(None, "synchronous", "full")?;
        }
        Ok(database)
    };
    connected().map_err(Error::database(path, "open"))
}

fn read_content(database: &Connection, path: &Path) -> Result<Content> {
    let number = |sql| database.query_row(sql, [], |row| row.get::<_, i64>(0));
    let numbers = || -> rusqlite::Result<_> {
        Ok([
            number("PRAGMA application_id")?,
            number("PRAGMA user_version")?,
            number("SELECT count(*) FROM sqlite_schema")?,
        ])
    };
    match numbers().map_err(Error::database(path, "read"))? {
        [0, 0, 0] => Ok(Content::Nothing),
        [APPLICATION, version @ 1..=VERSION, _] => Ok(Content::Index { version }),
        [APPLICATION, version, _] => Err(other_version(path.to_owned(), version)),
        _ => Err(Error::OtherDatabase {
            path: path.to_owned(),
        }),
    }
}

fn migrate(transaction: &Transaction<'_>, version: i64) -> rusqlite::Result<()> {
    for migration in MIGRATIONS.iter().skip(version as usize) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)
}

fn other_version(path: PathBuf, found: i64) -> Error {
    Error::Version {
        path,
        expected: VERSION,
        found,
    }
}

/// A path as the bytes that the operating system has, because it need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PathBytes(pub Vec<u8>);

impl From<&Path> for PathBytes {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_encoded_bytes().to_vec())
    }
}

impl From<PathBytes> for PathBuf {
    #[cfg(unix)]
    fn from(path: PathBytes) -> Self {
        use std::os::unix::ffi::OsStringExt;
        std::ffi::OsString::from_vec(path.0).into()
    }

    /// On other systems a name that is not Unicode changes here; its file then counts as removed.
    #[cfg(not(unix))]
    fn from(path: PathBytes) -> Self {
        String::from_utf8_lossy(&path.0).into_owned().into()
    }
}

impl ToSql for PathBytes {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for PathBytes {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Vec::column_result(value).map(Self)
    }
}

impl ToSql for PhotoId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for PhotoId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

impl ToSql for ContentHash {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for ContentHash {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 32]>::column_result(value).map(Self)
    }
}

impl ToSql for Date {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.as_str().to_sql()
    }
}

impl FromSql for Date {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str().map(Self::stored)
    }
}
