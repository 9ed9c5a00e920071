//! What a trained model knows of single words: a vector and a classifier for each, whether a photo can show
//! it, and the border of relevance above which a photo does.
//!
//! In a sentence, the vector of a word holds its neighbours too: in "a triangle at the left", `at` and
//! `the` are as relevant to the triangle as `triangle` is. So a word is judged by the mean of its vectors
//! over all training captions, against a border of its own. The relevance of a photo is the highest cosine of
//! a region with this vector plus the output of the word's classifier, which is linear in the mean of the
//! photo's regions.

mod classifiers;
mod learning;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use candle_core::{Device, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};
use uard_attention::{Matcher, MatcherConfig, Sides, WeightRule};
use uard_core::Words;
use uard_relevance::{Logistic, Normal};

use crate::{Error, Result};

/// The name of the file.
pub const WORDS: &str = "words.safetensors";

const HEADER: &str = "words";
const VECTORS: &str = "vectors";
const CLASSIFIERS: &str = "classifiers";

/// The words of a model that its training captions have often enough to judge them.
///
/// Written beside the checkpoints of a run as [`WORDS`]: the vectors as the tensor `vectors` [V, D], the
/// classifiers as `classifiers` [V, D + 1], and the words with their borders in the metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnedWords {
    header: Header,
    /// Row-major [V, D].
    vectors: Vec<f32>,
    /// The D weights c and the constant c_0 of each word's classifier: row-major [V, D + 1]. It gives c · m + c_0
    /// for a photo whose regions have the mean m, scaled to unit length. Empty in files of earlier versions.
    classifiers: Vec<f32>,
    width: usize,
}

/// The metadata of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// [`Checkpoint::identity`](crate::Checkpoint::identity) of the model.
    model: String,
    /// In the order of their texts.
    words: Vec<LearnedWord>,
}

/// A word, and whether a photo can show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnedWord {
    /// The word as the text model reads it.
    pub text: String,
    /// None if photos with and without the word cannot be told apart by it, as for `the`.
    pub borders: Option<WordBorders>,
    /// Borders of the cosine of a single region, without the classifier. None without borders, and in files of
    /// earlier versions, whose `borders` are those of the cosine.
    #[serde(default)]
    pub region_borders: Option<WordBorders>,
    /// The chance that captions of a photo have the word, by its relevance; none without borders, and in files
    /// of earlier versions.
    #[serde(default)]
    pub chance: Option<Logistic>,
    /// What the borders were learned from; none without borders, and in files of earlier versions.
    #[serde(default)]
    pub distributions: Option<WordDistributions>,
    /// The number of images whose captions have the word.
    pub images: usize,
}

/// The relevance of a word in images of the training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordDistributions {
    /// In images whose captions have the word.
    pub shown: Normal,
    /// In all others.
    pub not_shown: Normal,
}

/// The relevance at which it turns from unlikely to certain that a photo shows a word.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordBorders {
    /// Photos of at most this relevance surely do not show the word.
    pub missing: f64,
    /// Photos of higher relevance show the word, as far as one can guess.
    pub shown: f64,
    /// Photos of higher relevance surely show the word.
    pub sure: f64,
}

/// The classifiers of some words. For a photo whose regions have the mean m, a classifier gives
///
/// ```text
/// |c| cos(c, m) + c_0
/// ```
#[derive(Debug, Clone)]
pub struct WordClassifiers<W> {
    /// The weights c of each, scaled to unit length, as a caption of one word.
    pub weights: W,
    /// Their lengths |c|.
    pub lengths: Vec<f32>,
    /// The constants c_0.
    pub constants: Vec<f32>,
}

impl LearnedWord {
    /// Whether its borders are in order; false too if one is not a number.
    fn is_ordered(&self) -> bool {
        let borders = self.borders.iter().chain(&self.region_borders);
        let mut in_order = borders.map(|it| it.missing < it.shown && it.shown <= it.sure);
        in_order.all(|is_ordered| is_ordered)
    }
}

