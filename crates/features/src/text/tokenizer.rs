//! What does a model read captions with? A vocabulary of whole words, or the word pieces of a
//! trained model.

use std::ops::Range;
use std::path::Path;

use super::bert::BertConfig;
use super::bert::tokenizer::{BertTokenizer, Pieces};
use super::tower::TowerConfig;
use super::tower::tokenizer::TowerTokenizer;
use super::vocabulary::Vocabulary;
use crate::{Error, Result};
use uard_data::tokens::tokenize;
use uard_files::FieldsHash;

const VOCABULARY: &str = "vocab.json";
const BERT: &str = "bert.json";
const TOWER: &str = "tower.json";
const PIECES: &str = "tokenizer.json";

/// Captions to ids, and which of a caption's words each id belongs to.
#[derive(Debug, Clone)]
pub enum CaptionTokenizer {
    /// Whole words between `<start>` and `<end>`, for a GRU.
    Vocabulary {
        /// The words.
        vocabulary: Vocabulary,
        /// Words of a caption, `<start>` and `<end>` included, behind which it is cut.
        longest: usize,
    },
    /// Word pieces between special ones, for a BERT.
    Bert {
        /// The model that they belong to.
        config: BertConfig,
        /// The pieces.
        pieces: Box<BertTokenizer>,
    },
    /// The pieces of CLIP's or SigLIP's text half.
    Tower {
        /// The model that they belong to.
        config: TowerConfig,
        /// The pieces.
        pieces: Box<TowerTokenizer>,
    },
}

/// A word of a caption, as a person would name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionWord {
    /// As it is read: lower-cased, for most models.
    pub text: String,
    /// Which of the caption's ids it became; special ones belong to no word.
    pub rows: Range<usize>,
}

impl CaptionTokenizer {
    /// What [`files`](Self::files) of any tokenizer are called.
    pub const FILES: [&str; 4] = [VOCABULARY, BERT, TOWER, PIECES];

    /// The word pieces of a model's folder: `config.json`, and `tokenizer.json` or `vocab.txt`.
    ///
    /// Captions are cut behind `longest` pieces.
    ///
    /// # Errors
    /// A file is missing or of another form.
    pub fn open_bert(folder: &Path, longest: usize) -> Result<Self> {
        let config = BertConfig::read_json(&folder.join("config.json"))?;
        let pieces = Box::new(BertTokenizer::open(folder, &config, longest)?);
        Ok(Self::Bert { config, pieces })
    }

    /// The pieces of a CLIP's or SigLIP's folder: `config.json`, and `tokenizer.json` or, for CLIP,
    /// `vocab.json` with `merges.txt`.
    ///
    /// Captions are cut behind `longest` pieces.
    ///
    /// # Errors
    /// A file is missing or of another form.
    pub fn open_tower(folder: &Path, longest: usize) -> Result<Self> {
        let config = TowerConfig::open(folder)?;
        let pieces = Box::new(TowerTokenizer::open(folder, &config, longest)?);
        Ok(Self::Tower { config, pieces })
    }

