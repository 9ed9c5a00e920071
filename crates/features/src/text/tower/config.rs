//! How large is a text tower, and of which family? Hugging Face's `config.json`, checked.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::transformer::{Activation, Checks, Half, Published, Visibility};
use uard_files::{FileError, read_json};

/// What `config.json` says of a text tower, under its own keys.
///
/// Keys that change nothing here (of generation, of heads) are not looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TowerConfig {
    /// The family.
    #[serde(rename = "model_type")]
    pub family: TowerFamily,
    /// Pieces V.
    pub vocab_size: usize,
    /// Width H of the states.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of each attention; they divide the width.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// The activation there.
    pub hidden_act: Activation,
    /// The longest caption, in pieces, special ones included.
    pub max_position_embeddings: usize,
    /// Added to the variance in each layer norm.
    pub layer_norm_eps: f64,
    /// Dropout of attention's weights; zero in every published model.
    pub attention_dropout: f32,
    /// Standard deviation of weights that are drawn. The published code has another one for each
    /// kind of weight.
    pub initializer_range: f32,
    /// The piece that stands behind captions.
    pub pad_token_id: u32,
}

/// A family of text towers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TowerFamily {
    /// Radford et al., *Learning Transferable Visual Models From Natural Language Supervision*,
    /// 2021: a word sees itself and those before it.
    #[serde(rename = "clip_text_model")]
    Clip,
    /// Zhai et al., *Sigmoid Loss for Language Image Pre-Training*, 2023, the first version: a word
    /// sees all others, and the padding too, with which it was trained up to the last position.
    #[serde(rename = "siglip_text_model")]
    Siglip,
}

/// What a folder holds.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Holds {
    Clip,
    ClipTextModel,
    Siglip,
    SiglipTextModel,
}

impl TowerConfig {
    /// The text half of `openai/clip-vit-base-patch32`: 12 layers of 512.
    pub fn clip() -> Self {
        Self {
            family: TowerFamily::Clip,
            vocab_size: 49_408,
            hidden_size: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            intermediate_size: 2048,
            hidden_act: Activation::QuickGelu,
            max_position_embeddings: 77,
            layer_norm_eps: 1e-5,
            attention_dropout: 0.0,
            initializer_range: 0.02,
            pad_token_id: 1,
        }
    }

    /// The text half of `google/siglip-base-patch16-224`: 12 layers of 768.
    pub fn siglip() -> Self {
        Self {
            family: TowerFamily::Siglip,
            vocab_size: 32_000,
            hidden_size: 768,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::GeluNew,
            max_position_embeddings: 64,
            layer_norm_eps: 1e-6,
            ..Self::clip()
        }
    }

    /// Reads `config.json` of a folder: of the whole model, or of its text half alone.
    ///
    /// # Errors
    /// No such file; other JSON; another family or activation; sizes that cannot be: the message
    /// names the file, what was expected and what was found.
    pub fn open(folder: &Path) -> Result<Self> {
        let file = Published::open(folder)?;
        let config: Self = match file.family()? {
            Holds::Clip => file.half(Half::Text).over(&Self::clip())?,
            Holds::ClipTextModel => file.over(&Self::clip())?,
            Holds::Siglip => file.half(Half::Text).over(&Self::siglip())?,
            Holds::SiglipTextModel => file.over(&Self::siglip())?,
        };
        config.check(file.path())?;
        Ok(config)
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn read_json(path: &Path) -> Result<Self> {
        let config: Self = read_json(path, "the configuration of a text tower")?;
        config.check(path)?;
        Ok(config)
    }

    /// Its keys with their values.
    ///
    /// # Errors
    /// A number that JSON cannot hold.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let text = serde_json::to_vec_pretty(self).map_err(|source| FileError::Json {
            path: "a text tower's configuration".into(),
            expected: "numbers that JSON can hold",
            source,
        })?;
        Ok(text)
    }

    /// Whether a tower of these sizes can be built; `origin` is named where it cannot.
    ///
    /// # Errors
    /// A size of zero; heads that do not divide the width; a dropout outside `[0, 1)`; an epsilon
    /// or a standard deviation that is not above zero; padding that is no piece.
    pub fn check(&self, origin: &Path) -> Result<()> {
        let checks = Checks(origin);
        checks.at_least_one(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ])?;
        checks.heads(self.num_attention_heads, self.hidden_size)?;
        checks.rates(&[("attention_dropout", self.attention_dropout)])?;
        checks.above_zero(&[
            ("layer_norm_eps", self.layer_norm_eps),
            ("initializer_range", f64::from(self.initializer_range)),
        ])?;
        match self.pad_token_id as usize >= self.vocab_size {
            true => checks.refuse(
                "pad_token_id",
                format!("below vocab_size {}", self.vocab_size),
                self.pad_token_id,
            ),
            false => Ok(()),
        }
    }

    /// What a word sees.
    pub(super) fn visibility(&self) -> Visibility {
        match self.family {
            TowerFamily::Clip => Visibility::Causal,
            TowerFamily::Siglip => Visibility::All,
        }
    }
}
