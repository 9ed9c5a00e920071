//! Which regions truly answer which word, where somebody knows?

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::tokens::tokenize;
use crate::{Error, Result};
use uard_files::{FileError, read_json};

/// A word, as its index among the words of [`tokenize`], and the regions that answer it.
///
/// In JSON `[word, [region, ...]]`.
pub type WordAlignment = (usize, Vec<usize>);

/// The truth about words and regions: for each caption its content words with their regions.
///
/// In JSON `{"captions": [[[word, [region, ...]], ...], ...]}`. Words count without the mark of
/// the caption's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alignments {
    /// `[C]`: the aligned words of each caption.
    pub captions: Vec<Vec<WordAlignment>>,
}

impl Alignments {
    /// Reads the alignments of these captions; `regions` gives the valid regions of the image
    /// that a caption is about.
    ///
    /// # Errors
    /// No such file; other JSON; another number of captions; a word that its caption does not
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

    /// Writes the alignments as they are read.
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
