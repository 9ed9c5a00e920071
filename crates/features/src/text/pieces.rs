//! `PieceTokenizer`: captions to the pieces of a published model, with the word that each piece comes
//! from.

use std::ops::Range;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokenizers::{Encoding, Tokenizer};

use super::config::TransformerConfig;
use super::error::TextError;
use super::model::CaptionWord;
use crate::{Error, Result};
use uard_files::caught;
use uard_files::read_json;

/// The pieces of a caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces {
    /// The id of each piece.
    pub(super) ids: Vec<u32>,
    /// Each piece, in the same order.
    pub(super) pieces: Vec<Piece>,
    /// How many pieces at the end of the caption were cut off.
    pub(super) cut: usize,
}

/// A piece of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// The piece as in the vocabulary: BERT's `##ing` continues a word, CLIP's `ing</w>` ends one,
    /// SigLIP's `▁dog` begins one.
    pub(super) text: String,
    /// The word and the bytes of the caption from which the piece comes; `None` for the special
    /// pieces around a caption.
    pub(super) origin: Option<Origin>,
}

/// The part of a caption that a piece comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// The index of the word, from 0; pieces of one word have the same. A punctuation mark is a word
    /// of its own in BERT and CLIP; in SigLIP words end at spaces only, so it belongs to one.
    pub(super) word: usize,
    /// The bytes of the caption that the piece stands for.
    pub(super) bytes: Range<usize>,
}

impl Pieces {
    /// The bytes of the caption that a word stands for; `None` if there is no such word.
    pub(super) fn word_bytes(&self, word: usize) -> Option<Range<usize>> {
        let origins = self.pieces.iter().filter_map(|piece| piece.origin.as_ref());
        let bytes = origins.filter(|origin| origin.word == word);
        bytes
            .map(|origin| origin.bytes.clone())
            .reduce(|whole, part| whole.start.min(part.start)..whole.end.max(part.end))
    }
}

/// The most letters with which a normalizer may replace one letter. Published tokenizers replace
/// only spaces and quotes; a file with a larger growth could fill the memory.
const MOST_GROWTH: f64 = 4096.0;

/// The most steps of normalizer and pre-tokenizer; published tokenizers have fewer than ten.
const MOST_STEPS: usize = 100;

pub(super) const TOKENIZER: &str = "tokenizer.json";

/// The special piece of padding, whose id is used if the configuration has none.
pub(super) const PAD: &str = "[PAD]";

const EXPECTED: &str = "a tokenizer.json of the tokenizers library";

/// The parts of `tokenizer.json` that are checked before the library reads the file.
#[derive(Deserialize)]
struct CheckedParts {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
}

/// The tokenizer of a published model, with the limits of that model.
#[derive(Debug, Clone)]
pub(super) struct PieceTokenizer {
    tokenizer: Tokenizer,
    path: PathBuf,
    longest: usize,
    pad: u32,
}

impl PieceTokenizer {
    /// Reads `tokenizer.json` of a model's folder or, if there is none, the vocabulary file of the
    /// family.
    ///
    /// Captions are cut to `longest` pieces, special ones included, or to as many as the model has
    /// positions, if that is less. Truncation and padding in the file are ignored.
    ///
    /// # Errors
    /// Neither file exists; the file is invalid or lacks a special piece; the tokenizer has ids that
    /// the model lacks; `longest` leaves no room for a word beside the special pieces.
    pub(super) fn open(folder: &Path, config: &TransformerConfig, longest: usize) -> Result<Self> {
        let plain = &config.family.vocabulary;
        let (json, vocabulary) = (folder.join(TOKENIZER), folder.join(plain.file));
        let (tokenizer, path) = if json.exists() {
            (open_json(&json)?, json)
        } else if vocabulary.exists() {
            let tokenizer = guarded(&vocabulary, || (plain.read)(&vocabulary))?;
            (tokenizer, vocabulary)
        } else {
            return Err(refused(folder, plain.missing.to_owned()));
        };
        let tokenizer = without_limits(tokenizer, &path, config.vocab_size)?;
        let around = encode(&tokenizer, "", Marks::With).map_err(|cause| refused(&path, cause))?;
        let longest = longest.min(config.max_position_embeddings);
        let shortest = around.len() + 1;
        if longest < shortest {
            let cause = format!(
                "captions are cut to {longest} pieces, expected at least {shortest}: the special ones and a word"
            );
            return Err(refused(&path, cause));
        }
        Ok(Self {
            pad: match config.pad_token_id {
                Some(pad) => pad,
                None => special(&tokenizer, &path, PAD)?.1,
            },
            tokenizer,
            path,
            longest,
        })
    }

    /// The most pieces of a caption; longer captions are cut.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The id of padding in a batch. No encoder reads it.
    pub(super) fn pad(&self) -> u32 {
        self.pad
    }

