//! How large is a BERT, and which of its variants is it? Hugging Face's `config.json`, checked.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::transformer::{Activation, Checks};
use uard_files::{FileError, read_json};

/// What `config.json` says of a BERT.
///
/// Keys that change nothing here (of generation, of heads above the encoder) are not looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// The family; only `bert` is read.
    #[serde(default)]
    pub model_type: ModelType,
    /// Word pieces V.
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
    #[serde(default)]
    pub hidden_act: Activation,
    /// Dropout of embeddings and of what each part adds.
    #[serde(default = "a_tenth")]
    pub hidden_dropout_prob: f32,
    /// Dropout of attention's weights.
    #[serde(default = "a_tenth")]
    pub attention_probs_dropout_prob: f32,
    /// The longest caption, in word pieces, special ones included.
    pub max_position_embeddings: usize,
    /// Rows of the embedding of segments; a caption is of segment 0.
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    /// Standard deviation of weights that are drawn.
    #[serde(default = "a_fiftieth")]
    pub initializer_range: f32,
    /// Added to the variance in each layer norm.
    #[serde(default = "smallest_epsilon")]
    pub layer_norm_eps: f64,
    /// How positions enter; only `absolute` is read.
    #[serde(default)]
    pub position_embedding_type: PositionEmbedding,
    /// Whether words see only those before them; such a model is refused.
    #[serde(default)]
    pub is_decoder: bool,
}

/// The family of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// BERT, as published by Devlin et al. 2018.
    #[default]
    Bert,
}

/// How a word's position enters its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionEmbedding {
    /// By an embedding that is added to that of the word.
    #[default]
    Absolute,
}

fn a_tenth() -> f32 {
    0.1
}

fn a_fiftieth() -> f32 {
    0.02
}

fn two() -> usize {
    2
}

fn smallest_epsilon() -> f64 {
    1e-12
}

impl BertConfig {
    /// `bert-base-uncased`: 12 layers of 768 with 12 heads.
    pub fn base() -> Self {
        Self {
            model_type: ModelType::Bert,
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: a_tenth(),
            attention_probs_dropout_prob: a_tenth(),
            max_position_embeddings: 512,
            type_vocab_size: two(),
            initializer_range: a_fiftieth(),
            layer_norm_eps: smallest_epsilon(),
            position_embedding_type: PositionEmbedding::Absolute,
            is_decoder: false,
        }
    }

    /// Reads `config.json`.
    ///
    /// # Errors
    /// No such file; other JSON; another family, activation or kind of positions; sizes that
    /// cannot be: the message names the file, what was expected and what was found.
    pub fn read_json(path: &Path) -> Result<Self> {
        let config: Self = read_json(path, "the config.json of a BERT in Hugging Face's form")?;
        config.check(path)?;
        Ok(config)
    }

    /// The configuration in the form that [`read_json`](Self::read_json) reads.
    ///
    /// # Errors
    /// A number that JSON cannot hold.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let text = serde_json::to_vec_pretty(self).map_err(|source| FileError::Json {
            path: "a BERT's configuration".into(),
            expected: "numbers that JSON can hold",
            source,
        })?;
        Ok(text)
    }

    /// Whether a model of these sizes can be built; `origin` is named where it cannot.
    ///
    /// # Errors
    /// A size of zero; heads that do not divide the width; a dropout outside `[0, 1)`; an epsilon
    /// or a standard deviation that is not above zero; a decoder.
    pub fn check(&self, origin: &Path) -> Result<()> {
        let checks = Checks(origin);
        checks.at_least_one(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ])?;
        checks.heads(self.num_attention_heads, self.hidden_size)?;
        checks.rates(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            (
                "attention_probs_dropout_prob",
                self.attention_probs_dropout_prob,
            ),
        ])?;
        checks.above_zero(&[
            ("layer_norm_eps", self.layer_norm_eps),
            ("initializer_range", f64::from(self.initializer_range)),
        ])?;
        match self.is_decoder {
            true => checks.refuse("is_decoder", "false", true),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: &str = r#""vocab_size": 9, "hidden_size": 6, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 5"#;

    fn read(keys: &str) -> std::result::Result<BertConfig, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, format!("{{{keys}}}")).unwrap();
        BertConfig::read_json(&path).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn assert_refused(keys: &str, parts: &[&str]) {
        let message = read(keys).unwrap_err();
        assert!(message.contains("config.json: "), "{message}");
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }

    #[test]
    fn what_is_not_said_is_as_in_the_published_models() {
        let config = read(&format!("{SIZES}, \"use_cache\": true")).unwrap();
        let base = BertConfig::base();
        assert_eq!(config.hidden_act, base.hidden_act);
        assert_eq!(config.layer_norm_eps, base.layer_norm_eps);
        assert_eq!(config.type_vocab_size, base.type_vocab_size);
        assert_eq!(config.hidden_dropout_prob, base.hidden_dropout_prob);
    }

    #[test]
    fn every_activation_has_its_published_names() {
        for (name, activation) in [
            ("gelu", Activation::Gelu),
            ("gelu_new", Activation::GeluNew),
            ("gelu_pytorch_tanh", Activation::GeluNew),
            ("relu", Activation::Relu),
        ] {
            let config = read(&format!("{SIZES}, \"hidden_act\": \"{name}\"")).unwrap();
            assert_eq!(config.hidden_act, activation);
        }
    }

    #[test]
    fn what_changes_the_states_and_is_not_known_is_refused() {
        assert_refused(
            &format!("{SIZES}, \"hidden_act\": \"swish\""),
            &["unknown variant `swish`", "`gelu_new`"],
        );
        assert_refused(
            &format!("{SIZES}, \"position_embedding_type\": \"relative_key\""),
            &["unknown variant `relative_key`", "`absolute`"],
        );
        assert_refused(
            &format!("{SIZES}, \"model_type\": \"roberta\""),
            &["unknown variant `roberta`", "`bert`"],
        );
        assert_refused(
            &format!("{SIZES}, \"is_decoder\": true"),
            &["`is_decoder`", "expected false, found true"],
        );
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        assert_refused("\"vocab_size\": 9", &["missing field `hidden_size`"]);
        let changed = |from: &str, to: &str| SIZES.replace(from, to);
        assert_refused(
            &changed("\"num_attention_heads\": 2", "\"num_attention_heads\": 4"),
            &[
                "`num_attention_heads`",
                "a divisor of hidden_size 6",
                "found 4",
            ],
        );
        assert_refused(
            &changed("\"vocab_size\": 9", "\"vocab_size\": 0"),
            &["`vocab_size`", "expected at least 1, found 0"],
        );
        assert_refused(
            &format!("{SIZES}, \"layer_norm_eps\": 0"),
            &["`layer_norm_eps`", "above zero"],
        );
        assert_refused(
            &format!("{SIZES}, \"hidden_dropout_prob\": 1.0"),
            &["`hidden_dropout_prob`", "below 1, found 1"],
        );
    }
}
