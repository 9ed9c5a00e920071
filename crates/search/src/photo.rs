//! What an index stores of a photo: its file, metadata, thumbnail and boxes.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use uard_files::FileError;

use crate::{Error, Result};

/// The number of a photo in one index. It stays the same when the file is moved or changed, and is
/// never given to another photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhotoId(pub i64);

impl fmt::Display for PhotoId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A file as a scan found it. A file counts as unchanged if all of these fields are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotoFile {
    /// Its absolute path; any bytes that the system allows.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was last modified, in nanoseconds since 1970.
    pub modified: i64,
    /// Its inode number; zero where the system has none. It differs if another file of the same
    /// size and time was moved to the path, or if the file was copied to another disk.
    pub inode: u64,
}

/// BLAKE3 hash of a file's bytes, by which a moved file is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// Hashes bytes.
    pub fn hash(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }

    /// Hashes the bytes of a regular file.
    ///
    /// # Errors
    /// When it cannot be read, or is not a regular file.
    pub fn hash_file(path: &Path) -> Result<Self, FileError> {
        let file = uard_files::open_regular(path).map_err(FileError::io(path, "open"))?;
        let mut hasher = blake3::Hasher::new();
        hasher
            .update_reader(file)
            .map_err(FileError::io(path, "read"))?;
        Ok(Self(hasher.finalize().into()))
    }
}

/// A date, as exact as it is known: `2024`, `2024-05`, `2024-05-17` or `2024-05-17T10:30:00`, in the
/// local time of the camera. Dates are compared as texts, so `2024` is before `2024-05`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(String);

impl Date {
    /// A date of an index, as it was stored: earlier versions stored days that their month does not have.
    pub(crate) fn stored(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The date as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Date {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        const SHAPE: &[u8] = b"0000-00-00T00:00:00";
        const RANGES: [(Range<usize>, RangeInclusive<u32>); 6] = [
            (0..4, 1..=9999),
            (5..7, 1..=12),
            (8..10, 1..=31),
            (11..13, 0..=23),
            (14..16, 0..=59),
            // A leap second.
            (17..19, 0..=60),
        ];
        let is_shaped = text.bytes().zip(SHAPE).all(|(byte, &shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == shape,
        });
        let is_in_range = RANGES.into_iter().all(|(at, range)| {
            let digits = text.get(at);
            digits.is_none_or(|digits| digits.parse().is_ok_and(|number| range.contains(&number)))
        });
        let is_whole = [4, 7, 10, 19].contains(&text.len());
        if is_whole && is_shaped && is_in_range && !is_after_its_month(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::Date {
            found: text.to_owned(),
        })
    }
}

/// Whether a text names a day that its month does not have, such as `2023-02-29`.
fn is_after_its_month(text: &str) -> bool {
    let number = |at: Range<usize>| text.get(at)?.parse::<u32>().ok();
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else {
        return false;
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    day > days
}

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Where a photo was taken, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coordinates {
    /// From -90 to 90; north is positive.
    pub latitude: f64,
    /// From -180 to 180; east is positive.
    pub longitude: f64,
}

/// The size of a photo in pixels, and what its EXIF data say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PhotoMetadata {
    /// Width of the upright photo, in pixels.
    pub width: u32,
    /// Height of the upright photo, in pixels.
    pub height: u32,
    /// When it was taken.
    pub date: Option<Date>,
    /// Make and model of the camera.
    pub camera: Option<String>,
    /// Where it was taken.
    pub coordinates: Option<Coordinates>,
}

/// What is shown of a photo in a list of results. A search does not read it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Preview {
    /// A small JPEG.
    pub thumbnail: Vec<u8>,
    /// The box of each region, in the order of the regions: x0, y0, x1, y1 in pixels of the upright
    /// photo.
    pub boxes: Vec<[f32; 4]>,
}

impl Preview {
    /// The boxes as they are stored: x0, y0, x1, y1 of each box, as little-endian f32.
    pub(crate) fn boxes_to_bytes(&self) -> Vec<u8> {
        let numbers = self.boxes.iter().flatten();
        numbers.flat_map(|number| number.to_le_bytes()).collect()
    }

    /// Reads the bytes of [`boxes_to_bytes`](Self::boxes_to_bytes).
    pub(crate) fn boxes_from_bytes(bytes: &[u8]) -> Vec<[f32; 4]> {
        let (numbers, _) = bytes.as_chunks::<4>();
        let numbers: Vec<f32> = numbers.iter().copied().map(f32::from_le_bytes).collect();
        let (boxes, _) = numbers.as_chunks::<4>();
        boxes.to_vec()
    }
}

/// A photo to be added to an index. Its regions are passed separately.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPhoto {
    /// The file as it was *before* it was read. If it changes while it is read, the next scan then
    /// finds it changed.
    pub file: PhotoFile,
    /// The hash of the bytes that were encoded.
    pub content: ContentHash,
    /// Its size and EXIF data.
    pub metadata: PhotoMetadata,
    /// Its thumbnail and boxes.
    pub preview: Preview,
}

/// A photo in an index.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexedPhoto {
    /// Its number.
    pub id: PhotoId,
    /// Its file, as it was when it was indexed.
    pub file: PhotoFile,
    /// The hash of its file.
    pub content: ContentHash,
    /// Its size and EXIF data.
    pub metadata: PhotoMetadata,
    /// The number of the segment that holds its regions.
    pub segment: i64,
    /// Its index among the images of the segment.
    pub position: usize,
}

/// A file that could not be indexed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadablePhoto {
    /// The file. An update tries it again after it has changed.
    pub file: PhotoFile,
    /// Why it could not be indexed.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_complete_up_to_their_last_part_and_in_range() {
        for text in ["2024", "2024-05", "2024-02-29", "2024-05-17T23:59:60"] {
            assert_eq!(text.parse::<Date>().unwrap().as_str(), text);
        }
        let wrong = [
            "",
            "24",
            "+024",
            "2024-13",
            "2024-00",
            "2024-5",
            "2024/05",
            "2024-05-32",
            "2024-04-31",
            "2023-02-29",
            "1900-02-29T10:00:00",
            "0000-00-00T00:00:00",
            "2024-05-17 10:30:00",
            "2024-05-17T1",
            "２０２４",
            "2024-+5",
        ];
        for text in wrong {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_date_that_an_earlier_version_stored_is_read_as_it_is() {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        let read = database.query_row("SELECT '2023-02-29'", [], |row| row.get::<_, Date>(0));
        assert_eq!(read.unwrap().as_str(), "2023-02-29");
    }

    #[test]
    fn boxes_are_read_as_they_were_written() {
        let boxes = vec![[0.5, -1.0, 1e9, 3.25]; 3];
        let preview = Preview {
            thumbnail: Vec::new(),
            boxes,
        };
        assert_eq!(
            Preview::boxes_from_bytes(&preview.boxes_to_bytes()),
            preview.boxes
        );
    }
}
