//! Which word pieces does a caption consist of, and which word does each come from?
//!
//! A trained model knows its own pieces: they come with it as `tokenizer.json`, or as `vocab.txt`
//! with a few settings. The special pieces that stand around a caption count as words of it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Encoding, Tokenizer};

use super::config::BertConfig;
use crate::{Error, Result};

const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
const SETTINGS: &str = "tokenizer_config.json";

const PAD: &str = "[PAD]";
const UNKNOWN: &str = "[UNK]";
const START: &str = "[CLS]";
const END: &str = "[SEP]";
const MASK: &str = "[MASK]";

/// The special pieces around a caption, and one word.
const SHORTEST: usize = 3;

/// A caption as a BERT reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    /// The id of each piece.
    pub ids: Vec<u32>,
    /// Each piece, in the same order.
    pub pieces: Vec<Piece>,
    /// Pieces at the end of the caption that did not fit.
    pub cut: usize,
}

/// A word piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// As in the vocabulary: `##ing` continues a word.
    pub text: String,
    /// Where it comes from; none for the special pieces around a caption.
    pub origin: Option<Origin>,
}

/// The place of a piece in its caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The word, from 0; pieces of one word share it. Punctuation stands alone.
    pub word: usize,
    /// The bytes of the caption that the piece is read from.
    pub bytes: Range<usize>,
}

impl Pieces {
    /// The bytes of the caption that a word is read from; none for a word that is not there.
    pub fn word_bytes(&self, word: usize) -> Option<Range<usize>> {
        let origins = self.pieces.iter().filter_map(|piece| piece.origin.as_ref());
        let bytes = origins.filter(|origin| origin.word == word);
        bytes
            .map(|origin| origin.bytes.clone())
            .reduce(|whole, part| whole.start.min(part.start)..whole.end.max(part.end))
    }
}

/// Captions to ids of word pieces.
#[derive(Debug, Clone)]
pub struct BertTokenizer {
    tokenizer: Tokenizer,
    path: PathBuf,
    pad: u32,
    longest: usize,
}

/// What of `tokenizer_config.json` changes the pieces of a `vocab.txt`.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Settings {
    #[serde(default = "yes")]
    do_lower_case: bool,
    #[serde(default = "yes")]
    tokenize_chinese_chars: bool,
    /// None: as lower-casing.
    #[serde(default)]
    strip_accents: Option<bool>,
}

fn yes() -> bool {
    true
}

impl BertTokenizer {
    /// Reads `tokenizer.json` of a model's folder or, where there is none, `vocab.txt` with what
    /// `tokenizer_config.json` says (lower-casing, unless it says otherwise).
    ///
    /// Captions are cut behind `longest` pieces, special ones included, and behind the positions
    /// of the model at the latest. Limits and padding that the file itself names do not count.
    ///
    /// # Errors
    /// Neither file is there; one of them has another form or lacks a special piece; the model
    /// has fewer ids than the tokenizer; fewer than 3 pieces are allowed.
    pub fn open(folder: &Path, config: &BertConfig, longest: usize) -> Result<Self> {
        let (json, vocabulary) = (folder.join(TOKENIZER), folder.join(VOCABULARY));
        let (mut tokenizer, path) = if json.exists() {
            (from_json(&json)?, json)
        } else if vocabulary.exists() {
            let settings = Settings::read_json(&folder.join(SETTINGS))?;
            (from_vocabulary(&vocabulary, settings)?, vocabulary)
        } else {
            let cause = "neither tokenizer.json nor vocab.txt is there; download one of them into this folder";
            return Err(refused(folder, cause.to_owned()));
        };
        check_ids(&tokenizer, &path, config)?;
        let longest = longest.min(config.max_position_embeddings);
        let pad = special(&tokenizer, &path, PAD)?;
        if longest < SHORTEST {
            let cause = format!(
                "captions are cut behind {longest} pieces, expected at least {SHORTEST}: the special ones and a word"
            );
            return Err(refused(&path, cause));
        }
        // We cut ourselves: the library does not tell how much was cut.
        tokenizer
            .with_padding(None)
            .with_truncation(None)
            .map_err(|cause| refused(&path, cause.to_string()))?;
        Ok(Self {
            tokenizer,
            path,
            pad,
            longest,
        })
    }

    /// The pieces of a caption, between the special ones.
    ///
    /// An empty caption has the special pieces only.
    ///
    /// # Errors
    /// When the tokenizer's own rules cannot be applied to the caption.
    pub fn encode(&self, caption: &str) -> Result<Pieces> {
        let encoding = self.tokenizer.encode(caption, true);
        let encoding = encoding.map_err(|cause| Error::Tokens {
            path: self.path.clone(),
            caption: caption.to_owned(),
            cause: cause.to_string(),
        })?;
        Ok(pieces(&encoding, self.longest))
    }

