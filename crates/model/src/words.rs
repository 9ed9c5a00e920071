//! What a trained model knows of single words: a vector for each, whether a photo can show it, and the
//! border of relevance above which a photo does.
//!
//! In a sentence, the vector of a word holds its neighbours too: in "a triangle at the left", `at` and
//! `the` are as relevant to the triangle as `triangle` is. So a word is judged by the mean of its vectors
//! over all training captions, against a border of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};
use uard_attention::search::Search;
use uard_attention::{Engine, Matcher, MatcherConfig, Precision, Sides, WeightRule};
use uard_core::Words;
use uard_data::dataset::Split;
use uard_relevance::{Logistic, Normal};

use crate::{CAPTIONS_AT_ONCE, Checkpoint, Error, IMAGES_AT_ONCE, ImageFeatures, Model, Result};

/// The name of the file.
pub const WORDS: &str = "words.safetensors";

const HEADER: &str = "words";
const VECTORS: &str = "vectors";

/// The least number of images that show a word, and that do not, for its border.
const LEAST_IMAGES: usize = 10;

/// The most images, with their captions, that words are learned from.
const MOST_IMAGES: usize = 6000;

/// A photo is likely to show a word from this chance on. The F1 of reporting a word is highest at the chance
/// that is half of this F1, which is about 0.4 on photographs.
///
/// # Source
/// Lipton, Elkan, Naryanaswamy, "Optimal Thresholding of Classifiers to Maximize F1 Measure", 2014.
const LIKELY: f64 = 0.2;

/// A photo surely lacks a word if its odds p / (1 - p) are below this fraction of the prior odds, those of
/// the word over all images (at most 1).
const UNLIKELY: f64 = 0.1;

/// A word is judged if the logistic regression explains at least this share of the uncertainty about which
/// captions have it (McFadden's R²). For function words it is near 0.
const LEAST_EXPLAINED: f64 = 0.1;

/// The words of a model that its training captions have often enough to judge them.
///
/// Written beside the checkpoints of a run as [`WORDS`]: the vectors as the tensor `vectors` [V, D], and
/// the words with their borders in the metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnedWords {
    header: Header,
    /// Row-major [V, D].
    vectors: Vec<f32>,
    width: usize,
}

/// The metadata of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// [`Checkpoint::identity`] of the model.
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
    /// What the borders were learned from; none without borders, and in files of earlier versions.
    #[serde(default)]
    pub distributions: Option<WordDistributions>,
    /// The number of images whose captions have the word.
    pub images: usize,
}

/// The highest relevance of a word in images of the training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordDistributions {
    /// In images whose captions have the word.
    pub shown: Normal,
    /// In all others.
    pub not_shown: Normal,
}

/// The relevance, a cosine, at which it turns from unlikely to certain that a photo shows a word.
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

impl LearnedWord {
    /// Whether its borders are in order; false too if one is not a number.
    fn is_ordered(&self) -> bool {
        let in_order = |it: &WordBorders| it.missing < it.shown && it.shown <= it.sure;
        self.borders.as_ref().is_none_or(in_order)
    }
}

impl LearnedWords {
    /// Learns the words of a split's captions, for a model that was trained on them.
    ///
    /// The vector of a word is the mean of its vectors over all captions, scaled to unit length. Its
    /// borders come from a logistic regression of whether an image's captions have the word on the highest
    /// relevance of its regions. `on_progress` is called with the number of images that are done and of all.
    ///
    /// # Errors
    /// When features cannot be read, or a caption not be encoded.
    ///
    /// # Source
    /// docs/decisions/0037-a-word-is-judged-alone.md, with what was compared.
    pub fn learn(
        checkpoint: &Checkpoint,
        model: &Model,
        split: &Split,
        on_progress: &dyn Fn(usize, usize),
    ) -> Result<Self> {
        let images = evenly_spread(split.images());
        let sums = WordSums::new(model, split, &images)?;
        let mut words = Self {
            width: model.joint_width(),
            header: Header {
                model: checkpoint.identity()?,
                words: Vec::new(),
            },
            vectors: Vec::new(),
        };
        let mut images_of_words = Vec::new();
        for (text, sum) in sums.0 {
            words.header.words.push(LearnedWord {
                text,
                borders: None,
                distributions: None,
                images: sum.images.len(),
            });
            words.vectors.extend(unit(&sum.vector));
            images_of_words.push(sum.images);
        }
        if words.header.words.is_empty() {
            return Ok(words);
        }
        let relevance = words.highest_relevance(model, split, &images, on_progress)?;
        let count = words.header.words.len();
        for (at, word) in words.header.words.iter_mut().enumerate() {
            let mut samples = [Vec::new(), Vec::new()];
            for (row, image) in images.iter().enumerate() {
                let has_word = images_of_words[at].contains(image);
                samples[usize::from(has_word)].push(relevance[row * count + at]);
            }
            let [not_shown, shown] = &samples;
            word.borders = WordBorders::between(shown, not_shown);
            if word.borders.is_some() {
                word.distributions = WordDistributions::from_samples(shown, not_shown);
            }
        }
        Ok(words)
    }

