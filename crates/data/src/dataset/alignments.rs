//! The true alignments of a split: for each caption the regions that show each word.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::tokens::tokenize;
use crate::{Error, Result};
use uard_files::{FileError, read_json};

/// A word, as its index among the words of [`tokenize`], and the indices of the regions that show it.
///
/// In JSON `[word, [region, ...]]`.
pub type WordAlignment = (usize, Vec<usize>);

/// For each caption its aligned words with their regions.
///
/// In JSON `{"captions": [[[word, [region, ...]], ...], ...]}`. Indices of words do not count the mark
/// of the caption's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alignments {
    /// `[C]`: the aligned words of each caption.
    pub captions: Vec<Vec<WordAlignment>>,
}

impl Alignments {
    /// Reads the alignments of these captions; `regions` returns the number of valid regions of a
    /// caption's image.
    ///
    /// # Errors
    /// A missing file; other JSON; another number of captions; a word that its caption does not
    /// have; a region that its image does not have.
    pub fn read_json(
        path: &Path,
        captions: &[String],
        regions: impl Fn(usize) -> usize,
    ) -> Result<Self> {
        let alignments: Self =
            read_json(path, "{\"captions\": [[[word, [region, ...]], ...], ...]}")?;
        if alignments.captions.len() != captions.len() {
            return Err(Error::EntryCount {
                path: path.to_owned(),
                expected: format!("alignments of {} captions", captions.len()),
                found: alignments.captions.len(),
            });
        }
        for (caption, (aligned, text)) in alignments.captions.iter().zip(captions).enumerate() {
            let below = |fragment, found, bound| match found < bound {
                true => Ok(()),
                false => Err(Error::AlignmentOutOfRange {
                    path: path.to_owned(),
                    caption,
                    fragment,
                    found,
                    bound,
                }),
            };
            let words = tokenize(text).len();
            for (word, answers) in aligned {
                below("word", *word, words)?;
                for region in answers {
                    below("region", *region, regions(caption))?;
                }
            }
        }
        Ok(alignments)
    }

    /// Writes the alignments in the format of [`Alignments::read_json`].
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|source| FileError::Json {
            path: path.to_owned(),
            expected: "alignments that JSON can hold",
            source,
        })?;
        uard_files::write(path, text).map_err(Error::io(path, "write"))
    }
}
