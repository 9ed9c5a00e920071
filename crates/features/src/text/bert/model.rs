//! What does each word of a caption mean there? The states of a BERT, with a gradient everywhere.

use candle_core::Tensor;
use uard_core::parameters::Parameters;
use uard_linalg::matmul::Matmul;

use super::config::BertConfig;
use super::drops::ModelDrops;
use super::layer::Layer;
use crate::Result;
use crate::text::gru::CaptionBatch;
use crate::text::states::{padded, places};
use crate::transformer::{Drops, Initial, Make, Norm, Spans, Visibility};

/// BERT's encoder, without the pooler and the heads above it.
///
/// The parameters have Hugging Face's names behind a prefix: `{prefix}.embeddings.*` and
/// `{prefix}.encoder.layer.N.*`, all f32. A group of the optimizer with that prefix gives them a
/// learning rate and a weight decay of their own.
///
/// Only valid words are computed, one caption after the other without padding: what padding holds
/// cannot be seen.
///
/// # Source
/// Devlin, Chang, Lee, Toutanova, *BERT*, 2018; names and order of operations are those of
/// `transformers.BertModel` with absolute positions.
#[derive(Debug, Clone)]
pub struct Bert {
    config: BertConfig,
    words: Tensor,
    positions: Tensor,
    segments: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    matmul: Matmul,
}

impl Bert {
    /// Creates the parameters.
    ///
    /// # Errors
    /// When the configuration cannot be; a tensor is missing in the weights or has another shape;
    /// a parameter's name is taken. Parameters that were created before stay.
    pub fn new(
        parameters: &mut Parameters,
        prefix: &str,
        config: &BertConfig,
        initial: Initial,
    ) -> Result<Self> {
        Self::make(config, &mut |name, shape| {
            let parameter = format!("{prefix}.{name}");
            let known = known_names(name);
            let deviation = config.initializer_range;
            let numbers = initial.numbers((&parameter, shape), &known, deviation)?;
            Ok(parameters.create(&parameter, numbers, shape)?)
        })
    }

    /// A model of the tensors that `make` gives.
    pub(super) fn make(config: &BertConfig, make: &mut Make) -> Result<Self> {
        config.check("a BERT's configuration".as_ref())?;
        let width = config.hidden_size;
        let mut embedding = |name: &str, rows: usize| {
            make(
                &format!("embeddings.{name}_embeddings.weight"),
                &[rows, width],
            )
        };
        let words = embedding("word", config.vocab_size)?;
        let positions = embedding("position", config.max_position_embeddings)?;
        let segments = embedding("token_type", config.type_vocab_size)?;
        let norm = Norm::make(make, "embeddings.LayerNorm", (width, config.layer_norm_eps))?;
        let layers = (0..config.num_hidden_layers)
            .map(|layer| Layer::make(make, &format!("encoder.layer.{layer}"), config));
        Ok(Self {
            config: config.clone(),
            words,
            positions,
            segments,
            norm,
            layers: layers.collect::<Result<_>>()?,
            matmul: Matmul::F32,
        })
    }

    /// The same model with other products.
    #[must_use]
    pub fn with_matmul(self, matmul: Matmul) -> Self {
        Self { matmul, ..self }
    }

    /// What the model was made with.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// The state of each word behind the last layer, `last_hidden_state` in Hugging Face's words.
    ///
    /// # Shapes
    /// The result is [C, W, H]; padding rows are zero. `drops` is given in training only.
    ///
    /// # Errors
    /// When a caption has more words than the model has positions, or an id is not in its
    /// vocabulary, naming the caption; or the batch is on another device.
    pub fn states(&self, batch: &CaptionBatch, drops: Option<Drops>) -> Result<Tensor> {
        padded(&self.valid_states(batch, drops)?, batch)
    }

    /// [`Bert::states`] of the valid words alone, [N, H], caption after caption.
    pub(super) fn valid_states(
        &self,
        batch: &CaptionBatch,
        drops: Option<Drops>,
    ) -> Result<Tensor> {
        batch.check_lengths(self.config.max_position_embeddings)?;
        batch.check_vocabulary(self.config.vocab_size)?;
        let drops = ModelDrops::new(&self.config, drops)?;
        let spans = Spans::new(
            batch.counts(),
            self.config.num_attention_heads,
            Visibility::All,
        );
        let mut words = self.norm.forward(&self.embedded(batch)?)?;
        words = drops.after_embeddings(&words)?;
        for (at, layer) in self.layers.iter().enumerate() {
            words = layer.forward(&words, &spans, drops.of_layer(at), self.matmul)?;
        }
        Ok(words)
    }

    /// Word, position and segment, added in the order of the published code.
    fn embedded(&self, batch: &CaptionBatch) -> Result<Tensor> {
        let device = self.words.device();
        let ids = Tensor::new(batch.words(), device)?;
        let places = Tensor::new(places(batch.counts()), device)?;
        let words = self.words.index_select(&ids, 0)?;
        let words = words.broadcast_add(&self.segments.narrow(0, 0, 1)?)?;
        Ok((words + self.positions.index_select(&places, 0)?)?)
    }
}

/// The names that a tensor may have in a file, today's first: files of 2018 call the layer norms'
/// parameters gamma and beta, and files with heads above the encoder put `bert.` before all names.
fn known_names(name: &str) -> Vec<String> {
    let legacy = match name.rsplit_once("LayerNorm.") {
        Some((before, "weight")) => Some(format!("{before}LayerNorm.gamma")),
        Some((before, "bias")) => Some(format!("{before}LayerNorm.beta")),
        _ => None,
    };
    let names = std::iter::once(name.to_owned()).chain(legacy);
    names
        .flat_map(|name| [name.clone(), format!("bert.{name}")])
        .collect()
}
