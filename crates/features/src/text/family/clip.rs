//! The text half of CLIP: Radford et al., *Learning Transferable Visual Models From Natural
//! Language Supervision*, 2021. A word attends to itself and to those before it.

use std::collections::BTreeMap;
use std::path::Path;

use tokenizers::models::bpe::{BPE, Merges};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreSequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::{Family, SequenceLength, TensorNames, VocabularyFile};
use crate::text::pieces::{refused, special};
use crate::transformer::{LayerNames, Visibility};
use crate::{Error, Result};
use uard_files::read_json;

pub(super) static FAMILY: Family = Family {
    encoder: "tower",
    file: "tower.json",
    model_type: "clip_text_model",
    whole: Some("clip"),
    // The defaults are the values of openai/clip-vit-base-patch32.
    keys: &[
        ("model_type", r#""clip_text_model""#),
        ("vocab_size", "49408"),
        ("hidden_size", "512"),
        ("num_hidden_layers", "12"),
        ("num_attention_heads", "8"),
        ("intermediate_size", "2048"),
        ("hidden_act", r#""quick_gelu""#),
        ("max_position_embeddings", "77"),
        ("layer_norm_eps", "1e-5"),
        ("attention_dropout", "0.0"),
        ("initializer_range", "0.02"),
        ("pad_token_id", "1"),
    ],
    tensors: TENSORS,
    visibility: Visibility::Causal,
    length: SequenceLength::Caption,
    vocabulary: VocabularyFile {
        file: "vocab.json",
        beside: &[MERGES],
        read: read_vocabulary,
        missing: "neither tokenizer.json nor vocab.json is there; download one of them, the latter with merges.txt, into this folder",
    },
};

/// The names of the tensors of CLIP and SigLIP.
pub(super) const TENSORS: TensorNames = TensorNames {
    prefix: "text_model.",
    words: "embeddings.token_embedding.weight",
    positions: "embeddings.position_embedding.weight",
    segments: None,
    norm: "final_layer_norm",
    layers: "encoder.layers",
    layer: LayerNames::CLIP,
};

const MERGES: &str = "merges.txt";

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// How the last piece of a word ends in CLIP's vocabulary.
const WORD_END: &str = "</w>";

/// A word of CLIP: a special piece, a clitic, a run of letters, a digit, or a run of other characters.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Reads `vocab.json` and `merges.txt`: CLIP's byte-level pieces.
///
/// # Source
/// `CLIPTokenizer` of transformers.
fn read_vocabulary(path: &Path) -> Result<Tokenizer> {
    let refuse = |cause: tokenizers::Error| refused(path, cause.to_string());
    let ids: BTreeMap<String, u32> = read_json(path, "the ids of CLIP's pieces")?;
    let pieces = BPE::builder()
        .vocab_and_merges(
            ids.into_iter().collect::<tokenizers::models::bpe::Vocab>(),
            read_merges(&path.with_file_name(MERGES))?,
        )
        .unk_token(END.to_owned())
        .end_of_word_suffix(WORD_END.to_owned())
        .build()
        .map_err(refuse)?;
    let mut tokenizer = Tokenizer::new(pieces);
    let start = special(&tokenizer, path, START)?;
    let around = RobertaProcessing::new(special(&tokenizer, path, END)?, start)
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

/// Reads `merges.txt`: a line with the version, then two pieces a line.
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
