//! The word pieces that a caption consists of, and the word that each comes from.
//!
//! A trained model knows its own pieces: they come with it as `tokenizer.json`, or as `vocab.txt`
//! with a few settings. The special pieces that stand around a caption count as words of it.

use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::config::BertConfig;
use crate::text::pieces::{Limits, PieceTokenizer, from_json, guarded, refused, special};
pub use crate::text::pieces::{Origin, Piece, Pieces};
use crate::{Error, Result};
use uard_files::{FileError, read_json};

const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
const SETTINGS: &str = "tokenizer_config.json";

const PAD: &str = "[PAD]";
const UNKNOWN: &str = "[UNK]";
const START: &str = "[CLS]";
const END: &str = "[SEP]";
const MASK: &str = "[MASK]";

/// Captions to ids of word pieces.
#[derive(Debug, Clone)]
pub struct BertTokenizer {
    tokenizer: PieceTokenizer,
    pad: u32,
}

/// What of `tokenizer_config.json` changes the pieces of a `vocab.txt`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
struct Settings {
    do_lower_case: bool,
    tokenize_chinese_chars: bool,
    /// None: as lower-casing.
    strip_accents: Option<bool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            do_lower_case: true,
            tokenize_chinese_chars: true,
            strip_accents: None,
        }
    }
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
        let (tokenizer, path) = if json.exists() {
            (from_json(&json)?, json)
        } else if vocabulary.exists() {
            let settings = Settings::read_json(&folder.join(SETTINGS))?;
            let tokenizer = guarded(&vocabulary, || from_vocabulary(&vocabulary, settings))?;
            (tokenizer, vocabulary)
        } else {
            let cause = "neither tokenizer.json nor vocab.txt is there; download one of them into this folder";
            return Err(refused(folder, cause.to_owned()));
        };
        let limits = Limits {
            vocabulary: config.vocab_size,
            positions: config.max_position_embeddings,
            longest,
        };
        let tokenizer = PieceTokenizer::new(tokenizer, path, limits)?;
        let pad = tokenizer.special(PAD)?;
        Ok(Self { tokenizer, pad })
    }

    /// The pieces of a caption, between the special ones.
    ///
    /// An empty caption has the special pieces only.
    ///
    /// # Errors
    /// When the tokenizer's own rules cannot be applied to the caption.
    pub fn encode(&self, caption: &str) -> Result<Pieces> {
        self.tokenizer.encode(caption)
    }

    /// The tokenizer as a `tokenizer.json`, whatever it was read from; without limits and padding.
    ///
    /// # Errors
    /// When its library cannot write what it read.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        self.tokenizer.to_json()
    }

    /// Pieces of a caption behind which it is cut.
    pub fn longest(&self) -> usize {
        self.tokenizer.longest()
    }

    /// The file that it was read from.
    pub fn path(&self) -> &Path {
        self.tokenizer.path()
    }

    /// The id of padding, which nobody reads.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// The piece of an id.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.tokenizer.piece(id)
    }
}

impl Settings {
    /// The published defaults where there is no file.
    fn read_json(path: &Path) -> Result<Self> {
        match read_json(path, "the tokenizer_config.json of a BERT") {
            Err(FileError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(Self::default())
            }
            outcome => Ok(outcome?),
        }
    }
}

fn from_vocabulary(path: &Path, settings: Settings) -> Result<Tokenizer> {
    let bytes = uard_files::read(path).map_err(Error::io(path, "read"))?;
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

#[cfg(test)]
mod tests;
