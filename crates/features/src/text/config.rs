//! `TransformerConfig`: family and sizes of a text model, read from Hugging Face's `config.json`.

use std::path::Path;

use serde::{Deserialize, Serializer};
use serde_json::{Map, Value, json};

use super::family::{FAMILIES, Family, unknown};
use crate::transformer::{
    Activation, ConfigChecks, FeedForwardKind, Half, LayerShape, PublishedConfig,
};
use uard_files::FileError;

use crate::Result;

/// The values of `config.json` that the states of a text model depend on, under their own keys.
///
/// Other keys (of generation, of heads after the encoder) are ignored.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct TransformerConfig {
    #[serde(rename = "model_type")]
    pub(super) family: &'static Family,
    /// The number V of pieces.
    pub(super) vocab_size: usize,
    /// Width H of the states.
    pub(super) hidden_size: usize,
    /// The number of layers.
    pub(super) num_hidden_layers: usize,
    /// The number of attention heads of each layer, a divisor of the width.
    pub(super) num_attention_heads: usize,
    /// Width inside the feed-forward part.
    pub(super) intermediate_size: usize,
    /// The activation of the feed-forward part.
    pub(super) hidden_act: Activation,
    /// Dropout of the embeddings, and of what attention and the feed-forward part add to a state.
    #[serde(default)]
    pub(super) hidden_dropout_prob: f32,
    /// Dropout of attention's weights.
    #[serde(alias = "attention_probs_dropout_prob")]
    pub(super) attention_dropout: f32,
    /// The longest caption, in pieces, special ones included.
    pub(super) max_position_embeddings: usize,
    /// The number of rows of the segment embedding; all words of a caption are in segment 0.
    pub(super) type_vocab_size: Option<usize>,
    /// Standard deviation of weights that are drawn. The published code of CLIP and SigLIP has another
    /// one for each kind of weight.
    pub(super) initializer_range: f32,
    /// Added to the variance in each layer norm.
    pub(super) layer_norm_eps: f64,
    /// How a word's position enters its state. The only supported way is an embedding that is added to
    /// that of the word.
    #[serde(default, rename = "position_embedding_type")]
    pub(super) _positions: PositionEmbedding,
    /// Whether a word attends only to itself and the words before it. A BERT with this is refused.
    #[serde(default)]
    pub(super) is_decoder: bool,
    /// The id of the piece with which captions are padded; `None` for BERT, whose tokenizer has it.
    pub(super) pad_token_id: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PositionEmbedding {
    #[default]
    Absolute,
}

impl TransformerConfig {
    /// Reads `config.json` of a whole model, or of its text half alone, in one of the families of
    /// `encoder`. Also returns the JSON of the keys that a checkpoint stores.
    ///
    /// # Errors
    /// The file cannot be read; it is other JSON; its family, activation or kind of positions is not
    /// supported; its sizes are impossible. The message names the file, what was expected and what was
    /// found.
    pub(super) fn read(path: &Path, encoder: &str) -> Result<(Self, Vec<u8>)> {
        let file = PublishedConfig::open(path.to_owned())?;
        let (family, file) = family(file, encoder)?;
        let mut keys: Map<String, Value> = Map::new();
        for &(key, default) in family.keys {
            let default = || serde_json::from_str(default).ok();
            if let Some(value) = file.value(key).cloned().or_else(default) {
                keys.insert(key.to_owned(), value);
            }
        }
        let config: Self = file.parsed(Value::Object(keys.clone()))?;
        config.check(path)?;
        // An activation may have several names; the checkpoint holds one of them.
        keys.insert("hidden_act".to_owned(), json!(config.hidden_act));
        Ok((config, to_json(path, family, &keys)?))
    }

    /// Checks that a model of these sizes can be built; errors name `origin` as the file.
    fn check(&self, origin: &Path) -> Result<()> {
        let checks = ConfigChecks(origin);
        checks.at_least_one(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size.unwrap_or(1)),
        ])?;
        checks.heads(self.num_attention_heads, self.hidden_size)?;
        let keys = self.family.keys.iter().map(|(key, _)| *key);
        let attention = keys.into_iter().find(|key| key.starts_with("attention_"));
        checks.rates(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            (
                attention.unwrap_or("attention_dropout"),
                self.attention_dropout,
            ),
        ])?;
        checks.above_zero(&[
            ("layer_norm_eps", self.layer_norm_eps),
            ("initializer_range", f64::from(self.initializer_range)),
        ])?;
        if self.is_decoder {
            checks.refuse("is_decoder", "false", true)?;
        }
        match self.pad_token_id {
            Some(pad) if pad as usize >= self.vocab_size => checks.refuse(
                "pad_token_id",
                format!("below vocab_size {}", self.vocab_size),
                pad,
            ),
            _ => Ok(()),
        }
    }

    /// The sizes of each layer.
    pub(super) fn layer(&self) -> LayerShape {
        LayerShape {
            width: self.hidden_size,
            inside: self.intermediate_size,
            feed: FeedForwardKind::Plain,
            activation: self.hidden_act,
            epsilon: self.layer_norm_eps,
        }
    }

    /// Lists of factors, one for each kind of weight matrix. The sum of their products is the
    /// number of parameters without biases and norms, which
    /// [`TextModel::least_numbers`](super::model::TextModel::least_numbers) computes.
    pub(super) fn products(&self, joint_width: usize) -> [Vec<usize>; 5] {
        let (width, layers) = (self.hidden_size, self.num_hidden_layers);
        [
            vec![self.vocab_size, width],
            vec![self.max_position_embeddings, width],
            vec![4, layers, width, width],
            vec![2, layers, width, self.intermediate_size],
            vec![width, joint_width],
        ]
    }
}

/// The family of a file, and the part of the file that describes the text model.
///
/// Files of 2018 have no `model_type`. Such a file is of the encoder's family, if the encoder has
/// only one.
fn family(file: PublishedConfig, encoder: &str) -> Result<(&'static Family, PublishedConfig)> {
    let families = || {
        FAMILIES
            .into_iter()
            .filter(|family| family.encoder == encoder)
    };
    if let (None, [only]) = (
        file.value("model_type"),
        &families().collect::<Vec<_>>()[..],
    ) {
        return Ok((only, file));
    }
    let name: Value = file.family()?;
    let name = name
        .as_str()
        .map_or_else(|| name.to_string(), str::to_owned);
    if let Some(whole) = families().find(|family| family.whole == Some(&name)) {
        return Ok((whole, file.half(Half::Text)));
    }
    match families().find(|family| family.model_type == name) {
        Some(alone) => Ok((alone, file)),
        None => {
            let known =
                families().flat_map(|family| family.whole.into_iter().chain([family.model_type]));
            Err(file.json_error(unknown(&name, known)))
        }
    }
}

/// The keys as JSON, in the order of the family's list of keys.
fn to_json(path: &Path, family: &Family, keys: &Map<String, Value>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let order = family.keys.iter().map(|(key, _)| (key, keys.get(*key)));
    let outcome = serde_json::Serializer::pretty(&mut bytes).collect_map(order);
    outcome.map_err(|source| FileError::Json {
        path: path.to_owned(),
        expected: "values that JSON can hold",
        source,
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