    /// What [`files`](Self::files) of a folder hold. Captions are cut behind `longest` words or pieces.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn read(folder: &Path, longest: usize) -> Result<Self> {
        let (bert, tower) = (folder.join(BERT), folder.join(TOWER));
        if tower.exists() {
            let config = TowerConfig::read_json(&tower)?;
            let pieces = Box::new(TowerTokenizer::open(folder, &config, longest)?);
            return Ok(Self::Tower { config, pieces });
        }
        if !bert.exists() {
            let vocabulary = Vocabulary::read_json(&folder.join(VOCABULARY))?;
            return Ok(Self::Vocabulary {
                vocabulary,
                longest,
            });
        }
        let config = BertConfig::read_json(&bert)?;
        let pieces = Box::new(BertTokenizer::open(folder, &config, longest)?);
        Ok(Self::Bert { config, pieces })
    }

    /// Names and bytes of the files that [`read`](Self::read) needs; the same every time.
    ///
    /// # Errors
    /// When the tokenizer's library cannot write what it read.
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        match self {
            Self::Vocabulary { vocabulary, .. } => Ok(vec![(VOCABULARY, vocabulary.to_json()?)]),
            Self::Bert { config, pieces } => {
                Ok(vec![(BERT, config.to_json()?), (PIECES, pieces.to_json()?)])
            }
            Self::Tower { config, pieces } => Ok(vec![
                (TOWER, config.to_json()?),
                (PIECES, pieces.to_json()?),
            ]),
        }
    }

    /// The ids of a caption.
    ///
    /// # Errors
    /// When a tokenizer's own rules cannot be applied to the caption.
    pub fn encode(&self, caption: &str) -> Result<Vec<u32>> {
        match self {
            Self::Vocabulary {
                vocabulary,
                longest,
            } => Ok(cut_behind(*longest, vocabulary.encode(caption))),
            Self::Bert { pieces, .. } => Ok(pieces.encode(caption)?.ids),
            Self::Tower { pieces, .. } => Ok(pieces.encode(caption)?.ids),
        }
    }

    /// Words or pieces of a caption behind which it is cut, and a model's own positions at the
    /// latest.
    pub fn longest(&self) -> usize {
        match self {
            Self::Vocabulary { longest, .. } => *longest,
            Self::Bert { pieces, .. } => pieces.longest(),
            Self::Tower { pieces, .. } => pieces.longest(),
        }
    }

    /// How many words or pieces of a caption are cut off.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn cut(&self, caption: &str) -> Result<usize> {
        match self {
            Self::Vocabulary {
                vocabulary,
                longest,
            } => Ok(vocabulary.encode(caption).len().saturating_sub(*longest)),
            Self::Bert { pieces, .. } => Ok(pieces.encode(caption)?.cut),
            Self::Tower { pieces, .. } => Ok(pieces.encode(caption)?.cut),
        }
    }

    /// The words of a caption in order; those that were cut off are missing.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn words(&self, caption: &str) -> Result<Vec<CaptionWord>> {
        match self {
            Self::Vocabulary { longest, .. } => {
                // Between the marks of start and end.
                let words = tokenize(caption)
                    .into_iter()
                    .zip(1..longest.saturating_sub(1));
                Ok(words
                    .map(|(text, row)| CaptionWord {
                        text,
                        rows: row..row + 1,
                    })
                    .collect())
            }
            Self::Bert { pieces, .. } => {
                whole_words(caption, &pieces.encode(caption)?, pieces.path())
            }
            Self::Tower { pieces, .. } => {
                whole_words(caption, &pieces.encode(caption)?, pieces.path())
            }
        }
    }

    /// The id of padding, which nobody reads.
    pub fn pad(&self) -> u32 {
        match self {
            Self::Vocabulary { vocabulary, .. } => vocabulary.pad(),
            Self::Bert { pieces, .. } => pieces.pad(),
            Self::Tower { pieces, .. } => pieces.pad(),
        }
    }

    /// How many ids there are.
    pub fn ids(&self) -> usize {
        match self {
            Self::Vocabulary { vocabulary, .. } => vocabulary.len(),
            Self::Bert { config, .. } => config.vocab_size,
            Self::Tower { config, .. } => config.vocab_size,
        }
    }

    /// SHA-256, in hex, that tells whether two models read captions alike.
    ///
    /// # Errors
    /// As for [`files`](Self::files).
    pub fn hash(&self) -> Result<String> {
        if let Self::Vocabulary { vocabulary, .. } = self {
            return Ok(vocabulary.hash());
        }
        let mut fields = FieldsHash::default();
        for (name, bytes) in self.files()? {
            fields.add(name.as_bytes());
            fields.add(&bytes);
        }
        Ok(fields.hex())
    }
}

/// At most `longest` ids, the last of which stays the last.
fn cut_behind(longest: usize, mut ids: Vec<u32>) -> Vec<u32> {
    if let (Some(&end), true) = (ids.last(), ids.len() > longest) {
        ids.truncate(longest.saturating_sub(1));
        ids.push(end);
    }
    ids
}

