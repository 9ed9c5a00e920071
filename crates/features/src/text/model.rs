//! `TextModel`: how captions become ids, and the first parameters of their encoder. It is either a
//! vocabulary for a GRU, or the tokenizer and the weights of a published model.

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
use super::transformer::{InitialWeights, TextTransformer};
use super::vocabulary::Vocabulary;
use super::word_vectors::WordVectors;
use crate::Result;
use uard_data::tokens::tokenize;
use uard_files::FieldsHash;
use uard_hub::source::Source;
use uard_hub::weights::{self, Weights};
use uard_hub::{Hub, WantedFiles};

const VOCABULARY: &str = "vocab.json";
const CONFIG: &str = "config.json";

/// A kind of text encoder by its name: `gru`, or that of a kind of published model (`bert`, `tower`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TextKind(&'static str);

impl TextKind {
    /// An embedding and a bidirectional GRU, trained from scratch.
    pub const GRU: Self = Self("gru");

    /// The folder of a published model of this kind, which is downloaded if it is a name on a hub.
    ///
    /// # Errors
    /// The folder or the download fails.
    pub fn folder(self, model: &Source, hub: &Hub) -> Result<PathBuf> {
        let vocabularies =
            FAMILIES.map(|family| (family.encoder == self.0).then_some(&family.vocabulary));
        let vocabularies = || vocabularies.iter().flatten();
        let tokenizers = vocabularies().map(|vocabulary| vocabulary.file);
        let tokenizers: Vec<&str> = [TOKENIZER].into_iter().chain(tokenizers).collect();
        let beside = vocabularies().flat_map(|vocabulary| vocabulary.beside);
        let wanted = WantedFiles {
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

/// Converts captions to ids, finds the ids of each word, and creates the encoder with its first
/// parameters.
#[derive(Debug)]
pub struct TextModel(Units);

/// What a caption is divided into, and the first parameters of the encoder.
#[derive(Debug)]
enum Units {
    /// Whole words between `<start>` and `<end>`, for a GRU.
    Words {
        vocabulary: Vocabulary,
        longest: usize,
        vectors: Option<WordVectors>,
    },
    /// Pieces between special pieces, for a published model.
    Pieces {
        config: Box<TransformerConfig>,
        /// The keys of `config.json` that a checkpoint holds, as JSON.
        config_json: Vec<u8>,
        pieces: Box<PieceTokenizer>,
        weights: Option<Weights>,
    },
}

/// A whole word of a caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionWord {
    /// The word as the model reads it: in lower case, for most models.
    pub text: String,
    /// The positions of its ids among the caption's. Special ids belong to no word.
    pub rows: Range<usize>,
}

impl TextModel {
    /// A vocabulary for a GRU with random first parameters; words that have a vector in `vectors`
    /// start from it.
    ///
    /// Captions are cut to `longest` words, `<start>` and `<end>` included.
    pub fn from_vocabulary(
        vocabulary: Vocabulary,
        vectors: Option<WordVectors>,
        longest: usize,
    ) -> Self {
        Self(Units::Words {
            vocabulary,
            longest,
            vectors,
        })
    }

    /// A published model with its weights: `config.json`, `tokenizer.json` or the older file of its
    /// family, and one of [`weights::FILES`].
    ///
    /// Captions are cut to `longest` pieces, special ones included, or to as many as the model has
    /// positions, if that is less.
    ///
    /// # Errors
    /// A file is missing or invalid, or the model is of another kind; the message names the file.
    pub fn open(kind: TextKind, folder: &Path, longest: usize) -> Result<Self> {
        let mut units = pieces(folder, CONFIG, kind.0, longest)?;
        if let Units::Pieces { weights, .. } = &mut units {
            *weights = Some(Weights::open_folder(folder)?);
        }
        Ok(Self(units))
    }

    /// Reads the [`files`](Self::files) of a folder. The encoder's first parameters are drawn.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn read(folder: &Path, longest: usize) -> Result<Self> {
        let mut families = FAMILIES.iter();
        match families.find(|family| folder.join(family.file).exists()) {
            Some(family) => Ok(Self(pieces(folder, family.file, family.encoder, longest)?)),
            None => {
                let vocabulary = Vocabulary::read_json(&folder.join(VOCABULARY))?;
                Ok(Self::from_vocabulary(vocabulary, None, longest))
            }
        }
    }

    /// The names that [`files`](Self::files) of any model may have.
    pub fn file_names() -> Vec<&'static str> {
        let mut names = vec![VOCABULARY, TOKENIZER];
        names.extend(FAMILIES.map(|family| family.file));
        names
    }

