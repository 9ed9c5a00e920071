//! The answer to a query, as it is printed and as JSON.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

/// The answer to a query.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// The query as it was given.
    pub query: String,
    /// The learned threshold of the model, on the relevance of a region and a word in a sentence.
    pub threshold: f64,
    /// How many photos met the filters.
    pub searched: usize,
    /// Words and phrases of the query that none of these photos surely shows, in the order of the query.
    pub nothing_shows: Vec<String>,
    /// Those of `nothing_shows` that some photo may show: its relevance is above the border, but in doubt.
    pub perhaps_shown: Vec<String>,
    /// The words that the model has not learned: it cannot find photos that show them, and not leave
    /// them out either.
    pub unknown: Vec<String>,
    /// The best photos.
    pub results: Vec<PhotoResult>,
}

/// A photo of an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PhotoResult {
    /// Its number in the index; none for a photo that is not in the index.
    pub id: Option<i64>,
    /// Its file. In JSON, bytes that are not UTF-8 are replaced.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// The similarity of photo and sentence.
    pub similarity: f32,
    /// How much of the query it shows.
    pub group: Group,
    /// The words and phrases that it surely does not show.
    pub missing: Vec<String>,
    /// Every word of the query, in order.
    pub words: Vec<WordResult>,
}

/// How much of a query a photo shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Every word that counts, or it is in doubt.
    Everything,
    /// It surely lacks some of them; or no word of the query counts, and the photo is merely similar.
    Part,
}

/// A word of a query in a photo.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WordResult {
    /// The word as the model reads it.
    pub word: String,
    /// Whether a photo that does not show it lacks something; false for words such as `the`.
    pub counts: bool,
    /// Whether only photos without it are listed.
    pub excluded: bool,
    /// Whether the photo shows it: its relevance is above its border. Of a word of a quoted phrase,
    /// whether one region shows the whole phrase. Less is asked of the words of a phrase, and of an
    /// excluded word, than of a word alone.
    pub shown: bool,
    /// Whether that is beyond doubt; false for a word that does not count or is unknown.
    pub sure: bool,
    /// Its highest relevance in the photo, a cosine; none for a word that does not count or is
    /// unknown.
    pub relevance: Option<f32>,
    /// The relevance above which a photo shows the word alone.
    pub border: Option<f64>,
    /// The region of highest relevance, or the one that shows the word together with those beside it.
    pub region: Option<usize>,
    /// The box of that region: x0, y0, x1, y1 in pixels of the upright photo.
    #[serde(rename = "box")]
    pub region_box: Option<[f32; 4]>,
}

fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_path_of_any_bytes_is_written_as_json() {
        let result = PhotoResult {
            id: Some(1),
            path: std::ffi::OsString::from_vec(b"/p/\xff.jpg".to_vec()).into(),
            similarity: 0.5,
            group: Group::Part,
            missing: Vec::new(),
            words: Vec::new(),
        };
        let json = serde_json::to_value(result).unwrap();
        assert_eq!(json["path"], "/p/\u{fffd}.jpg");
    }
}