/// Pieces that the tokenizer took from one word, put together again.
fn whole_words(caption: &str, pieces: &Pieces, path: &Path) -> Result<Vec<CaptionWord>> {
    let mut words: Vec<CaptionWord> = Vec::new();
    let mut last = None;
    for (row, piece) in pieces.pieces.iter().enumerate() {
        let Some(origin) = &piece.origin else {
            continue;
        };
        match words.last_mut() {
            Some(word) if last == Some(origin.word) => word.rows.end = row + 1,
            _ => {
                let bytes = pieces.word_bytes(origin.word).unwrap_or_default();
                let text = caption.get(bytes).ok_or_else(|| Error::Tokens {
                    path: path.to_owned(),
                    caption: caption.to_owned(),
                    cause: format!("piece `{}` lies outside of it", piece.text),
                })?;
                words.push(CaptionWord {
                    text: text.to_lowercase(),
                    rows: row..row + 1,
                });
            }
        }
        last = Some(origin.word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn bert() -> CaptionTokenizer {
        let goldens = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/text/bert/goldens");
        CaptionTokenizer::open_bert(&goldens, 32).unwrap()
    }

    fn clip() -> CaptionTokenizer {
        let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
        CaptionTokenizer::open_tower(&tests.join("goldens/transformers/clip"), 32).unwrap()
    }

    fn vocabulary() -> CaptionTokenizer {
        CaptionTokenizer::Vocabulary {
            vocabulary: Vocabulary::build(["a dog can't swim"], 1),
            longest: 20,
        }
    }

    #[test]
    fn a_caption_is_cut_behind_the_longest_and_keeps_its_end() {
        let tokenizer = CaptionTokenizer::Vocabulary {
            vocabulary: Vocabulary::build(["a dog can swim"], 1),
            longest: 4,
        };
        assert_eq!(tokenizer.encode("a dog").unwrap(), [1, 4, 5, 2]);
        assert_eq!(tokenizer.encode("a dog can swim").unwrap(), [1, 4, 5, 2]);
        assert_eq!(tokenizer.cut("a dog can swim").unwrap(), 2);
        let words = tokenizer.words("a dog can swim").unwrap();
        assert_eq!(words.len(), 2);
        assert_eq!(words[1].rows, 2..3);
    }

    #[test]
    fn every_id_but_the_special_ones_belongs_to_one_word() {
        for tokenizer in [vocabulary(), bert(), clip()] {
            let caption = "A dog can't swim, playing";
            let ids = tokenizer.encode(caption).unwrap().len();
            let words = tokenizer.words(caption).unwrap();
            let rows: Vec<usize> = words.iter().flat_map(|word| word.rows.clone()).collect();
            assert_eq!(rows, (1..ids - 1).collect::<Vec<_>>());
            assert_eq!(words[0].text, "a");
        }
    }

    #[test]
    fn what_was_written_reads_alike() {
        for tokenizer in [vocabulary(), bert(), clip()] {
            let folder = tempfile::tempdir().unwrap();
            for (name, bytes) in tokenizer.files().unwrap() {
                std::fs::write(folder.path().join(name), bytes).unwrap();
            }
            let again = CaptionTokenizer::read(folder.path(), 32).unwrap();
            assert_eq!(again.hash().unwrap(), tokenizer.hash().unwrap());
            assert_eq!(again.files().unwrap(), tokenizer.files().unwrap());
            let caption = "a swimming dog";
            assert_eq!(
                again.encode(caption).unwrap(),
                tokenizer.encode(caption).unwrap()
            );
            assert_eq!(
                (again.pad(), again.ids()),
                (tokenizer.pad(), tokenizer.ids())
            );
        }
    }

    #[test]
    fn other_words_have_another_hash() {
        let other = CaptionTokenizer::Vocabulary {
            vocabulary: Vocabulary::build(["a cat"], 1),
            longest: 20,
        };
        assert_ne!(other.hash().unwrap(), vocabulary().hash().unwrap());
        assert_ne!(bert().hash().unwrap(), vocabulary().hash().unwrap());
    }
}