    /// The pieces of a caption, with the special pieces around it. An empty caption has only these.
    ///
    /// # Errors
    /// When the tokenizer fails on the caption.
    pub(super) fn encode(&self, caption: &str) -> Result<Pieces> {
        let encoding = encode(&self.tokenizer, caption, Marks::With)
            .map_err(|cause| self.refusal(caption, cause))?;
        Ok(pieces(&encoding, self.longest))
    }

    /// The words of a caption in order, each with the rows of its pieces.
    pub(super) fn words(&self, caption: &str) -> Result<Vec<CaptionWord>> {
        let pieces = self.encode(caption)?;
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
                    let text = caption.get(bytes).ok_or_else(|| {
                        let cause = format!("piece `{}` lies outside of the caption", piece.text);
                        self.refusal(caption, cause)
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

    /// The tokenizer as a `tokenizer.json`, also if it was read from another file; without truncation
    /// and padding.
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        let json = self.tokenizer.to_string(false);
        let json = json.map_err(|cause| refused(&self.path, cause.to_string()))?;
        Ok(json.into_bytes())
    }

    fn refusal(&self, caption: &str, cause: String) -> Error {
        not_encoded(&self.path, caption, cause)
    }
}

/// The names of the piece that stands for what a tokenizer does not know.
const UNKNOWN: [&str; 3] = ["[UNK]", "<unk>", "<UNK>"];

/// The tokenizer of a static embedding model, which has a vector for each piece and no further limits.
pub(super) struct StaticTokenizer {
    tokenizer: Tokenizer,
    path: PathBuf,
    pieces: usize,
    /// The id of the piece that stands for what is not known.
    unknown: Option<u32>,
}

impl StaticTokenizer {
    /// Reads a `tokenizer.json`. Truncation and padding in it are ignored.
    ///
    /// # Errors
    /// The file is missing or invalid, or its ids have gaps.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let tokenizer = open_json(path)?;
        let pieces = tokenizer.get_vocab_size(true);
        let largest = tokenizer.get_vocab(true).into_values().max();
        if let Some(id) = largest.filter(|id| *id as usize >= pieces) {
            let cause = format!("its ids have gaps: it has {pieces} pieces, and the id {id}");
            return Err(refused(path, cause));
        }
        let mut unknown = UNKNOWN.into_iter();
        Ok(Self {
            unknown: unknown.find_map(|piece| tokenizer.token_to_id(piece)),
            tokenizer: without_limits(tokenizer, path, pieces)?,
            path: path.to_owned(),
            pieces,
        })
    }

    /// The number of pieces; every id is below it.
    pub(super) fn pieces(&self) -> usize {
        self.pieces
    }

    /// The ids of a word's pieces, without special ones around it and what is not known.
    ///
    /// # Errors
    /// The library fails on the word.
    pub(super) fn encode(&self, word: &str) -> Result<Vec<u32>> {
        let encoded = encode(&self.tokenizer, word, Marks::Without);
        let encoded = encoded.map_err(|cause| not_encoded(&self.path, word, cause))?;
        let ids = encoded.get_ids().iter().copied();
        Ok(ids.filter(|id| Some(*id) != self.unknown).collect())
    }
}

/// Removes truncation and padding of a tokenizer, and checks that the model has all of its ids.
fn without_limits(mut tokenizer: Tokenizer, path: &Path, vocabulary: usize) -> Result<Tokenizer> {
    let largest = tokenizer.get_vocab(true).into_values().max();
    if let Some(id) = largest.filter(|id| *id as usize >= vocabulary) {
        let cause = format!(
            "it has the id {id}, but the model's config.json has vocab_size {vocabulary}; they belong to different models"
        );
        return Err(refused(path, cause));
    }
    // `pieces` cuts captions instead, because the library does not report how much it cuts.
    tokenizer
        .with_padding(None)
        .with_truncation(None)
        .map_err(|cause| refused(path, cause.to_string()))?;
    let around = encode(&tokenizer, "", Marks::With).map_err(|cause| refused(path, cause))?;
    let largest = around.get_ids().iter().max();
    if let Some(id) = largest.filter(|id| **id as usize >= vocabulary) {
        let cause = format!(
            "its post_processor puts the id {id} around captions, but the model has {vocabulary} ids"
        );
        return Err(refused(path, cause));
    }
    // A run stores a copy of the tokenizer, which must be readable.
    guarded(path, || {
        let copy = tokenizer.to_string(false);
        let read = copy.and_then(|copy| copy.parse::<Tokenizer>());
        let cause = |cause| refused(path, format!("it cannot be copied: {cause}"));
        read.map(drop).map_err(cause)
    })?;
    Ok(tokenizer)
}

/// Reads `tokenizer.json`, after checks of what the library would take too much time or memory for.
fn open_json(path: &Path) -> Result<Tokenizer> {
    let CheckedParts {
        normalizer,
        pre_tokenizer,
    } = read_json(path, EXPECTED)?;
    let mut steps = Vec::new();
    collect_steps(&normalizer, &mut steps);
    let growth: f64 = steps.iter().map(|step| growth(step)).product();
    if growth > MOST_GROWTH {
        return Err(refused(
            path,
            format!(
                "its replacements make up to {growth:.0} letters of one, expected at most {MOST_GROWTH}"
            ),
        ));
    }
    if !steps.iter().all(|step| has_whole_charsmap(step)) {
        let cause = "its precompiled_charsmap is shorter than its header says".to_owned();
        return Err(refused(path, cause));
    }
    collect_steps(&pre_tokenizer, &mut steps);
    if steps
        .iter()
        .filter(|step| step.contains_key("type"))
        .count()
        > MOST_STEPS
    {
        let cause = format!("normalizer and pre_tokenizer have more than {MOST_STEPS} parts");
        return Err(refused(path, cause));
    }
    let text = uard_files::read_text(path).map_err(Error::io(path, "read"))?;
    guarded(path, || {
        text.parse()
            .map_err(|cause| refused(path, format!("{cause}; expected {EXPECTED}")))
    })
}

/// Calls the tokenizers library, which panics on some damaged files.
fn guarded<T>(path: &Path, make: impl FnOnce() -> Result<T>) -> Result<T> {
    caught(make).unwrap_or_else(|cause| Err(refused(path, cause)))
}

/// Whether the special pieces of a caption's start and end are added.
#[derive(Clone, Copy, PartialEq)]
enum Marks {
    With,
    Without,
}

fn encode(
    tokenizer: &Tokenizer,
    text: &str,
    marks: Marks,
) -> std::result::Result<Encoding, String> {
    let encoded = caught(|| tokenizer.encode(text, marks == Marks::With));
    encoded?.map_err(|cause| cause.to_string())
}

/// The error of a text that the tokenizer of a file fails on.
fn not_encoded(path: &Path, text: &str, cause: String) -> Error {
    Error::Text(TextError::Tokens {
        path: path.to_owned(),
        caption: text.to_owned(),
        cause,
    })
}

/// Collects every object of a normalizer or pre-tokenizer, nested ones included.
fn collect_steps<'a>(value: &'a Value, steps: &mut Vec<&'a Map<String, Value>>) {
    match value {
        Value::Array(inner) => inner.iter().for_each(|value| collect_steps(value, steps)),
        Value::Object(step) => {
            steps.push(step);
            step.values().for_each(|value| collect_steps(value, steps));
        }
        _ => {}
    }
}