    /// Names and bytes of the files that [`read`](Self::read) needs; the bytes are the same in every
    /// call.
    ///
    /// # Errors
    /// When the tokenizers library cannot write the tokenizer.
    pub fn files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        match &self.0 {
            Units::Words { vocabulary, .. } => Ok(vec![(VOCABULARY, vocabulary.to_json()?)]),
            Units::Pieces {
                config,
                config_json,
                pieces,
                ..
            } => Ok(vec![
                (config.family.file, config_json.clone()),
                (TOKENIZER, pieces.to_json()?),
            ]),
        }
    }

    /// SHA-256, in hex, of all that determines the ids of captions: models with the same hash give the
    /// same ids.
    ///
    /// # Errors
    /// As for [`files`](Self::files).
    pub fn hash(&self) -> Result<String> {
        if let Units::Words { vocabulary, .. } = &self.0 {
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
    /// than `sizes.word_width`, or a parameter's name is taken.
    pub fn encoder(
        &self,
        parameters: &mut Parameters,
        sizes: TextEncoderConfig,
        draws: &Draws,
    ) -> Result<CaptionEncoder> {
        Ok(match &self.0 {
            Units::Words {
                vectors: Some(vectors),
                ..
            } => CaptionEncoder::Gru(TextEncoder::with_word_vectors(
                parameters, sizes, vectors, draws,
            )?),
            Units::Words { vocabulary, .. } => {
                let words = vocabulary.len();
                CaptionEncoder::Gru(TextEncoder::new(parameters, sizes, words, draws)?)
            }
            Units::Pieces {
                config, weights, ..
            } => {
                let stored = weights.as_ref();
                let initial = InitialWeights { stored, draws };
                let encoder = TextTransformer::new(parameters, config, sizes.joint_width, initial);
                CaptionEncoder::Transformer(encoder?)
            }
        })
    }

    /// How many numbers all parameters have, without biases and norms. A checkpoint with fewer is
    /// refused before memory is allocated; sizes that overflow give `u64::MAX`. For a transformer,
    /// P is the number of positions, L of layers, and I the width inside the feed-forward part.
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
            Units::Words { vocabulary, .. } => vec![
                vec![vocabulary.len(), word_width],
                vec![6, joint_width, word_width],
                vec![6, joint_width, joint_width],
            ],
            Units::Pieces { config, .. } => config.products(joint_width).to_vec(),
        };
        let product = |factors: &Vec<usize>| {
            let factors = factors.iter();
            factors.fold(1u64, |all, &factor| all.saturating_mul(factor as u64))
        };
        products.iter().map(product).fold(0, u64::saturating_add)
    }

    /// The ids of a caption's words or pieces.
    ///
    /// # Errors
    /// When the tokenizer fails on the caption.
    pub fn encode(&self, caption: &str) -> Result<Vec<u32>> {
        match &self.0 {
            Units::Words {
                vocabulary,
                longest,
                ..
            } => Ok(cut(vocabulary.encode(caption), *longest)),
            Units::Pieces { pieces, .. } => Ok(pieces.encode(caption)?.ids),
        }
    }

    /// The most words or pieces of a caption; longer captions are cut.
    pub fn longest(&self) -> usize {
        match &self.0 {
            Units::Words { longest, .. } => *longest,
            Units::Pieces { pieces, .. } => pieces.longest(),
        }
    }

    /// How many words or pieces of a caption are cut off.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn cut(&self, caption: &str) -> Result<usize> {
        match &self.0 {
            Units::Words {
                vocabulary,
                longest,
                ..
            } => Ok(vocabulary.encode(caption).len().saturating_sub(*longest)),
            Units::Pieces { pieces, .. } => Ok(pieces.encode(caption)?.cut),
        }
    }

    /// The words of a caption in order, without those that are cut off.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn words(&self, caption: &str) -> Result<Vec<CaptionWord>> {
        match &self.0 {
            Units::Words { longest, .. } => {
                // Rows 0 and the last are those of `<start>` and `<end>`.
                let words = tokenize(caption).into_iter();
                let words = words.zip(1..longest.saturating_sub(1));
                let word = |(text, row)| CaptionWord {
                    text,
                    rows: row..row + 1,
                };
                Ok(words.map(word).collect())
            }
            Units::Pieces { pieces, .. } => pieces.words(caption),
        }
    }

    /// The id of padding. No encoder reads it.
    pub fn pad(&self) -> u32 {
        match &self.0 {
            Units::Words { vocabulary, .. } => vocabulary.pad(),
            Units::Pieces { pieces, .. } => pieces.pad(),
        }
    }

    /// The number of different ids.
    pub fn ids(&self) -> usize {
        match &self.0 {
            Units::Words { vocabulary, .. } => vocabulary.len(),
            Units::Pieces { config, .. } => config.vocab_size,
        }
    }

    /// How many words start from a vector of a file of word vectors; `None` if none was given.
    pub fn word_vectors(&self) -> Option<usize> {
        match &self.0 {
            Units::Words { vectors, .. } => vectors.as_ref().map(WordVectors::found),
            Units::Pieces { .. } => None,
        }
    }
}

fn pieces(folder: &Path, file: &str, encoder: &str, longest: usize) -> Result<Units> {
    let (config, config_json) = TransformerConfig::read(&folder.join(file), encoder)?;
    Ok(Units::Pieces {
        pieces: Box::new(PieceTokenizer::open(folder, &config, longest)?),
        config: Box::new(config),
        config_json,
        weights: None,
    })
}

/// Cuts to at most `longest` ids, and keeps the last id as the last.
fn cut(mut ids: Vec<u32>, longest: usize) -> Vec<u32> {
    if let (Some(&end), true) = (ids.last(), ids.len() > longest) {
        ids.truncate(longest.saturating_sub(1));
        ids.push(end);
    }
    ids
}

#[cfg(test)]
mod tests;
