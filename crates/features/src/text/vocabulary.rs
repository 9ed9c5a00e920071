//! `Vocabulary`: the words of a data set and their ids.
//!
//! The four special words stand for padding, the start and the end of a caption, and every word that
//! is not in the vocabulary.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::TextError;
use crate::{Error, Result};
use uard_data::tokens::tokenize;
use uard_files::FieldsHash;
use uard_files::{FileError, read_json};

const PAD: &str = "<pad>";
const START: &str = "<start>";
const END: &str = "<end>";
const UNKNOWN: &str = "<unk>";

/// The words of a data set with their ids, 0 to n - 1.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    words: Vec<String>,
    ids: HashMap<String, u32>,
    specials: Specials,
}

#[derive(Debug, Clone, Copy)]
struct Specials {
    pad: u32,
    start: u32,
    end: u32,
    unknown: u32,
}

/// The JSON file that published code writes; further keys (`char_level`, `max_len`) are ignored.
#[derive(Serialize, Deserialize)]
struct Stored {
    word2idx: BTreeMap<String, u32>,
    #[serde(default)]
    idx2word: Option<BTreeMap<u32, String>>,
    #[serde(default)]
    idx: Option<usize>,
}

impl Vocabulary {
    /// Collects the words that occur at least `minimum_count` times.
    ///
    /// The ids are `<pad>` 0, `<start>` 1, `<end>` 2, `<unk>` 3, then those of the words in the order
    /// of their first occurrence. This is how the published files are built, and the same captions
    /// give the same ids.
    ///
    /// ```
    /// use uard_features::text::vocabulary::Vocabulary;
    ///
    /// let vocabulary = Vocabulary::build(["a red kite", "A red owl"], 2);
    /// assert_eq!(vocabulary.len(), 6);
    /// assert_eq!(vocabulary.encode("a blue kite"), [1, 4, 3, 3, 2]);
    /// ```
    pub fn build<'a>(captions: impl IntoIterator<Item = &'a str>, minimum_count: usize) -> Self {
        let mut counts: HashMap<String, usize> = HashMap::new();
        let mut order = Vec::new();
        for word in captions.into_iter().flat_map(tokenize) {
            match counts.get_mut(&word) {
                Some(count) => *count += 1,
                None => {
                    order.push(word.clone());
                    counts.insert(word, 1);
                }
            }
        }
        let specials = [PAD, START, END, UNKNOWN].map(str::to_owned);
        let frequent = order.into_iter().filter(|word| {
            counts
                .get(word)
                .is_some_and(|&count| count >= minimum_count)
                && !specials.contains(word)
        });
        let words: Vec<String> = specials.iter().cloned().chain(frequent).collect();
        Self {
            ids: ids_of(&words),
            words,
            specials: Specials {
                pad: 0,
                start: 1,
                end: 2,
                unknown: 3,
            },
        }
    }

    /// Reads `{name}_vocab.json`. The special words may have any ids.
    ///
    /// `idx2word` and `idx` may be missing, as in files made for GloVe vectors.
    ///
    /// # Errors
    /// The file cannot be read; it is other JSON; a special word is missing; the indices are not 0 to
    /// n - 1, each once; `idx2word` or `idx` disagrees with `word2idx`.
    pub fn read_json(path: &Path) -> Result<Self> {
        let stored: Stored = read_json(
            path,
            "a vocabulary {\"word2idx\": {word: index}, \"idx2word\": {index: word}, \"idx\": n}",
        )?;
        let special = |word: &'static str| {
            let id = stored.word2idx.get(word).copied();
            id.ok_or_else(|| {
                Error::Text(TextError::MissingSpecial {
                    path: path.to_owned(),
                    word,
                })
            })
        };
        let specials = Specials {
            pad: special(PAD)?,
            start: special(START)?,
            end: special(END)?,
            unknown: special(UNKNOWN)?,
        };
        let words = words_in_order(path, &stored.word2idx)?;
        check_agreement(path, &stored, &words)?;
        Ok(Self {
            ids: stored.word2idx.into_iter().collect(),
            words,
            specials,
        })
    }

    /// The vocabulary as JSON of the published form; the bytes are the same in every call.
    ///
    /// # Errors
    /// The words cannot be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let numbered = || (0u32..).zip(self.words.iter().cloned());
        let stored = Stored {
            word2idx: numbered().map(|(id, word)| (word, id)).collect(),
            idx2word: Some(numbered().collect()),
            idx: Some(self.words.len()),
        };
        let text = serde_json::to_vec(&stored).map_err(|source| FileError::Json {
            path: "vocabulary".into(),
            expected: "words that JSON can hold",
            source,
        })?;
        Ok(text)
    }

    /// The ids of a caption's words, between those of `<start>` and `<end>`.
    ///
    /// The id of word w of [`tokenize`] is at position w + 1.
    ///
    /// # Shapes
    /// - returns: `[W]`, W = words + 2
    pub fn encode(&self, caption: &str) -> Vec<u32> {
        let words = tokenize(caption);
        let ids = words.iter().map(|word| self.id(word));
        let start = std::iter::once(self.specials.start);
        start.chain(ids).chain([self.specials.end]).collect()
    }

    /// The id of a word, as [`tokenize`] writes it; the id of `<unk>` if the vocabulary lacks the
    /// word.
    pub fn id(&self, word: &str) -> u32 {
        self.ids.get(word).copied().unwrap_or(self.specials.unknown)
    }

    /// The word of an id.
    pub fn word(&self, id: u32) -> Option<&str> {
        self.words.get(id as usize).map(String::as_str)
    }

    /// The number of words, special ones included.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// False: the special words are always there.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether an id is that of a special word.
    pub fn is_special(&self, id: u32) -> bool {
        let Specials {
            pad,
            start,
            end,
            unknown,
        } = self.specials;
        [pad, start, end, unknown].contains(&id)
    }

    /// The id of `<pad>`.
    pub fn pad(&self) -> u32 {
        self.specials.pad
    }

    /// SHA-256, in hex, of the words in order. Weights that were trained with a vocabulary fit every
    /// vocabulary with the same hash, whatever the form of its file.
    pub fn hash(&self) -> String {
        let mut fields = FieldsHash::default();
        for word in &self.words {
            fields.add(word.as_bytes());
        }
        fields.hex()
    }
}