/// The most letters that a step of a normalizer makes of one letter. The growths of successive steps
/// multiply.
///
/// A pattern that matches the empty string inserts its content between any two letters.
fn growth(step: &Map<String, Value>) -> f64 {
    let length = |text: &Value| text.as_str().map(|text| text.chars().count() as f64);
    if let Some(prepended) = step.get("prepend").and_then(length) {
        return 1.0 + prepended;
    }
    let Some(content) = step.get("content").and_then(length) else {
        return 1.0;
    };
    let pattern = step
        .get("pattern")
        .and_then(|pattern| pattern.get("String"));
    match pattern.and_then(length) {
        Some(pattern) if pattern > 0.0 => (content / pattern).max(1.0),
        _ => 1.0 + content,
    }
}

/// Whether the table of a step, if it has one, is as long as its first four bytes say. The library
/// allocates memory of that size.
fn has_whole_charsmap(step: &Map<String, Value>) -> bool {
    let text = step.get("precompiled_charsmap").and_then(Value::as_str);
    let bytes = text.map(|text| STANDARD.decode(text).unwrap_or_default());
    bytes.is_none_or(|bytes| {
        let length = bytes.first_chunk().map(|four| u32::from_le_bytes(*four));
        length.is_none_or(|length| length as usize <= bytes.len())
    })
}

/// A special piece, and its id.
pub(super) fn special(tokenizer: &Tokenizer, path: &Path, piece: &str) -> Result<(String, u32)> {
    let id = tokenizer.token_to_id(piece).ok_or_else(|| {
        let cause = format!("its vocabulary lacks the special piece `{piece}`");
        refused(path, cause)
    });
    Ok((piece.to_owned(), id?))
}

pub(super) fn refused(path: &Path, cause: String) -> Error {
    Error::Text(TextError::Tokenizer {
        path: path.to_owned(),
        cause,
    })
}

/// The first pieces of a caption: at most `longest`, special pieces included, which are all kept.
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
