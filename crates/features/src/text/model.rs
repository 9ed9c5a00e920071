//! What are captions read with, and what does their encoder begin with? A vocabulary and a GRU, or
//! the pieces and the weights of a published model.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use uard_core::parameters::Parameters;
use uard_core::random::Draws;

use super::config::TransformerConfig;
use super::encoder::CaptionEncoder;
use super::family::{FAMILIES, unknown};
use super::gru::{TextEncoder, TextEncoderConfig};
use super::pieces::{PieceTokenizer, TOKENIZER};
use super::transformer::{Beginning, TextTransformer};
use super::vocabulary::Vocabulary;
use super::word_vectors::WordVectors;
use crate::Result;
use uard_data::tokens::tokenize;
use uard_files::FieldsHash;
use uard_hub::source::Source;
use uard_hub::weights::{self, Weights};
use uard_hub::{Hub, Wanted};

const VOCABULARY: &str = "vocab.json";
const CONFIG: &str = "config.json";

/// A kind of text encoder by its name: `gru`, or what families of published models are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TextKind(&'static str);

impl TextKind {
    /// An embedding and a bidirectional GRU, from scratch.
    pub const GRU: Self = Self("gru");

    /// The folder of a published model of this kind, downloaded where it is a name on a hub.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn folder(self, model: &Source, hub: &Hub) -> Result<PathBuf> {
        let vocabularies =
            FAMILIES.map(|family| (family.encoder == self.0).then_some(&family.vocabulary));
        let vocabularies = || vocabularies.iter().flatten();
        let tokenizers = vocabularies().map(|vocabulary| vocabulary.file);
        let tokenizers: Vec<&str> = [TOKENIZER].into_iter().chain(tokenizers).collect();
        let beside = vocabularies().flat_map(|vocabulary| vocabulary.beside);
        let wanted = Wanted {
            needed: &[&[CONFIG], &tokenizers, &weights::FILES],
            optional: &beside.copied().collect::<Vec<&str>>(),
        };
        Ok(model.folder(hub, wanted)?)
    }
}

impl Default for TextKind {
    fn default() -> Self {
        Self::GRU
    }
}

impl FromStr for TextKind {
    type Err = serde::de::value::Error;

    fn from_str(name: &str) -> std::result::Result<Self, Self::Err> {
        let mut known = vec![Self::GRU.0];
        known.extend(FAMILIES.map(|family| family.encoder));
        known.dedup();
        match known.iter().find(|known| **known == name) {
            Some(known) => Ok(Self(known)),
            None => Err(unknown(name, known)),
        }
    }
}

impl<'de> Deserialize<'de> for TextKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// Captions to ids, which of a caption's words each id belongs to, and what the encoder of the ids
/// begins with.
#[derive(Debug)]
pub struct TextModel(Form);

#[derive(Debug)]
enum Form {
    /// Whole words between `<start>` and `<end>`, for a GRU.
    Words {
        vocabulary: Vocabulary,
        longest: usize,
        vectors: Option<WordVectors>,
    },
    /// Pieces between special ones, for a published model.
    Pieces {
        config: Box<TransformerConfig>,
        /// What of `config.json` a checkpoint holds.
        written: Vec<u8>,
        pieces: Box<PieceTokenizer>,
        weights: Option<Weights>,
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

impl TextModel {
    /// A GRU of drawn numbers over a vocabulary, or of some words' own vectors.
    ///
    /// Captions are cut behind `longest` words, `<start>` and `<end>` included.
    pub fn of_words(vocabulary: Vocabulary, vectors: Option<WordVectors>, longest: usize) -> Self {
        Self(Form::Words {
            vocabulary,
            longest,
            vectors,
        })
    }

    /// A published model with its weights: `config.json`, `tokenizer.json` or the older file of its
    /// family, and one of [`weights::FILES`].
    ///
    /// Captions are cut behind `longest` pieces, special ones included, and behind the positions of
    /// the model at the latest.
    ///
    /// # Errors
    /// A file is missing or of another form, or the model is of another kind; the message names it.
    pub fn open(kind: TextKind, folder: &Path, longest: usize) -> Result<Self> {
        let mut form = pieces(folder, CONFIG, kind.0, longest)?;
        if let Form::Pieces { weights, .. } = &mut form {
            *weights = Some(Weights::open_folder(folder)?);
        }
        Ok(Self(form))
    }

    /// What [`files`](Self::files) of a folder hold, to begin with drawn numbers.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn read(folder: &Path, longest: usize) -> Result<Self> {
        let mut families = FAMILIES.iter();
        match families.find(|family| folder.join(family.file).exists()) {
            Some(family) => Ok(Self(pieces(folder, family.file, family.encoder, longest)?)),
            None => {
                let vocabulary = Vocabulary::read_json(&folder.join(VOCABULARY))?;
                Ok(Self::of_words(vocabulary, None, longest))
            }
        }
    }

    /// What [`files`](Self::files) of any model are called.
    pub fn file_names() -> Vec<&'static str> {
        let mut names = vec![VOCABULARY, TOKENIZER];
        names.extend(FAMILIES.map(|family| family.file));
        names
    }

