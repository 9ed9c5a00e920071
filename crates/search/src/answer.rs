//! The answer to a query, as it is printed and as JSON.

use std::cmp::Ordering;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Serialize, Serializer};
use uard_model::{WordBorders, WordDistributions};
use utoipa::ToSchema;

use crate::query::Role;
use crate::{Error, PhotoId};

/// The answer to a query.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct Answer {
    /// The query as it was given.
    pub query: String,
    /// The learned threshold of the model, on the relevance of a region and a word in a sentence.
    pub threshold: f64,
    /// How many photos met the filters.
    pub searched: usize,
    /// How many photos answer the query, those on other pages included.
    pub found: usize,
    /// How many of them surely lack no word that counts; 0 if no word of the query counts.
    pub everything: usize,
    /// Words and phrases of the query that none of these photos surely shows, in the order of the query.
    pub nothing_shows: Vec<String>,
    /// Those of `nothing_shows` that some photo may show: its relevance is above the border, but in doubt.
    pub perhaps_shown: Vec<String>,
    /// The words that the model has not learned: it cannot find photos that show them, and not leave
    /// them out either.
    pub unknown: Vec<String>,
    /// Every word of the query, in order.
    pub words: Vec<QueryWordResult>,
    /// Where the next results begin; none after the last ones.
    #[schema(value_type = Option<String>)]
    pub cursor: Option<Cursor>,
    /// The best photos, or those after a cursor.
    pub results: Vec<PhotoResult>,
}

/// A place in the order of results: that of a photo. As text, `missing-doubtful-score-id` with the bits
/// of the score in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cursor {
    /// How many of the wanted words and phrases the photo surely lacks.
    pub missing: usize,
    /// How many of the excluded ones it may show.
    pub doubtful: usize,
    /// Its [`score`](PhotoResult::score).
    pub score: f32,
    /// Its number.
    pub id: PhotoId,
}

/// A word of a query in all photos that met the filters.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct QueryWordResult {
    /// The word as the model reads it.
    pub word: String,
    /// Whether a photo that does not show it lacks something; false for words such as `the`.
    pub counts: bool,
    /// What the query asks of photos about it.
    pub role: Role,
    /// Whether the model has learned it.
    pub learned: bool,
    /// How many photos show it, or the phrase that it belongs to.
    pub photos: usize,
    /// The relevance at which a photo turns from lacking the word alone to showing it: `missing`,
    /// `shown` and `sure`.
    #[schema(value_type = Option<BTreeMap<String, f64>>)]
    pub borders: Option<WordBorders>,
    /// The relevance that the borders were learned from, in photos with the word (`shown`) and without
    /// it (`not_shown`): `mean`, `std` and `count`.
    #[schema(value_type = Option<BTreeMap<String, BTreeMap<String, f64>>>)]
    pub distributions: Option<WordDistributions>,
}

/// A photo of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct PhotoResult {
    /// Its number in the index; none for a photo that is not in the index.
    pub id: Option<i64>,
    /// Its file. In JSON, bytes that are not UTF-8 are replaced.
    #[serde(serialize_with = "lossy")]
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Width of the upright photo, in pixels.
    pub width: u32,
    /// Height of the upright photo, in pixels.
    pub height: u32,
    /// The similarity of photo and sentence, or of two photos.
    pub similarity: f32,
    /// Orders photos that lack equally many words, the highest first: the similarity plus 0.05 times the mean
    /// log-chance that the photo shows the wanted words. In a search for photos like another one, the
    /// similarity alone.
    pub score: f32,
    /// How much of the query it shows.
    pub group: Group,
    /// The words and phrases that it surely does not show.
    pub missing: Vec<String>,
    /// How many of the excluded words and phrases it may show. Results are in the order of `missing`, of
    /// this number, and of the score.
    pub doubtful: usize,
    /// Every word of the query, in order.
    pub words: Vec<WordResult>,
}

/// How much of a query a photo shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Every word that counts, or it is in doubt.
    Everything,
    /// It surely lacks some of them; or no word of the query counts, and the photo is merely similar.
    Part,
}

/// A word of a query in a photo.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
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
    /// Its relevance in the photo: the highest cosine of a region, plus what the word's classifier says of the
    /// photo as a whole (0 for an average photo of the training; the sum has no bounds). Of a word of a quoted
    /// phrase, the highest cosine alone. None for a word that does not count or is unknown.
    pub relevance: Option<f32>,
    /// The border of this relevance, above which a photo shows the word alone.
    pub border: Option<f64>,
    /// The region of the highest cosine, or the one that shows the word together with those beside it.
    pub region: Option<usize>,
    /// The box of that region: x0, y0, x1, y1 in pixels of the upright photo.
    #[serde(rename = "box")]
    pub region_box: Option<[f32; 4]>,
}

impl Cursor {
    /// The order of results: of what is asked for, the fewest missing first; then the fewest doubtful
    /// exclusions, the highest score, and the lowest number.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let order = self.missing.cmp(&other.missing);
        let order = order.then(self.doubtful.cmp(&other.doubtful));
        let order = order.then(other.score.total_cmp(&self.score));
        order.then(self.id.cmp(&other.id))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.score.to_bits();
        write!(
            formatter,
            "{}-{}-{bits:08x}-{}",
            self.missing, self.doubtful, self.id
        )
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            let mut parts = text.split('-');
            let mut next = || parts.next();
            let cursor = Self {
                missing: next()?.parse().ok()?,
                doubtful: next()?.parse().ok()?,
                score: f32::from_bits(u32::from_str_radix(next()?, 16).ok()?),
                id: PhotoId(next()?.parse().ok()?),
            };
            next().is_none().then_some(cursor)
        };
        read().ok_or_else(|| Error::Cursor {
            found: text.to_owned(),
        })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
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
            width: 640,
            height: 480,
            similarity: 0.5,
            score: 0.5,
            group: Group::Part,
            missing: Vec::new(),
            doubtful: 0,
            words: Vec::new(),
        };
        let json = serde_json::to_value(result).unwrap();
        assert_eq!(json["path"], "/p/\u{fffd}.jpg");
    }
    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor = Cursor {
            missing: 2,
            doubtful: 0,
            score: -0.1,
            id: PhotoId(17),
        };
        let text = cursor.to_string();
        assert_eq!(text.parse::<Cursor>().unwrap(), cursor);
        assert_eq!(serde_json::to_value(cursor).unwrap(), text);
        for wrong in [
            "",
            "1-0-3f000000",
            "1-0-3f000000-17-1",
            "1-0-fffffffff-17",
            "a-0-0-1",
        ] {
            let error = wrong.parse::<Cursor>().unwrap_err().to_string();
            assert!(error.contains(&format!("found `{wrong}`")), "{error}");
        }
    }
}
