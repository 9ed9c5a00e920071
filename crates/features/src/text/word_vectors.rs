//! `WordVectors`: first embeddings of words, from a text file such as GloVe's, or from the vectors of their
//! pieces.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::error::TextError;
use super::pieces::{StaticTokenizer, TOKENIZER};
use super::vocabulary::Vocabulary;
use uard_files::FileError;
use uard_hub::{Hub, Source, WantedFiles, Weights};

use crate::{Error, Result};

/// The files of a static embedding model.
const STATIC_MODEL: WantedFiles<'_> = WantedFiles {
    needed: &[&["model.safetensors"], &[TOKENIZER]],
    optional: &[],
};

/// The names that published static embedding models give their one tensor: Model2Vec's and WordLlama's.
const TENSORS: [&str; 2] = ["embeddings", "embedding.weight"];

/// Vectors of some words of a vocabulary, for the embedding of
/// [`TextEncoder`](super::gru::TextEncoder).
#[derive(Debug, Clone, PartialEq)]
pub struct WordVectors {
    /// The vector of each id; none for a word that keeps drawn numbers.
    rows: Vec<Option<Vec<f32>>>,
    width: usize,
}

impl WordVectors {
    /// Reads the vectors of a vocabulary's words: from a text file ([`WordVectors::read`]), or from the
    /// folder or repository of a static embedding model ([`WordVectors::from_pieces`]).
    ///
    /// # Errors
    /// The source cannot be downloaded; those of the two functions.
    pub fn open(source: &Source, hub: &Hub, vocabulary: &Vocabulary, width: usize) -> Result<Self> {
        let path = match source {
            Source::Hub(name) if name.file().is_some() => source.file(hub, &[])?,
            _ => source.folder(hub, STATIC_MODEL)?,
        };
        match path.is_dir() {
            true => Self::from_pieces(&path, vocabulary, width),
            false => Self::read(&path, vocabulary, width),
        }
    }

    /// Makes the vectors of a vocabulary's words from a static embedding model, which has one vector for
    /// each piece of a word: `tokenizer.json`, and the tensor `embeddings` or `embedding.weight` [P, E] of
    /// `model.safetensors`.
    ///
    /// The vector of a word is the mean of its pieces' vectors, less the mean over all words, scaled to unit
    /// length, which is about that of drawn embeddings. A word has no vector if none of its pieces is known,
    /// or if it equals the mean.
    ///
    /// # Errors
    /// A file is missing or damaged, or the tensor has another shape.
    ///
    /// # Source
    /// Model2Vec (Minish Lab) and WordLlama publish such models.
    pub fn from_pieces(folder: &Path, vocabulary: &Vocabulary, width: usize) -> Result<Self> {
        let tokenizer = StaticTokenizer::open(&folder.join(TOKENIZER))?;
        let weights = Weights::open_folder(folder)?;
        let name = TENSORS.into_iter().find(|name| weights.has(name));
        let numbers = weights.numbers(name.unwrap_or(TENSORS[0]), &[tokenizer.pieces(), width])?;
        let mut rows = vec![None; vocabulary.len()];
        for (id, row) in (0..).zip(&mut rows) {
            let word = vocabulary.word(id).filter(|_| !vocabulary.is_special(id));
            let pieces = word.map(|word| tokenizer.encode(word)).transpose()?;
            let pieces = pieces.unwrap_or_default().into_iter();
            let vectors = pieces.map(|piece| &numbers[piece as usize * width..][..width]);
            *row = mean(&vectors.collect::<Vec<_>>());
        }
        center(&mut rows);
        Ok(Self { rows, width })
    }

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

    /// The vector of a word; `None` if it has none.
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

/// The mean of some vectors of one width; none without vectors.
fn mean(vectors: &[&[f32]]) -> Option<Vec<f32>> {
    let mut mean = vec![0.0; vectors.first()?.len()];
    for vector in vectors {
        for (mean, number) in mean.iter_mut().zip(*vector) {
            *mean += number / vectors.len() as f32;
        }
    }
    Some(mean)
}

/// Subtracts the mean of all rows from each, and scales it to unit length; none for a row that is the mean.
fn center(rows: &mut [Option<Vec<f32>>]) {
    let found: Vec<&[f32]> = rows.iter().flatten().map(Vec::as_slice).collect();
    let Some(center) = mean(&found) else {
        return;
    };
    for vector in rows {
        let Some(row) = vector else { continue };
        for (number, center) in row.iter_mut().zip(&center) {
            *number -= center;
        }
        let length = row.iter().map(|number| number * number).sum::<f32>().sqrt();
        row.iter_mut().for_each(|number| *number /= length);
        if length == 0.0 {
            *vector = None;
        }
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
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

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

    /// A folder with a static embedding model of three pieces and one for what is not known.
    fn static_model(tensor: &str, rows: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = serde_json::json!({
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": { "type": "Whitespace" },
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": { "[UNK]": 0, "red": 1, "ki": 2, "##te": 3 },
            },
        });
        std::fs::write(folder.path().join(TOKENIZER), tokenizer.to_string()).unwrap();
        let numbers: Vec<f32> = vec![0.0, 0.0, 4.0, 0.0, 0.0, 8.0, 0.0, 4.0, 9.0, 9.0];
        let numbers: Vec<u8> = numbers[..2 * rows]
            .iter()
            .flat_map(|it| it.to_le_bytes())
            .collect();
        let view = TensorView::new(Dtype::F32, vec![rows, 2], &numbers).unwrap();
        let path = folder.path().join("model.safetensors");
        safetensors::serialize_to_file([(tensor, view)], None, &path).unwrap();
        folder
    }

    #[test]
    fn a_word_has_the_centred_mean_of_its_pieces_at_unit_length() {
        let vocabulary = Vocabulary::build(["red kite owl"], 1);
        for tensor in TENSORS {
            let folder = static_model(tensor, 4);
            let vectors = WordVectors::from_pieces(folder.path(), &vocabulary, 2).unwrap();
            // red is [4, 0], kite the mean [0, 6] of its pieces, and the mean of both [2, 3].
            let length = 13_f32.sqrt();
            for (word, expected) in [("red", [2.0, -3.0]), ("kite", [-2.0, 3.0])] {
                let found = vectors.get(vocabulary.id(word)).unwrap();
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected / length).abs() < 1e-6, "{word} {found}");
                }
            }
            assert_eq!(vectors.get(vocabulary.id("owl")), None);
            assert_eq!(vectors.found(), 2);
        }
        // One word is the mean of all.
        let alone = Vocabulary::build(["red"], 1);
        let folder = static_model(TENSORS[0], 4);
        let vectors = WordVectors::from_pieces(folder.path(), &alone, 2).unwrap();
        assert_eq!(vectors.found(), 0);
    }

    #[test]
    fn a_static_model_of_other_shape_or_name_is_refused() {
        let vocabulary = Vocabulary::build(["red kite"], 1);
        for (tensor, rows, part) in [(TENSORS[0], 5, "(4, 2)"), ("other", 4, TENSORS[0])] {
            let folder = static_model(tensor, rows);
            let error = WordVectors::from_pieces(folder.path(), &vocabulary, 2);
            let message = error.unwrap_err().to_string();
            assert!(message.contains("model.safetensors"), "{message}");
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
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
