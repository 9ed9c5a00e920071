//! The pieces that a caption of a text tower consists of, and the word that each comes from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokenizers::models::bpe::{BPE, Merges};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreSequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::config::{TowerConfig, TowerFamily};
use crate::text::pieces::{Limits, PieceTokenizer, from_json, guarded, refused, special};
pub use crate::text::pieces::{Origin, Piece, Pieces};
use crate::transformer::TransformerError;
use crate::{Error, Result};
use uard_files::read_json;

const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const SENTENCE_PIECE: &str = "spiece.model";

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// What ends a word in CLIP's vocabulary.
const WORD_END: &str = "</w>";

/// Between which bytes CLIP begins a new word: special pieces, clitics, letters, each digit, the
/// rest.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Captions to ids of a text tower's pieces.
#[derive(Debug, Clone)]
pub struct TowerTokenizer {
    tokenizer: PieceTokenizer,
    pad: u32,
}

impl TowerTokenizer {
    /// Reads `tokenizer.json` of a model's folder or, for CLIP, `vocab.json` with `merges.txt`.
    ///
    /// Captions are cut behind `longest` pieces, special ones included, and behind the positions
    /// of the model at the latest. Limits and padding that the file itself names do not count.
    ///
    /// # Errors
    /// None of the files is there, or SigLIP's `spiece.model` alone; one of them has another form
    /// or lacks a special piece; the model has fewer ids than the tokenizer; there is no room for a
    /// word beside the special pieces.
    pub fn open(folder: &Path, config: &TowerConfig, longest: usize) -> Result<Self> {
        let (tokenizer, path) = read(folder, config.family)?;
        let limits = Limits {
            vocabulary: config.vocab_size,
            positions: config.max_position_embeddings,
            longest,
        };
        Ok(Self {
            tokenizer: PieceTokenizer::new(tokenizer, path, limits)?,
            pad: config.pad_token_id,
        })
    }

    /// The pieces of a caption with the special ones: CLIP's around it, SigLIP's behind it.
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

    /// The id of padding in a batch, which nobody reads.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// The piece of an id.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.tokenizer.piece(id)
    }
}

fn read(folder: &Path, family: TowerFamily) -> Result<(Tokenizer, PathBuf)> {
    let json = folder.join(TOKENIZER);
    if json.exists() {
        return Ok((from_json(&json)?, json));
    }
    let vocabulary = folder.join(VOCABULARY);
    match family {
        TowerFamily::Clip if vocabulary.exists() => {
            let merges = folder.join(MERGES);
            let tokenizer = guarded(&vocabulary, || from_merges(&vocabulary, &merges))?;
            Ok((tokenizer, vocabulary))
        }
        TowerFamily::Clip => {
            let cause = "neither tokenizer.json nor vocab.json is there; download one of them, the latter with merges.txt, into this folder";
            Err(refused(folder, cause.to_owned()))
        }
        TowerFamily::Siglip if folder.join(SENTENCE_PIECE).exists() => {
            let folder = folder.to_owned();
            Err(TransformerError::SentencePieceOnly { folder }.into())
        }
        TowerFamily::Siglip => {
            let cause = "no tokenizer.json is there; download it into this folder";
            Err(refused(folder, cause.to_owned()))
        }
    }
}

/// CLIP's byte-level pieces.
///
/// # Source
/// `CLIPTokenizer` of transformers.
fn from_merges(vocabulary: &Path, merges: &Path) -> Result<Tokenizer> {
    let refuse = |cause: tokenizers::Error| refused(vocabulary, cause.to_string());
    let ids: BTreeMap<String, u32> = read_json(vocabulary, "the ids of CLIP's pieces")?;
    let ids: tokenizers::models::bpe::Vocab = ids.into_iter().collect();
    let pieces = BPE::builder()
        .vocab_and_merges(ids, read_merges(merges)?)
        .unk_token(END.to_owned())
        .end_of_word_suffix(WORD_END.to_owned())
        .build()
        .map_err(refuse)?;
    let mut tokenizer = Tokenizer::new(pieces);
    let [start, end] = [START, END]
        .map(|piece| special(&tokenizer, vocabulary, piece).map(|id| (piece.to_owned(), id)));
    let around = RobertaProcessing::new(end?, start?)
        .trim_offsets(false)
        .add_prefix_space(false);
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ").map_err(refuse)?;
    let normalizers = vec![NFC.into(), spaces.into(), Lowercase.into()];
    let pattern = SplitPattern::Regex(WORDS.to_owned());
    let words = Split::new(pattern, SplitDelimiterBehavior::Removed, true).map_err(refuse)?;
    let bytes = ByteLevel::default().add_prefix_space(false);
    tokenizer
        .with_normalizer(Some(Sequence::new(normalizers)))
        .map_err(refuse)?
        .with_pre_tokenizer(Some(PreSequence::new(vec![words.into(), bytes.into()])))
        .with_post_processor(Some(around))
        .add_special_tokens([START, END].map(|piece| AddedToken::from(piece, true)))
        .map_err(refuse)?;
    Ok(tokenizer)
}

/// Two pieces a line, behind a line with the version.
fn read_merges(path: &Path) -> Result<Merges> {
    let text = uard_files::read_text(path).map_err(Error::io(path, "read"))?;
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with("#version"));
    let merge = |(at, line): (usize, &str)| match line.split_once(' ') {
        Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
        None => Err(refused(
            path,
            format!("line {}: expected two pieces, found `{line}`", at + 1),
        )),
    };
    lines.map(merge).collect()
}

#[cfg(test)]
mod tests;