impl LearnedWords {
    /// Reads the words of a model.
    ///
    /// # Errors
    /// When the file is missing or damaged, or belongs to another model than `identity`
    /// ([`Checkpoint::identity`](crate::Checkpoint::identity)).
    pub fn read(path: &Path, identity: &str) -> Result<Self> {
        let bytes = uard_files::read(path).map_err(Error::io(path, "read"))?;
        let damaged = |cause: String| Error::Words {
            path: path.to_owned(),
            cause,
        };
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
        let header = metadata
            .metadata()
            .as_ref()
            .and_then(|keys| keys.get(HEADER));
        let header = header.ok_or_else(|| damaged(format!("its metadata lack `{HEADER}`")))?;
        let header: Header =
            serde_json::from_str(header).map_err(|error| damaged(error.to_string()))?;
        if header.model != identity {
            return Err(Error::Mismatch {
                path: path.to_owned(),
                what: "the words of model",
                expected: identity.to_owned(),
                found: header.model,
                mend: "run `uard words` for this model",
            });
        }
        let words = Self::from_tensors(header, &bytes).map_err(damaged)?;
        words.check().map_err(damaged)?;
        Ok(words)
    }

    fn from_tensors(header: Header, bytes: &[u8]) -> std::result::Result<Self, String> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let words = header.words.len();
        let matrix = |name: &str| {
            let tensor = tensors.tensor(name).map_err(|error| error.to_string())?;
            let (&[count, width], Dtype::F32) = (tensor.shape(), tensor.dtype()) else {
                return Err(format!("`{name}` is not a matrix of f32"));
            };
            if count != words {
                return Err(format!("it has {words} words and {count} {name}"));
            }
            let (numbers, _) = tensor.data().as_chunks::<4>();
            let numbers = numbers.iter().copied().map(f32::from_le_bytes);
            Ok((numbers.collect::<Vec<f32>>(), width))
        };
        let (vectors, width) = matrix(VECTORS)?;
        let (classifiers, found) = match tensors.names().contains(&CLASSIFIERS) {
            true => matrix(CLASSIFIERS)?,
            false => (Vec::new(), width + 1),
        };
        if found != width + 1 {
            let expected = width + 1;
            return Err(format!(
                "its classifiers have {found} numbers, expected {expected}"
            ));
        }
        Ok(Self {
            header,
            vectors,
            classifiers,
            width,
        })
    }

    /// Checks the content of a file; the error is the first thing that is wrong with it.
    fn check(&self) -> std::result::Result<(), String> {
        let words = &self.header.words;
        if !words.is_sorted_by(|a, b| a.text < b.text) {
            return Err("its words are not in order".to_owned());
        }
        if let Some(word) = words.iter().find(|word| !word.is_ordered()) {
            return Err(format!("the borders of `{}` are not in order", word.text));
        }
        for word in words {
            let is_needed = word.borders.is_some() && !self.classifiers.is_empty();
            for (field, is_there) in [
                ("borders of regions", word.region_borders.is_some()),
                ("chance", word.chance.is_some()),
            ] {
                if is_there != is_needed {
                    let text = &word.text;
                    return Err(match is_needed {
                        true => format!("`{text}` has a classifier and borders, but no {field}"),
                        false => format!("`{text}` has {field}, but no classifier or no borders"),
                    });
                }
            }
            if word.chance.is_some_and(|chance| !chance.rises()) {
                return Err(format!("the chance of `{}` does not rise", word.text));
            }
        }
        let mut rows = self.vectors.chunks(self.width.max(1));
        let mut classifiers = self.classifiers.chunks(self.width + 1);
        let is_finite = |row: &[f32]| squared_length(row).is_finite();
        match rows.all(is_finite) && classifiers.all(is_finite) {
            true => Ok(()),
            false => Err("it has numbers that are too large or not finite".to_owned()),
        }
    }

    /// Writes the words to a file, which replaces one that is there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = || Error::io(path, "write");
        let bytes = self.to_bytes().map_err(io::Error::other);
        uard_files::write(path, bytes.map_err(failed())?).map_err(failed())
    }

    fn to_bytes(&self) -> std::result::Result<Vec<u8>, SafeTensorError> {
        let header = serde_json::to_string(&self.header)?;
        let metadata = HashMap::from([(HEADER.to_owned(), header)]);
        let bytes = |numbers: &[f32]| -> Vec<u8> {
            numbers
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect()
        };
        let (vectors, classifiers) = (bytes(&self.vectors), bytes(&self.classifiers));
        let words = self.header.words.len();
        let mut tensors = vec![(
            VECTORS,
            TensorView::new(Dtype::F32, vec![words, self.width], &vectors)?,
        )];
        if !self.classifiers.is_empty() {
            let shape = vec![words, self.width + 1];
            tensors.push((
                CLASSIFIERS,
                TensorView::new(Dtype::F32, shape, &classifiers)?,
            ));
        }
        safetensors::serialize(tensors, Some(metadata))
    }

    /// All words, in the order of their texts.
    pub fn words(&self) -> &[LearnedWord] {
        &self.header.words
    }

    /// A word, as the text model reads it; none if the captions have it too seldom.
    pub fn get(&self, text: &str) -> Option<&LearnedWord> {
        Some(&self.header.words[self.position(text)?])
    }

    fn position(&self, text: &str) -> Option<usize> {
        let words = &self.header.words;
        words
            .binary_search_by(|word| word.text.as_str().cmp(text))
            .ok()
    }

    /// The vectors of some words, each as a caption of one word; words that were not learned are left
    /// out.
    ///
    /// # Errors
    /// When none was learned.
    pub fn vectors(&self, texts: &[&str]) -> Result<Words> {
        let indices = texts.iter().filter_map(|text| self.position(text));
        self.captions(&indices.collect::<Vec<_>>())
    }

    /// The vectors of words as one caption, [1, words, D]. The words must be known.
    ///
    /// # Errors
    /// When candle reports an error.
    pub fn caption(&self, texts: &[&str]) -> Result<Words> {
        let indices = texts.iter().filter_map(|text| self.position(text));
        let indices: Vec<usize> = indices.collect();
        let shape = (1, indices.len(), self.width);
        let rows = Tensor::from_vec(self.rows(&indices), shape, &Device::Cpu)?;
        Ok(Words::normalized(&rows, vec![indices.len()])?)
    }

    /// The classifiers of some words; those that were not learned are left out. None in files of earlier
    /// versions.
    ///
    /// # Errors
    /// When none was learned.
    pub fn classifiers(&self, texts: &[&str]) -> Result<Option<WordClassifiers<Words>>> {
        if self.classifiers.is_empty() {
            return Ok(None);
        }
        let (mut rows, mut lengths, mut constants) = (Vec::new(), Vec::new(), Vec::new());
        let width = self.width;
        for at in texts.iter().filter_map(|text| self.position(text)) {
            let row = &self.classifiers[at * (width + 1)..][..width + 1];
            rows.extend_from_slice(&row[..width]);
            lengths.push(squared_length(&row[..width]).sqrt());
            constants.push(row[width]);
        }
        let count = lengths.len();
        let weights = Tensor::from_vec(rows, (count, 1, width), &Device::Cpu)?;
        Ok(Some(WordClassifiers {
            weights: Words::normalized(&weights, vec![1; count])?,
            lengths,
            constants,
        }))
    }

    fn captions(&self, indices: &[usize]) -> Result<Words> {
        let shape = (indices.len(), 1, self.width);
        let rows = Tensor::from_vec(self.rows(indices), shape, &Device::Cpu)?;
        Ok(Words::normalized(&rows, vec![1; indices.len()])?)
    }

    fn rows(&self, indices: &[usize]) -> Vec<f32> {
        let width = self.width;
        let rows = indices
            .iter()
            .flat_map(|&at| &self.vectors[at * width..(at + 1) * width]);
        rows.copied().collect()
    }
}