fn ids_of(words: &[String]) -> HashMap<String, u32> {
    words.iter().cloned().zip(0..).collect()
}

fn words_in_order(path: &Path, word2idx: &BTreeMap<String, u32>) -> Result<Vec<String>> {
    let mut words: Vec<Option<&String>> = vec![None; word2idx.len()];
    let refuse = |problem: String| {
        Error::Text(TextError::VocabularyIndices {
            path: path.to_owned(),
            words: word2idx.len(),
            problem,
        })
    };
    for (word, &id) in word2idx {
        let place = words
            .get_mut(id as usize)
            .ok_or_else(|| refuse(format!("`{word}` has {id}")))?;
        if let Some(other) = place.replace(word) {
            return Err(refuse(format!("`{other}` and `{word}` both have {id}")));
        }
    }
    Ok(words.into_iter().flatten().cloned().collect())
}

fn check_agreement(path: &Path, stored: &Stored, words: &[String]) -> Result<()> {
    let disagrees = |field, problem| {
        Error::Text(TextError::VocabularyDisagrees {
            path: path.to_owned(),
            field,
            problem,
        })
    };
    if let Some(count) = stored.idx.filter(|&count| count != words.len()) {
        let problem = format!("{} words, but idx is {count}", words.len());
        return Err(disagrees("idx", problem));
    }
    let Some(idx2word) = &stored.idx2word else {
        return Ok(());
    };
    let numbered: BTreeMap<u32, &String> = (0..).zip(words).collect();
    let either = numbered.keys().chain(idx2word.keys());
    for id in either {
        let (forward, backward) = (numbered.get(id).copied(), idx2word.get(id));
        if forward != backward {
            let problem = format!("index {id} is {forward:?} in one and {backward:?} in the other");
            return Err(disagrees("idx2word", problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<Vocabulary, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kites_vocab.json");
        std::fs::write(&path, text).unwrap();
        Vocabulary::read_json(&path).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn assert_refused(text: &str, parts: &[&str]) {
        let message = read(text).unwrap_err();
        assert!(message.contains("kites_vocab.json: "), "{message}");
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }

    #[test]
    fn frequent_words_have_ids_in_the_order_of_their_first_occurrence() {
        let captions = ["the owl sees the kite", "The kite flies", "an owl, the owl"];
        let vocabulary = Vocabulary::build(captions, 2);
        let words: Vec<_> = (0..7).map(|id| vocabulary.word(id).unwrap()).collect();
        assert_eq!(
            words,
            ["<pad>", "<start>", "<end>", "<unk>", "the", "owl", "kite"]
        );
        assert_eq!(vocabulary.len(), 7);
        assert_eq!(vocabulary.word(7), None);
        assert_eq!(vocabulary.encode("An owl!"), [1, 3, 5, 3, 2]);
        assert_eq!(vocabulary.encode(""), [1, 2]);
    }

    #[test]
    fn writing_and_reading_keeps_words_and_hash() {
        let vocabulary = Vocabulary::build(["\"café\" isn't open", "kite"], 1);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a_vocab.json");
        let bytes = vocabulary.to_json().unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let read = Vocabulary::read_json(&path).unwrap();
        assert_eq!(read.words, vocabulary.words);
        assert_eq!(read.hash(), vocabulary.hash());
        assert_eq!(read.hash().len(), 64);
        assert_eq!(read.to_json().unwrap(), bytes);
    }

    #[test]
    fn another_word_or_order_gives_another_hash() {
        let hash = |captions: &[&str]| Vocabulary::build(captions.iter().copied(), 1).hash();
        assert_ne!(hash(&["a b"]), hash(&["b a"]));
        assert_ne!(hash(&["ab c"]), hash(&["a bc"]));
        assert_eq!(hash(&["a", "b"]), hash(&["a b"]));
    }

    #[test]
    fn special_words_may_have_other_ids() {
        let glove = r#"{"word2idx": {"<pad>": 0, "<unk>": 1, "<start>": 2, "<end>": 3, "owl": 4},
            "char_level": false, "max_len": null}"#;
        let vocabulary = read(glove).unwrap();
        assert_eq!((vocabulary.pad(), vocabulary.id(UNKNOWN)), (0, 1));
        assert_eq!(vocabulary.encode("owl kite"), [2, 4, 1, 3]);
    }

    #[test]
    fn broken_vocabularies_are_refused() {
        assert_refused("[]", &["expected a vocabulary", "word2idx"]);
        assert_refused(
            r#"{"word2idx": {"<pad>": 0, "<start>": 1, "<end>": 2}}"#,
            &["lacks `<unk>`"],
        );
        let four = r#""<pad>": 0, "<start>": 1, "<end>": 2, "<unk>": 3"#;
        assert_refused(
            &format!(r#"{{"word2idx": {{{four}, "owl": 5}}}}"#),
            &["5 words need the indices 0 to 4", "`owl` has 5"],
        );
        assert_refused(
            &format!(r#"{{"word2idx": {{{four}, "owl": 3}}}}"#),
            &["`<unk>` and `owl` both have 3"],
        );
        assert_refused(
            &format!(r#"{{"word2idx": {{{four}}}, "idx": 8}}"#),
            &["word2idx and idx disagree: 4 words, but idx is 8"],
        );
        assert_refused(
            &format!(r#"{{"word2idx": {{{four}}}, "idx2word": {{"0": "<pad>"}}}}"#),
            &["word2idx and idx2word disagree: index 1"],
        );
    }
}