    /// The tokenizer as a `tokenizer.json`, whatever it was read from; without limits and padding.
    ///
    /// # Errors
    /// When its library cannot write what it read.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let json = self.tokenizer.to_string(false);
        let json = json.map_err(|cause| refused(&self.path, cause.to_string()))?;
        Ok(json.into_bytes())
    }

    /// The file that it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The id of padding, which nobody reads.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// The piece of an id.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }
}

impl Settings {
    /// The published defaults where there is no file.
    fn read_json(path: &Path) -> Result<Self> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => b"{}".to_vec(),
            Err(error) => return Err(Error::io(path, "read")(error)),
        };
        serde_json::from_slice(&bytes).map_err(|source| Error::Json {
            path: path.to_owned(),
            expected: "the tokenizer_config.json of a BERT",
            source,
        })
    }
}

fn from_json(path: &Path) -> Result<Tokenizer> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    Tokenizer::from_bytes(bytes).map_err(|cause| {
        refused(
            path,
            format!("{cause}; expected a tokenizer.json of the tokenizers library"),
        )
    })
}

fn from_vocabulary(path: &Path, settings: Settings) -> Result<Tokenizer> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let refuse = |cause: tokenizers::Error| refused(path, cause.to_string());
    let vocabulary = WordPiece::read_bytes(&bytes).map_err(refuse)?;
    let pieces = WordPiece::builder().vocab(vocabulary);
    let pieces = pieces
        .unk_token(UNKNOWN.to_owned())
        .build()
        .map_err(refuse)?;
    let mut tokenizer = Tokenizer::new(pieces);
    let [unknown, start, end] =
        [UNKNOWN, START, END].map(|piece| special(&tokenizer, path, piece).map(|id| (piece, id)));
    let ((unknown, _), (start, start_id), (end, end_id)) = (unknown?, start?, end?);
    let Settings {
        do_lower_case,
        tokenize_chinese_chars,
        strip_accents,
    } = settings;
    let normalizer =
        BertNormalizer::new(true, tokenize_chinese_chars, strip_accents, do_lower_case);
    let around = BertProcessing::new((end.to_owned(), end_id), (start.to_owned(), start_id));
    // As the published tokenizer does: a special piece that is typed in a caption is that piece.
    let specials = [PAD, unknown, start, end, MASK];
    let known = specials
        .into_iter()
        .filter(|piece| tokenizer.token_to_id(piece).is_some());
    let known: Vec<AddedToken> = known.map(|piece| AddedToken::from(piece, true)).collect();
    tokenizer
        .with_normalizer(Some(normalizer))
        .map_err(refuse)?
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_post_processor(Some(around))
        .add_special_tokens(known)
        .map_err(refuse)?;
    Ok(tokenizer)
}

fn special(tokenizer: &Tokenizer, path: &Path, piece: &str) -> Result<u32> {
    let missing = || {
        refused(
            path,
            format!("its vocabulary lacks the special piece `{piece}`"),
        )
    };
    tokenizer.token_to_id(piece).ok_or_else(missing)
}

fn check_ids(tokenizer: &Tokenizer, path: &Path, config: &BertConfig) -> Result<()> {
    let largest = tokenizer.get_vocab(true).into_values().max();
    match largest {
        Some(id) if id as usize >= config.vocab_size => Err(refused(
            path,
            format!(
                "it has the id {id}, the model's config.json says vocab_size {}; they belong to different models",
                config.vocab_size
            ),
        )),
        _ => Ok(()),
    }
}

fn refused(path: &Path, cause: String) -> Error {
    Error::Tokenizer {
        path: path.to_owned(),
        cause,
    }
}

/// At most `longest` pieces, of which the special ones around the caption all stay.
fn pieces(encoding: &Encoding, longest: usize) -> Pieces {
    let words = encoding.get_word_ids().iter().zip(encoding.get_offsets());
    let pieces = encoding.get_tokens().iter().zip(words);
    let specials = encoding.get_special_tokens_mask();
    let around = specials.iter().filter(|special| **special != 0).count();
    let mut room = longest.saturating_sub(around);
    let mut found = Pieces {
        ids: Vec::with_capacity(longest.min(specials.len())),
        pieces: Vec::with_capacity(longest.min(specials.len())),
        cut: 0,
    };
    for ((&id, (text, (word, bytes))), &special) in
        encoding.get_ids().iter().zip(pieces).zip(specials)
    {
        if special == 0 && room == 0 {
            found.cut += 1;
            continue;
        }
        room -= usize::from(special == 0);
        found.ids.push(id);
        found.pieces.push(Piece {
            text: text.clone(),
            origin: word.filter(|_| special == 0).map(|word| Origin {
                word: word as usize,
                bytes: bytes.0..bytes.1,
            }),
        });
    }
    found
}

#[cfg(test)]
mod tests;