    /// Reads the words of a model.
    ///
    /// # Errors
    /// When the file is missing or damaged, or belongs to another model than `identity`
    /// ([`Checkpoint::identity`]).
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
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
        let vectors = tensors
            .tensor(VECTORS)
            .map_err(|error| damaged(error.to_string()))?;
        let (&[count, width], Dtype::F32) = (vectors.shape(), vectors.dtype()) else {
            return Err(damaged(format!("`{VECTORS}` is not a matrix of f32")));
        };
        if count != header.words.len() {
            let words = header.words.len();
            return Err(damaged(format!("it has {words} words and {count} vectors")));
        }
        if !header.words.is_sorted_by(|a, b| a.text < b.text) {
            return Err(damaged("its words are not in order".to_owned()));
        }
        if let Some(word) = header.words.iter().find(|word| !word.is_ordered()) {
            return Err(damaged(format!(
                "the borders of `{}` are not in order",
                word.text
            )));
        }
        let (numbers, _) = vectors.data().as_chunks::<4>();
        Ok(Self {
            vectors: numbers.iter().copied().map(f32::from_le_bytes).collect(),
            width,
            header,
        })
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
        let numbers = self.vectors.iter().flat_map(|number| number.to_le_bytes());
        let numbers: Vec<u8> = numbers.collect();
        let shape = vec![self.header.words.len(), self.width];
        let vectors = TensorView::new(Dtype::F32, shape, &numbers)?;
        let metadata = HashMap::from([(HEADER.to_owned(), header)]);
        safetensors::serialize([(VECTORS, vectors)], Some(metadata))
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

    /// The highest relevance of each word in each of some images: row-major [images, V].
    fn highest_relevance(
        &self,
        model: &Model,
        split: &Split,
        images: &[usize],
        on_progress: &dyn Fn(usize, usize),
    ) -> Result<Vec<f32>> {
        let search = Search::new(&highest_relevance()?, 0.0, Engine::Auto, Precision::F32)?;
        let all = self.captions(&(0..self.header.words.len()).collect::<Vec<_>>())?;
        let all = search.collect_words(&all)?;
        let mut found = vec![0.0; images.len() * all.captions()];
        let rows = found.chunks_mut(IMAGES_AT_ONCE * all.captions());
        for (at, (block, rows)) in images.chunks(IMAGES_AT_ONCE).zip(rows).enumerate() {
            let regions = model.images(ImageFeatures::read(&split.regions, block)?)?;
            search.similarities_into(search.collect_regions(&regions)?, &all, rows)?;
            on_progress(at * IMAGES_AT_ONCE + block.len(), images.len());
        }
        Ok(found)
    }
}

/// A matcher whose similarity of a caption of one word is the highest relevance of the word.
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

/// What captions say of each word.
struct WordSums(BTreeMap<String, WordSum>);

struct WordSum {
    /// The sum of its vectors over all captions.
    vector: Vec<f64>,
    /// The images whose captions have it.
    images: BTreeSet<usize>,
}

impl WordSums {
    /// The words of the captions of some images, which are in ascending order.
    fn new(model: &Model, split: &Split, images: &[usize]) -> Result<Self> {
        let mut sums: BTreeMap<String, WordSum> = BTreeMap::new();
        let captions = split.captions.iter().zip(&split.image_of_caption);
        let captions = captions.filter(|(_, image)| images.binary_search(image).is_ok());
        let captions: Vec<(&String, &usize)> = captions.collect();
        for captions in captions.chunks(CAPTIONS_AT_ONCE) {
            let texts: Vec<&String> = captions.iter().map(|(caption, _)| *caption).collect();
            let encoded = model.texts(&texts)?;
            let rows = encoded
                .rows()
                .to_device(&Device::Cpu)?
                .to_dtype(DType::F32)?;
            for (at, &(caption, &image)) in captions.iter().enumerate() {
                let rows = rows.get(at)?.to_vec2::<f32>()?;
                for word in model.text().words(caption)? {
                    if !word.text.contains(char::is_alphanumeric) {
                        continue;
                    }
                    let sum = sums.entry(word.text).or_insert_with(|| WordSum {
                        vector: vec![0.0; model.joint_width()],
                        images: BTreeSet::new(),
                    });
                    sum.images.insert(image);
                    for row in rows.get(word.rows).unwrap_or_default() {
                        for (sum, &number) in sum.vector.iter_mut().zip(row) {
                            *sum += f64::from(number);
                        }
                    }
                }
            }
        }
        sums.retain(|_, sum| sum.images.len() >= LEAST_IMAGES);
        Ok(Self(sums))
    }
}

