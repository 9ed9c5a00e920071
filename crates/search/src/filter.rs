//! Filters choose the photos that a search ranks: by date, folder, camera and coordinates. They are
//! applied in SQL, before the search.

use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use rusqlite::types::Value;

use crate::database::PathBytes;
use crate::photo::{Date, PhotoId};

/// Conditions on photos, all of which must hold. A photo without a date or camera does not meet a
/// condition on it. The default has no conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Taken at this date or later.
    pub from: Option<Date>,
    /// Taken at this date or earlier; `2024-07` includes all of July.
    pub to: Option<Date>,
    /// Inside of this folder, at any depth; an absolute path.
    pub folder: Option<PathBuf>,
    /// The photo of this number.
    pub photo: Option<PhotoId>,
    /// The camera's name contains this text; ASCII letters match in either case.
    pub camera: Option<String>,
    /// Whether the photo has coordinates.
    pub has_coordinates: Option<bool>,
}

/// Conditions on rows of the table `photos`, for a `WHERE`, and the values of its question marks.
#[derive(Debug)]
pub(crate) struct Conditions {
    pub sql: String,
    pub values: Vec<Value>,
}

impl Filter {
    pub(crate) fn conditions(&self) -> Conditions {
        let mut sql = vec!["TRUE"];
        let mut values = Vec::new();
        if let Some(date) = &self.from {
            sql.push("date >= ?");
            values.push(date.as_str().to_owned().into());
        }
        if let Some(date) = &self.to {
            sql.push("substr(date, 1, length(?)) <= ?");
            values.extend([(); 2].map(|()| Value::from(date.as_str().to_owned())));
        }
        if let Some(folder) = &self.folder {
            sql.push("path > ? AND path < ?");
            values.extend(range_inside(folder).map(|path| Value::from(path.0)));
        }
        if let Some(photo) = self.photo {
            sql.push("id = ?");
            values.push(photo.0.into());
        }
        if let Some(camera) = &self.camera {
            sql.push("instr(lower(camera), ?) > 0");
            values.push(camera.to_ascii_lowercase().into());
        }
        match self.has_coordinates {
            Some(true) => sql.push("latitude IS NOT NULL"),
            Some(false) => sql.push("latitude IS NULL"),
            None => {}
        }
        let sql = sql.join(" AND ");
        Conditions { sql, values }
    }
}

/// Two limits, both excluded: in the order of bytes, exactly the paths inside of the folder, at any
/// depth, lie between them.
pub(crate) fn range_inside(folder: &Path) -> [PathBytes; 2] {
    let separator = MAIN_SEPARATOR as u8;
    let mut first = PathBytes::from(folder);
    while first.0.last() == Some(&separator) {
        first.0.pop();
    }
    let mut last = first.clone();
    first.0.push(separator);
    last.0.push(separator + 1);
    [first, last]
}
