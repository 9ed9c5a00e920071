//! BERT, as published by Devlin, Chang, Lee, Toutanova, 2018.

use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::{Family, SequenceLength, TensorNames, VocabularyFile};
use crate::text::pieces::{PAD, refused, special};
use crate::transformer::{LayerNames, Visibility};
use crate::{Error, Result};
use uard_files::{FileError, read_json};

pub(super) static FAMILY: Family = Family {
    encoder: "bert",
    file: "bert.json",
    model_type: "bert",
    whole: None,
    keys: &[
        ("model_type", r#""bert""#),
        ("vocab_size", ""),
        ("hidden_size", ""),
        ("num_hidden_layers", ""),
        ("num_attention_heads", ""),
        ("intermediate_size", ""),
        ("hidden_act", r#""gelu""#),
        ("hidden_dropout_prob", "0.1"),
        ("attention_probs_dropout_prob", "0.1"),
        ("max_position_embeddings", ""),
        ("type_vocab_size", "2"),
        ("initializer_range", "0.02"),
        ("layer_norm_eps", "1e-12"),
        ("position_embedding_type", r#""absolute""#),
        ("is_decoder", "false"),
    ],
    tensors: TensorNames {
        prefix: "bert.",
        words: "embeddings.word_embeddings.weight",
        positions: "embeddings.position_embeddings.weight",
        segments: Some("embeddings.token_type_embeddings.weight"),
        norm: "embeddings.LayerNorm",
        layers: "encoder.layer",
        layer: LayerNames::BERT,
    },
    visibility: Visibility::All,
    length: SequenceLength::Caption,
    vocabulary: VocabularyFile {
        file: "vocab.txt",
        beside: &[SETTINGS],
        read: read_vocabulary,
        missing: "neither tokenizer.json nor vocab.txt is there; download one of them into this folder",
    },
};

const SETTINGS: &str = "tokenizer_config.json";

const UNKNOWN: &str = "[UNK]";
const START: &str = "[CLS]";
const END: &str = "[SEP]";
const MASK: &str = "[MASK]";

/// The values of `tokenizer_config.json` that decide how a caption is divided into the pieces of a
/// `vocab.txt`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
struct Settings {
    do_lower_case: bool,
    tokenize_chinese_chars: bool,
    /// `None` means the value of `do_lower_case`.
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

/// Reads `vocab.txt`, with the settings of `tokenizer_config.json`, or the settings of the
/// published BERT if there is no such file.
fn read_vocabulary(path: &Path) -> Result<Tokenizer> {
    let settings = path.with_file_name(SETTINGS);
    let settings = match read_json(&settings, "the tokenizer_config.json of a BERT") {
        Err(FileError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Settings::default()
        }
        outcome => outcome?,
    };
    let bytes = uard_files::read(path).map_err(Error::io(path, "read"))?;
    let refuse = |cause: tokenizers::Error| refused(path, cause.to_string());
    let vocabulary = WordPiece::read_bytes(&bytes).map_err(refuse)?;
    let pieces = WordPiece::builder()
        .vocab(vocabulary)
        .unk_token(UNKNOWN.to_owned());
    let mut tokenizer = Tokenizer::new(pieces.build().map_err(refuse)?);
    special(&tokenizer, path, UNKNOWN)?;
    let start = special(&tokenizer, path, START)?;
    let around = BertProcessing::new(special(&tokenizer, path, END)?, start);
    let normalizer = BertNormalizer::new(
        true,
        settings.tokenize_chinese_chars,
        settings.strip_accents,
        settings.do_lower_case,
    );
    // As in the published tokenizer, the text of a special piece in a caption becomes that piece.
    let known = [PAD, UNKNOWN, START, END, MASK].into_iter();
    let known = known.filter(|piece| tokenizer.token_to_id(piece).is_some());
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