/// The vector scaled to unit length.
fn unit(vector: &[f64]) -> Vec<f32> {
    let length = vector
        .iter()
        .map(|number| number * number)
        .sum::<f64>()
        .sqrt();
    let length = length.max(f64::MIN_POSITIVE);
    vector
        .iter()
        .map(|number| (number / length) as f32)
        .collect()
}

/// At most [`MOST_IMAGES`] of `count` images, evenly spread.
fn evenly_spread(count: usize) -> Vec<usize> {
    let taken = count.min(MOST_IMAGES);
    (0..taken).map(|at| at * count / taken).collect()
}

impl WordDistributions {
    /// None if there are no samples, or one is not a number.
    fn from_samples(shown: &[f32], not_shown: &[f32]) -> Option<Self> {
        Some(Self {
            shown: Normal::from_samples(shown).ok()?,
            not_shown: Normal::from_samples(not_shown).ok()?,
        })
    }
}

impl WordBorders {
    /// None if there are too few samples, or relevance says too little about which images show the word.
    ///
    /// Two log-odds are compared with those of a photo: those of [`LIKELY`], and half of the prior log-odds
    /// of the word. Above the lower one the photo shows the word, as far as one can guess; above the higher
    /// one, surely.
    fn between(shown: &[f32], not_shown: &[f32]) -> Option<Self> {
        if shown.len().min(not_shown.len()) < LEAST_IMAGES {
            return None;
        }
        let chance = Logistic::fit(shown, not_shown).ok()?;
        if !chance.rises() || chance.explained() < LEAST_EXPLAINED {
            return None;
        }
        let prior = (shown.len() as f64 / not_shown.len() as f64).ln();
        let likely = (LIKELY / (1.0 - LIKELY)).ln();
        // Captions do not name everything that an image shows, so images show a word more often than its prior
        // odds say. Half of the log-odds lies between these and even odds.
        let typical = prior / 2.0;
        Some(Self {
            missing: chance.relevance_at(prior.min(0.0) + UNLIKELY.ln()),
            shown: chance.relevance_at(likely.min(typical)),
            sure: chance.relevance_at(likely.max(typical)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(mean: f32) -> Vec<f32> {
        (0..40).map(|at| mean + 0.01 * (at % 7) as f32).collect()
    }

    #[test]
    fn borders_lie_between_samples_that_differ() {
        let between = WordBorders::between;
        let found = between(&around(0.6), &around(0.2)).unwrap();
        assert!(0.2 < found.missing && found.sure < 0.66, "{found:?}");
        // Of as many photos with the word as without, it is sure where the chance is even: in the middle.
        assert!((found.sure - 0.42875).abs() < 1e-3, "{found:?}");
        assert!(
            found.missing < found.shown && found.shown < found.sure,
            "{found:?}"
        );
        // Ten times as many photos without the word: more is asked of a photo.
        let close = between(&around(0.23), &around(0.2)).unwrap();
        let rare = between(&around(0.23), &around(0.2).repeat(10)).unwrap();
        assert!(rare.shown > close.shown + 1e-3, "{rare:?} {close:?}");
    }

    #[test]
    fn a_word_without_two_samples_that_differ_has_no_borders() {
        let between = WordBorders::between;
        assert_eq!(between(&around(0.2), &around(0.2)), None);
        assert_eq!(between(&around(0.2), &around(0.6)), None);
        assert_eq!(between(&around(0.21), &around(0.2)), None);
        assert_eq!(
            between(&around(0.6)[..LEAST_IMAGES - 1], &around(0.2)),
            None
        );
        assert_eq!(between(&[f32::NAN; 40], &around(0.2)), None);
    }

    #[test]
    fn borders_are_in_order_however_frequent_a_word_is() {
        for (shown, not_shown) in [(1, 100), (1, 10), (1, 1), (10, 1), (100, 1)] {
            let shown = around(0.4).repeat(shown);
            let borders = WordBorders::between(&shown, &around(0.3).repeat(not_shown)).unwrap();
            assert!(
                borders.missing < borders.shown && borders.shown <= borders.sure,
                "{borders:?}"
            );
        }
    }

    #[test]
    fn images_are_spread_evenly_and_not_more_than_the_limit() {
        assert_eq!(evenly_spread(3), [0, 1, 2]);
        assert!(evenly_spread(0).is_empty());
        let spread = evenly_spread(2 * MOST_IMAGES);
        assert_eq!((spread.len(), spread[1]), (MOST_IMAGES, 2));
    }

    const BORDERS: WordBorders = WordBorders {
        missing: 0.05,
        shown: 0.1 + 0.2,
        sure: 0.4,
    };

    fn words() -> LearnedWords {
        let word = |text: &str, borders| LearnedWord {
            text: text.to_owned(),
            borders,
            distributions: None,
            images: 12,
        };
        LearnedWords {
            header: Header {
                model: "5f2c".to_owned(),
                words: vec![word("dog", Some(BORDERS)), word("the", None)],
            },
            vectors: vec![0.6, 0.8, 1.0, 0.0],
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
