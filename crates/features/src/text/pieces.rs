//! The pieces that a caption consists of, and the word that each comes from: what the tokenizers of
//! all trained models share.

use std::ops::Range;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokenizers::{Encoding, Tokenizer};

use crate::{Error, Result};
use uard_files::caught;
use uard_files::read_json;

/// A caption as a trained model reads it.
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
    /// As in the vocabulary: BERT's `##ing` continues a word, CLIP's `ing</w>` ends one, SigLIP's
    /// `▁dog` begins one.
    pub text: String,
    /// Where it comes from; none for the special pieces around a caption.
    pub origin: Option<Origin>,
}

/// The place of a piece in its caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The word, from 0; pieces of one word share it. Punctuation stands alone in BERT and CLIP; in
    /// SigLIP, where words end at spaces, it belongs to its word.
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

/// More letters than this out of one are an attack: published tokenizers replace spaces and quotes.
const MOST_GROWTH: f64 = 4096.0;

/// Published tokenizers have fewer than ten steps before their model.
const MOST_STEPS: usize = 100;

const EXPECTED: &str = "a tokenizer.json of the tokenizers library";

/// What of `tokenizer.json` is checked before the library reads it.
#[derive(Deserialize)]
struct Normalized {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
}

/// A tokenizer with the limits of the model that it belongs to.
#[derive(Debug, Clone)]
pub(super) struct PieceTokenizer {
    tokenizer: Tokenizer,
    path: PathBuf,
    longest: usize,
}

/// What a model can read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Its ids.
    pub(super) vocabulary: usize,
    /// Its positions.
    pub(super) positions: usize,
    /// The pieces of a caption, special ones included, that the caller allows.
    pub(super) longest: usize,
}

impl PieceTokenizer {
    /// Limits and padding that the file itself names do not count.
    pub(super) fn new(mut tokenizer: Tokenizer, path: PathBuf, limits: Limits) -> Result<Self> {
        check_ids(&tokenizer, &path, limits.vocabulary)?;
        // We cut ourselves: the library does not tell how much was cut.
        tokenizer
            .with_padding(None)
            .with_truncation(None)
            .map_err(|cause| refused(&path, cause.to_string()))?;
        let around = encode(&tokenizer, "").map_err(|cause| refused(&path, cause))?;
        let ids = around.get_ids().iter();
        if let Some(id) = ids.max().filter(|id| **id as usize >= limits.vocabulary) {
            let cause = format!(
                "its post_processor puts the id {id} around captions, the model has {} ids",
                limits.vocabulary
            );
            return Err(refused(&path, cause));
        }
        // A run keeps a copy, and must be able to read it.
        guarded(&path, || {
            let copy = tokenizer.to_string(false);
            let read = copy.and_then(Tokenizer::from_bytes);
            let cause = |cause| refused(&path, format!("it cannot be copied: {cause}"));
            read.map(drop).map_err(cause)
        })?;
        let (longest, shortest) = (limits.longest.min(limits.positions), around.len() + 1);
        if longest < shortest {
            let cause = format!(
                "captions are cut behind {longest} pieces, expected at least {shortest}: the special ones and a word"
            );
            return Err(refused(&path, cause));
        }
        Ok(Self {
            tokenizer,
            path,
            longest,
        })
    }

    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn encode(&self, caption: &str) -> Result<Pieces> {
        let encoding = encode(&self.tokenizer, caption).map_err(|cause| Error::Tokens {
            path: self.path.clone(),
            caption: caption.to_owned(),
            cause,
        })?;
        Ok(pieces(&encoding, self.longest))
    }

    /// As a `tokenizer.json`, whatever it was read from; without limits and padding.
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        let json = self.tokenizer.to_string(false);
        let json = json.map_err(|cause| refused(&self.path, cause.to_string()))?;
        Ok(json.into_bytes())
    }

    /// The file that it was read from.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The id of a special piece.
    pub(super) fn special(&self, piece: &str) -> Result<u32> {
        special(&self.tokenizer, &self.path, piece)
    }

    /// The piece of an id.
    pub(super) fn piece(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }
}

/// Reads `tokenizer.json`.
pub(super) fn from_json(path: &Path) -> Result<Tokenizer> {
    let Normalized {
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
        let cause = "its precompiled_charsmap is shorter than it says".to_owned();
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
    let bytes = uard_files::read(path).map_err(Error::io(path, "read"))?;
    guarded(path, || {
        Tokenizer::from_bytes(bytes)
            .map_err(|cause| refused(path, format!("{cause}; expected {EXPECTED}")))
    })
}

/// Makes a tokenizer with a library that panics on some broken files.
pub(super) fn guarded<T>(path: &Path, make: impl FnOnce() -> Result<T>) -> Result<T> {
    caught(make).unwrap_or_else(|cause| Err(refused(path, cause)))
}

fn encode(tokenizer: &Tokenizer, caption: &str) -> std::result::Result<Encoding, String> {
    caught(|| tokenizer.encode(caption, true))?.map_err(|cause| cause.to_string())
}

/// Every object of a normalizer or pre-tokenizer, those within others included.
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

/// How many letters a step of a normalizer makes of one letter at the most; steps one after the
/// other multiply.
///
/// Patterns that match nothing at all put their content between any two letters.
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

/// Whether the table of a step is as long as its first four bytes say: the library allocates what
/// they say.
fn has_whole_charsmap(step: &Map<String, Value>) -> bool {
    let text = step.get("precompiled_charsmap").and_then(Value::as_str);
    let bytes = text.map(|text| STANDARD.decode(text).unwrap_or_default());
    bytes.is_none_or(|bytes| {
        let length = bytes.first_chunk().map(|four| u32::from_le_bytes(*four));
        length.is_none_or(|length| length as usize <= bytes.len())
    })
}

pub(super) fn special(tokenizer: &Tokenizer, path: &Path, piece: &str) -> Result<u32> {
    let missing = || {
        refused(
            path,
            format!("its vocabulary lacks the special piece `{piece}`"),
        )
    };
    tokenizer.token_to_id(piece).ok_or_else(missing)
}

pub(super) fn refused(path: &Path, cause: String) -> Error {
    Error::Tokenizer {
        path: path.to_owned(),
        cause,
    }
}

fn check_ids(tokenizer: &Tokenizer, path: &Path, vocabulary: usize) -> Result<()> {
    let largest = tokenizer.get_vocab(true).into_values().max();
    match largest {
        Some(id) if id as usize >= vocabulary => Err(refused(
            path,
            format!(
                "it has the id {id}, the model's config.json says vocab_size {vocabulary}; they belong to different models"
            ),
        )),
        _ => Ok(()),
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
