//! Checks a whole index: reads everything and compares it with what was written.

use std::fmt;
use std::path::PathBuf;

use crate::database::{DATABASE, PathBytes};
use crate::index::RecordedSegment;
use crate::segment::{self, Segment};
use crate::writer::checksum;
use crate::{Index, Result};

/// A part of an index that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What is damaged: the file, what was expected and what was found.
    pub description: String,
    /// How to mend it.
    pub remedy: &'static str,
    /// The photos that are affected; empty if all are.
    pub photos: Vec<PathBuf>,
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.description, self.remedy)
    }
}

/// The remedy if some photos are affected.
const INDEX_AGAIN: &str = "remove its photos from the index, and index them again";

/// The remedy if all photos are affected.
const NEW_INDEX: &str = "index the photos into another folder, and delete this one";

/// How many bytes of the database a box takes.
const BYTES_OF_A_BOX: usize = 16;

impl Index {
    /// Reads and compares everything: SQLite's own check of the database, the checksums of every
    /// segment, the rows of photos with their segments, and the checksums of thumbnails and boxes.
    /// Returns what is damaged; nothing for a sound index.
    ///
    /// A segment file that the database does not list is no damage: an interrupted writer left it,
    /// and the next one removes it.
    pub fn check(&self) -> Vec<Damage> {
        let mut found = Vec::new();
        if let Err(error) = self.check_into(&mut found) {
            found.push(Damage {
                description: error.to_string(),
                remedy: NEW_INDEX,
                photos: Vec::new(),
            });
        }
        found
    }

    fn check_into(&self, found: &mut Vec<Damage>) -> Result<()> {
        let path = self.folder.join(DATABASE);
        let messages = self.check_database().map_err(self.read_error())?;
        found.extend(messages.into_iter().map(|message| Damage {
            description: format!("{}: {message}", path.display()),
            remedy: NEW_INDEX,
            photos: Vec::new(),
        }));
        for recorded in self.recorded_segments()? {
            self.check_segment(&recorded, found)?;
        }
        Ok(())
    }

    /// The messages of SQLite's own check.
    fn check_database(&self) -> rusqlite::Result<Vec<String>> {
        let mut statement = self.database.prepare("PRAGMA integrity_check")?;
        let lines = statement.query_map([], |row| row.get(0))?;
        let mut lines: Vec<String> = lines.collect::<rusqlite::Result<_>>()?;
        lines.retain(|line| line != "ok");
        let sql = "SELECT count(*) FROM pragma_foreign_key_check";
        let broken: u64 = self.database.query_row(sql, [], |row| row.get(0))?;
        if broken > 0 {
            lines.push(format!(
                "{broken} rows name segments or photos that it does not hold"
            ));
        }
        Ok(lines)
    }

    fn check_segment(&self, recorded: &RecordedSegment, found: &mut Vec<Damage>) -> Result<()> {
        let path = segment::path(&self.folder, recorded.number);
        let opened = Segment::open(&path, self.model(), recorded.photos);
        let opened = opened.and_then(|segment| Ok(segment.regions.verify().map(|()| segment)?));
        if opened.is_err() && !self.has_segment(recorded.number)? {
            // A writer has merged it with others since the segments were listed.
            return Ok(());
        }
        let rows = self.check_rows(recorded.number, opened.as_ref().ok());
        let rows = rows.map_err(self.read_error())?;
        found.extend(opened.err().map(|error| Damage {
            description: error.to_string(),
            remedy: INDEX_AGAIN,
            photos: rows.all,
        }));
        found.extend(rows.damaged.into_iter().map(|photo| Damage {
            description: format!(
                "{}: its thumbnail and boxes in the index are damaged, or do not fit its regions",
                photo.display()
            ),
            remedy: INDEX_AGAIN,
            photos: vec![photo],
        }));
        Ok(())
    }

    /// Compares the photos of a segment with their checksums and, if the segment could be read, with
    /// its counts of regions.
    fn check_rows(&self, number: i64, segment: Option<&Segment>) -> rusqlite::Result<CheckedRows> {
        let sql = "SELECT path, position, thumbnail, boxes, checksum
                   FROM photos LEFT JOIN previews ON photo = id WHERE segment = ?";
        let mut statement = self.database.prepare(sql)?;
        let mut rows = statement.query([number])?;
        let mut checked = CheckedRows::default();
        while let Some(row) = rows.next()? {
            let path = PathBuf::from(row.get::<_, PathBytes>(0)?);
            let position: usize = row.get(1)?;
            let thumbnail: Option<Vec<u8>> = row.get(2)?;
            let boxes: Option<Vec<u8>> = row.get(3)?;
            let is_sound = match (thumbnail, boxes) {
                (Some(thumbnail), Some(boxes)) => {
                    let fits = |segment: &Segment| {
                        let counts = &segment.regions.counts()[..segment.photos];
                        let count = counts.get(position);
                        count.is_some_and(|&count| boxes.len() == count * BYTES_OF_A_BOX)
                    };
                    checksum(&thumbnail, &boxes) == row.get::<_, u32>(4)?
                        && segment.is_none_or(fits)
                }
                _ => false,
            };
            if !is_sound {
                checked.damaged.push(path.clone());
            }
            checked.all.push(path);
        }
        Ok(checked)
    }
}

/// The photos of a segment.
#[derive(Default)]
struct CheckedRows {
    all: Vec<PathBuf>,
    damaged: Vec<PathBuf>,
}
