//! The text half of the first version of SigLIP: Zhai et al., *Sigmoid Loss for Language Image
//! Pre-Training*, 2023. A caption is padded to all positions of the model, and each word attends to
//! all words and to the padding, as in the training of SigLIP.

use std::path::Path;

use tokenizers::Tokenizer;

use super::{Family, SequenceLength, VocabularyFile, clip};
use crate::Result;
use crate::text::pieces::refused;
use crate::transformer::Visibility;

pub(super) static FAMILY: Family = Family {
    encoder: "tower",
    file: "tower.json",
    model_type: "siglip_text_model",
    whole: Some("siglip"),
    // The defaults are the values of google/siglip-base-patch16-224.
    keys: &[
        ("model_type", r#""siglip_text_model""#),
        ("vocab_size", "32000"),
        ("hidden_size", "768"),
        ("num_hidden_layers", "12"),
        ("num_attention_heads", "12"),
        ("intermediate_size", "3072"),
        ("hidden_act", r#""gelu_new""#),
        ("max_position_embeddings", "64"),
        ("layer_norm_eps", "1e-6"),
        ("attention_dropout", "0.0"),
        ("initializer_range", "0.02"),
        ("pad_token_id", "1"),
    ],
    tensors: clip::TENSORS,
    visibility: Visibility::All,
    length: SequenceLength::Maximum,
    vocabulary: VocabularyFile {
        file: "spiece.model",
        beside: &[],
        read: refuse_sentencepiece,
        missing: "no tokenizer.json is there; download it into this folder",
    },
};

/// The error for `spiece.model`, which only the sentencepiece library reads.
fn refuse_sentencepiece(path: &Path) -> Result<Tokenizer> {
    let cause = "only spiece.model is there, expected tokenizer.json, which holds the same pieces; download it too, or write it in Python with transformers.AutoTokenizer.from_pretrained(folder, use_fast=True).save_pretrained(folder)";
    Err(refused(path, cause.to_owned()))
}