fn squared_length(numbers: &[f32]) -> f32 {
    numbers.iter().map(|number| number * number).sum()
}

/// A matcher whose similarity of a caption of one word is the highest cosine of a region with the word.
///
/// # Errors
/// Never: its settings are valid.
pub fn highest_relevance() -> Result<Matcher> {
    Ok(Matcher::new(MatcherConfig {
        rule: WeightRule::MaxSim,
        sides: Sides::Words,
        inverse_temperature: None,
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BORDERS: WordBorders = WordBorders {
        missing: 0.05,
        shown: 0.1 + 0.2,
        sure: 0.4,
    };

    fn words() -> LearnedWords {
        let chance = Logistic::fit(&[0.5, 0.6], &[0.1, 0.2]).unwrap();
        let word = |text: &str, borders: Option<WordBorders>| LearnedWord {
            text: text.to_owned(),
            borders,
            region_borders: borders,
            chance: borders.map(|_| chance),
            distributions: None,
            images: 12,
        };
        LearnedWords {
            header: Header {
                model: "5f2c".to_owned(),
                words: vec![word("dog", Some(BORDERS)), word("the", None)],
            },
            vectors: vec![0.6, 0.8, 1.0, 0.0],
            classifiers: vec![3.0, 4.0, -0.5, 0.0, 0.0, 0.0],
            width: 2,
        }
    }

    #[test]
    fn words_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WORDS);
        words().write(&path).unwrap();
        let read = LearnedWords::read(&path, "5f2c").unwrap();
        assert_eq!(read, words());
        assert_eq!(read.get("dog").unwrap().borders, Some(BORDERS));
        assert_eq!(read.get("cat"), None);
        let found = read.vectors(&["the", "cat", "dog"]).unwrap();
        let rows = found
            .rows()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert_eq!((found.captions(), rows), (2, vec![1.0, 0.0, 0.6, 0.8]));
        let found = read.classifiers(&["dog"]).unwrap().unwrap();
        let weights = found.weights.rows().flatten_all().unwrap();
        assert_eq!(weights.to_vec1::<f32>().unwrap(), [0.6, 0.8]);
        assert_eq!((found.lengths, found.constants), (vec![5.0], vec![-0.5]));
    }

    #[test]
    fn files_of_earlier_versions_have_no_classifiers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WORDS);
        let mut earlier = words();
        earlier.classifiers.clear();
        let error = |words: &LearnedWords| {
            words.write(&path).unwrap();
            LearnedWords::read(&path, "5f2c").unwrap_err().to_string()
        };
        assert!(error(&earlier).contains("`dog` has borders of regions, but no classifier"));
        earlier.header.words[0].region_borders = None;
        earlier.header.words[0].chance = None;
        earlier.write(&path).unwrap();
        let read = LearnedWords::read(&path, "5f2c").unwrap();
        assert!(read.classifiers(&["dog"]).unwrap().is_none());
        let mut incomplete = words();
        incomplete.header.words[0].region_borders = None;
        assert!(error(&incomplete).contains("but no borders of regions"));
        let mut large = words();
        large.classifiers[0] = 1e30;
        assert!(error(&large).contains("too large"));
    }

    #[test]
    fn words_of_another_model_and_damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WORDS);
        let bytes = words().to_bytes().unwrap();
        uard_files::write(&path, &bytes).unwrap();
        let mut swapped = words();
        swapped.header.words[0].borders = Some(WordBorders {
            missing: BORDERS.shown,
            ..BORDERS
        });
        swapped.write(&path).unwrap();
        let error = LearnedWords::read(&path, "5f2c").unwrap_err().to_string();
        assert!(error.contains("the borders of `dog`"), "{error}");
        let mut infinite = words();
        infinite.classifiers[1] = f32::INFINITY;
        infinite.write(&path).unwrap();
        let error = LearnedWords::read(&path, "5f2c").unwrap_err().to_string();
        assert!(error.contains("not finite"), "{error}");
        uard_files::write(&path, &bytes).unwrap();
        let error = LearnedWords::read(&path, "0000").unwrap_err().to_string();
        assert!(error.contains("uard words"), "{error}");
        for length in 0..bytes.len() {
            uard_files::write(&path, &bytes[..length]).unwrap();
            let error = LearnedWords::read(&path, "5f2c").unwrap_err();
            assert!(error.to_string().contains(WORDS), "{error}");
        }
    }
}
