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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_read_as_they_were_written_and_their_number_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test_things.json");
        let thing = |corners| Thing {
            words: vec!["dog".to_owned()],
            corners,
        };
        let things = Things {
            images: vec![vec![thing(Some([1.0, 2.0, 3.0, 4.0])), thing(None)], vec![]],
        };
        things.write_json(&path).unwrap();
        assert_eq!(Things::read_json(&path, 2).unwrap(), things);
        let error = Things::read_json(&path, 3).unwrap_err().to_string();
        assert!(
            error.contains("things of 3 images") && error.contains('2'),
            "{error}"
        );
        uard_files::write(&path, br#"{"images": [[{"text": "dog"}]]}"#).unwrap();
        let error = Things::read_json(&path, 1).unwrap_err().to_string();
        assert!(error.contains("test_things.json"), "{error}");
    }
}
