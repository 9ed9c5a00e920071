//! `WordVectors`: first embeddings of words, from a text file such as GloVe's.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::error::TextError;
use super::vocabulary::Vocabulary;
use uard_files::FileError;

use crate::{Error, Result};

/// Vectors of some words of a vocabulary, for the embedding of
/// [`TextEncoder`](super::gru::TextEncoder).
#[derive(Debug, Clone, PartialEq)]
pub struct WordVectors {
    /// The vector of each id, if the file has one.
    rows: Vec<Option<Vec<f32>>>,
    width: usize,
}

impl WordVectors {
    /// Reads the vectors of a vocabulary's words from a file with a line `word v1 … vN` for each.
    ///
    /// If the first line has two whole numbers, it is the header of word2vec's text files: the
    /// number of words, and the width, which is checked. A word may contain spaces, as in
    /// `glove.840B.300d`. A word that is in the file more than once has the vector of its first
    /// line. Words that are not in the vocabulary, and empty lines, are skipped.
    ///
    /// # Shapes
    /// Each vector has `width` numbers.
    ///
    /// # Errors
    /// The file cannot be read; a line has another count of numbers, a number that is not finite, or
    /// bytes that are not UTF-8, and the message names the line.
    ///
    /// # Source
    /// Pennington, Socher, Manning, *GloVe*, 2014.
    pub fn read(path: &Path, vocabulary: &Vocabulary, width: usize) -> Result<Self> {
        let file = uard_files::open(path).map_err(Error::io(path, "open"))?;
        let ids: HashMap<&str, usize> = (0..vocabulary.len())
            .filter_map(|id| Some((vocabulary.word(id as u32)?, id)))
            .collect();
        let mut rows = vec![None; vocabulary.len()];
        let mut reader = BufReader::new(file);
        let mut bytes = Vec::new();
        for line in 1.. {
            bytes.clear();
            let read = reader.read_until(b'\n', &mut bytes);
            if read.map_err(Error::io(path, "read"))? == 0 {
                break;
            }
            let text = std::str::from_utf8(&bytes).map_err(|_| FileError::NotUtf8 {
                path: path.to_owned(),
                line,
            })?;
            let refuse = |problem| {
                Error::Text(TextError::WordVectorLine {
                    path: path.to_owned(),
                    line,
                    expected: width,
                    problem,
                })
            };
            let text = text.trim_end_matches(['\n', '\r', ' ']);
            if text.is_empty() {
                continue;
            }
            if line == 1 && is_header(text, width).map_err(refuse)? {
                continue;
            }
            let (word, numbers) = parts(text, width).map_err(refuse)?;
            if let Some(&id) = ids.get(word.as_str()) {
                let vector = vector(&numbers).map_err(refuse)?;
                rows[id].get_or_insert(vector);
            }
        }
        Ok(Self { rows, width })
    }

    /// The vector of a word; `None` if the file does not have the word.
    pub fn get(&self, id: u32) -> Option<&[f32]> {
        self.rows.get(id as usize)?.as_deref()
    }

    /// How many words of the vocabulary have a vector.
    pub fn found(&self) -> usize {
        self.rows.iter().flatten().count()
    }

    /// The number of words in the vocabulary.
    pub fn words(&self) -> usize {
        self.rows.len()
    }

    /// The width of each vector.
    pub fn width(&self) -> usize {
        self.width
    }
}

/// Whether the first line is a header, with the number of words and the width.
fn is_header(line: &str, width: usize) -> std::result::Result<bool, String> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [words, found] = fields[..] else {
        return Ok(false);
    };
    // If vectors have one number, such a line may also be a word that looks like a number, and its
    // vector.
    let (Ok(_), Ok(found), false) = (words.parse::<u64>(), found.parse::<usize>(), width == 1)
    else {
        return Ok(false);
    };
    match found == width {
        true => Ok(true),
        false => Err(format!(
            "the file's header says that its vectors have {found}"
        )),
    }
}

/// A word, and its numbers as text.
fn parts(line: &str, width: usize) -> std::result::Result<(String, Vec<&str>), String> {
    let fields: Vec<&str> = line.split(' ').collect();
    let Some(words) = fields.len().checked_sub(width).filter(|&words| words > 0) else {
        return Err(format!("found {}", fields.len() - 1));
    };
    // Further fields belong to the word, unless all of them are numbers: then the vector is too long.
    let between = &fields[1..words];
    if !between.is_empty() && between.iter().all(|field| field.parse::<f32>().is_ok()) {
        return Err(format!("found {}", fields.len() - 1));
    }
    Ok((fields[..words].join(" "), fields[words..].to_vec()))
}

fn vector(fields: &[&str]) -> std::result::Result<Vec<f32>, String> {
    let number = |field: &&str| match field.parse::<f32>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(format!("found `{field}`, which is no finite number")),
    };
    fields.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        Vocabulary::build(["a red kite , owl"], 1)
    }

    fn read(text: &[u8]) -> std::result::Result<WordVectors, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("glove.txt");
        std::fs::write(&path, text).unwrap();
        WordVectors::read(&path, &vocabulary(), 2).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn assert_refused(text: &[u8], parts: &[&str]) {
        let message = read(text).unwrap_err();
        assert!(message.contains("glove.txt line "), "{message}");
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }

    #[test]
    fn words_of_the_vocabulary_have_the_vector_of_their_first_line() {
        let vectors = read(b"kite 0.5 -1\nblue 1 2\n\n, 3e-1 4\nkite 7 8\r\n\n").unwrap();
        let vocabulary = vocabulary();
        let vector = |word: &str| vectors.get(vocabulary.id(word));
        assert_eq!(vector("kite"), Some(&[0.5, -1.0][..]));
        assert_eq!(vector(","), Some(&[0.3, 4.0][..]));
        assert_eq!(vector("owl"), None);
        assert_eq!(
            (vectors.found(), vectors.words(), vectors.width()),
            (2, 9, 2)
        );
    }

    #[test]
    fn the_header_of_word2vec_is_checked_and_skipped() {
        let vectors = read(b"2 2\nkite 0.5 -1\nowl 1 2\n").unwrap();
        assert_eq!(vectors.found(), 2);
        assert_refused(b"2 300\nkite 0.5 -1\n", &["line 1", "its vectors have 300"]);
    }

    #[test]
    fn words_may_contain_spaces() {
        let vectors = read(b". . . 1 2\nat name@domain.com 3 4\nred 5 6\n").unwrap();
        assert_eq!(vectors.found(), 1);
    }

    #[test]
    fn malformed_lines_are_refused_by_number() {
        let count = "expected a word and 2 numbers, found 1";
        assert_refused(b"kite 1 2\nowl 1\n", &["line 2", count]);
        assert_refused(b"kite 1 2 3\n", &["line 1", "found 3"]);
        assert_refused(b"kite 1 x\n", &["line 1", "found `x`"]);
        assert_refused(b"kite 1 2\nowl inf 1\n", &["line 2", "found `inf`"]);
        assert_refused(b"kite 1 2\nowl \xff 1\n", &["line 2", "UTF-8"]);
    }
}
