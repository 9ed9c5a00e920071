//! What each image of a split truly shows: words and boxes, whether or not a caption has the words.

use std::path::Path;

use serde::{Deserialize, Serialize};
use uard_files::{FileError, read_json};

use crate::{Error, Result};

/// Something that an image shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thing {
    /// The words that are true of it, synonyms included.
    pub words: Vec<String>,
    /// The box around its visible part: x0, y0, x1, y1 in pixels; none if it is everywhere.
    #[serde(rename = "box")]
    pub corners: Option<[f32; 4]>,
}

/// For each image the things that it shows.
///
/// In JSON `{"images": [[{"words": [...], "box": [x0, y0, x1, y1]}, ...], ...]}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Things {
    /// `[I]`: the things of each image.
    pub images: Vec<Vec<Thing>>,
}

impl Things {
    /// Reads the things of this number of images.
    ///
    /// # Errors
    /// A missing file; other JSON; another number of images.
    pub fn read_json(path: &Path, images: usize) -> Result<Self> {
        let expected =
            "{\"images\": [[{\"words\": [word, ...], \"box\": [x0, y0, x1, y1]}, ...], ...]}";
        let things: Self = read_json(path, expected)?;
        match things.images.len() == images {
            true => Ok(things),
            false => Err(Error::EntryCount {
                path: path.to_owned(),
                expected: format!("things of {images} images"),
                found: things.images.len(),
            }),
        }
    }

    /// Writes the things in the format of [`Things::read_json`].
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|source| FileError::Json {
            path: path.to_owned(),
            expected: "things that JSON can hold",
            source,
        })?;
        uard_files::write(path, text).map_err(Error::io(path, "write"))
    }
}