    /// Names and bytes of the files that [`read`](Self::read) needs; the same every time.
    ///
    /// # Errors
    /// When the tokenizer's library cannot write what it read.
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        match &self.0 {
            Form::Words { vocabulary, .. } => Ok(vec![(VOCABULARY, vocabulary.to_json()?)]),
            Form::Pieces {
                config,
                written,
                pieces,
                ..
            } => Ok(vec![
                (config.family.file, written.clone()),
                (TOKENIZER, pieces.to_json()?),
            ]),
        }
    }

    /// SHA-256, in hex, that tells whether two models read captions alike.
    ///
    /// # Errors
    /// As for [`files`](Self::files).
    pub fn hash(&self) -> Result<String> {
        if let Form::Words { vocabulary, .. } = &self.0 {
            return Ok(vocabulary.hash());
        }
        let mut fields = FieldsHash::default();
        for (name, bytes) in self.files()? {
            fields.add(name.as_bytes());
            fields.add(&bytes);
        }
        Ok(fields.hex())
    }

    /// Creates the parameters of the encoder.
    ///
    /// # Errors
    /// When a tensor of the weights is missing or has another shape, word vectors have another width
    /// than the sizes say, or a parameter's name is taken.
    pub fn encoder(
        &self,
        parameters: &mut Parameters,
        sizes: TextEncoderConfig,
        draws: &Draws,
    ) -> Result<CaptionEncoder> {
        Ok(match &self.0 {
            Form::Words {
                vectors: Some(vectors),
                ..
            } => CaptionEncoder::Gru(TextEncoder::with_word_vectors(
                parameters, sizes, vectors, draws,
            )?),
            Form::Words { vocabulary, .. } => {
                let words = vocabulary.len();
                CaptionEncoder::Gru(TextEncoder::new(parameters, sizes, words, draws)?)
            }
            Form::Pieces {
                config, weights, ..
            } => {
                let weights = weights.as_ref();
                let from = Beginning { weights, draws };
                let encoder = TextTransformer::new(parameters, config, sizes.joint_width, from);
                CaptionEncoder::Transformer(encoder?)
            }
        })
    }

    /// The numbers of all parameters but biases and norms, for those who compare what a file asks
    /// for with what it holds before anything is made; sizes that overflow give the largest number.
    ///
    /// ```text
    /// GRU:         V E + 6 H (E + H)
    /// transformer: (V + P) H + L (4 H H + 2 H I) + H D
    /// ```
    pub fn least_numbers(&self, sizes: TextEncoderConfig) -> u64 {
        let TextEncoderConfig {
            word_width,
            joint_width,
        } = sizes;
        let products = match &self.0 {
            Form::Words { vocabulary, .. } => vec![
                vec![vocabulary.len(), word_width],
                vec![6, joint_width, word_width],
                vec![6, joint_width, joint_width],
            ],
            Form::Pieces { config, .. } => config.products(joint_width).to_vec(),
        };
        let product = |factors: &Vec<usize>| {
            let factors = factors.iter();
            factors.fold(1u64, |all, &factor| all.saturating_mul(factor as u64))
        };
        products.iter().map(product).fold(0, u64::saturating_add)
    }

    /// The ids of a caption.
    ///
    /// # Errors
    /// When a tokenizer's own rules cannot be applied to the caption.
    pub fn encode(&self, caption: &str) -> Result<Vec<u32>> {
        match &self.0 {
            Form::Words {
                vocabulary,
                longest,
                ..
            } => Ok(cut_behind(*longest, vocabulary.encode(caption))),
            Form::Pieces { pieces, .. } => Ok(pieces.encode(caption)?.ids),
        }
    }

    /// Words or pieces of a caption behind which it is cut, and a model's own positions at the
    /// latest.
    pub fn longest(&self) -> usize {
        match &self.0 {
            Form::Words { longest, .. } => *longest,
            Form::Pieces { pieces, .. } => pieces.longest(),
        }
    }

    /// How many words or pieces of a caption are cut off.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn cut(&self, caption: &str) -> Result<usize> {
        match &self.0 {
            Form::Words {
                vocabulary,
                longest,
                ..
            } => Ok(vocabulary.encode(caption).len().saturating_sub(*longest)),
            Form::Pieces { pieces, .. } => Ok(pieces.encode(caption)?.cut),
        }
    }

    /// The words of a caption in order; those that were cut off are missing.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn words(&self, caption: &str) -> Result<Vec<CaptionWord>> {
        match &self.0 {
            Form::Words { longest, .. } => {
                // Between the marks of start and end.
                let words = tokenize(caption).into_iter();
                let words = words.zip(1..longest.saturating_sub(1));
                let word = |(text, row)| CaptionWord {
                    text,
                    rows: row..row + 1,
                };
                Ok(words.map(word).collect())
            }
            Form::Pieces { pieces, .. } => pieces.words(caption),
        }
    }

    /// The id of padding, which nobody reads.
    pub fn pad(&self) -> u32 {
        match &self.0 {
            Form::Words { vocabulary, .. } => vocabulary.pad(),
            Form::Pieces { pieces, .. } => pieces.pad(),
        }
    }

    /// How many ids there are.
    pub fn ids(&self) -> usize {
        match &self.0 {
            Form::Words { vocabulary, .. } => vocabulary.len(),
            Form::Pieces { config, .. } => config.vocab_size,
        }
    }

    /// How many words begin with a vector of their own; `None` where no vectors were given.
    pub fn word_vectors(&self) -> Option<usize> {
        match &self.0 {
            Form::Words { vectors, .. } => vectors.as_ref().map(WordVectors::found),
            Form::Pieces { .. } => None,
        }
    }
}

fn pieces(folder: &Path, file: &str, encoder: &str, longest: usize) -> Result<Form> {
    let (config, written) = TransformerConfig::read(&folder.join(file), encoder)?;
    Ok(Form::Pieces {
        pieces: Box::new(PieceTokenizer::open(folder, &config, longest)?),
        config: Box::new(config),
        written,
        weights: None,
    })
}

/// At most `longest` ids, the last of which stays the last.
fn cut_behind(longest: usize, mut ids: Vec<u32>) -> Vec<u32> {
    if let (Some(&end), true) = (ids.last(), ids.len() > longest) {
        ids.truncate(longest.saturating_sub(1));
        ids.push(end);
    }
    ids
}

#[cfg(test)]
mod tests;
