//! What does each piece of a caption mean there? The states of a text tower, with a gradient
//! everywhere, or frozen.

use candle_core::Tensor;
use uard_core::dropout::Dropout;
use uard_core::parameters::Parameters;
use uard_linalg::matmul::Matmul;

use super::config::{TowerConfig, TowerFamily};
use crate::Result;
use crate::text::gru::CaptionBatch;
use crate::text::states::{padded, places};
use crate::transformer::{Drops, Feed, Initial, Layer, LayerNames, LayerShape, Make, Norm, Spans};

/// Of the streams of draws.
const LABEL: &str = "tower.dropout";

/// What the names in files of the whole model begin with.
const PUBLISHED_PREFIX: &str = "text_model";

/// The text half of CLIP or SigLIP, without the projection of whole captions above it.
///
/// The parameters have Hugging Face's names behind a prefix: `{prefix}.embeddings.*`,
/// `{prefix}.encoder.layers.N.*` and `{prefix}.final_layer_norm.*`, all f32.
///
/// A caption of CLIP is computed alone. A caption of SigLIP is filled with padding up to the last
/// position, as in its training, where words saw the padding; what the batch is padded with is not
/// read in either.
///
/// # Source
/// `CLIPTextModel` and `SiglipTextModel` of transformers; the papers are named at [`TowerFamily`].
#[derive(Debug, Clone)]
pub struct Tower {
    config: TowerConfig,
    words: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: Norm,
    matmul: Matmul,
}

/// What the layers read: the pieces of captions one after the other.
struct Filled {
    ids: Vec<u32>,
    counts: Vec<usize>,
    /// The rows of the valid words, where there are others.
    valid: Option<Vec<u32>>,
}

impl Tower {
    /// Creates the parameters.
    ///
    /// # Errors
    /// When the configuration cannot be; a tensor is missing in the weights or has another shape;
    /// a parameter's name is taken. Parameters that were created before stay.
    pub fn new(
        parameters: &mut Parameters,
        prefix: &str,
        config: &TowerConfig,
        initial: Initial,
    ) -> Result<Self> {
        Self::make(config, &mut |name, shape| {
            let parameter = format!("{prefix}.{name}");
            let known = [format!("{PUBLISHED_PREFIX}.{name}"), name.to_owned()];
            let deviation = config.initializer_range;
            let numbers = initial.numbers((&parameter, shape), &known, deviation)?;
            Ok(parameters.create(&parameter, numbers, shape)?)
        })
    }

    /// The same tower, of which no graph is built, on the same parameters.
    ///
    /// # Errors
    /// When one of its parameters is not there.
    pub fn frozen(self, parameters: &Parameters, prefix: &str) -> Result<Self> {
        let frozen = Self::make(&self.config, &mut |name, _| {
            let name = format!("{prefix}.{name}");
            match parameters.get(&name) {
                Some(var) => Ok(var.as_tensor().detach()),
                None => Err(uard_core::Error::ParameterMismatch {
                    origin: "parameters of a frozen text tower".to_owned(),
                    problem: "missing",
                    name,
                }
                .into()),
            }
        })?;
        Ok(frozen.with_matmul(self.matmul))
    }

    /// A tower of the tensors that `make` gives.
    pub(super) fn make(config: &TowerConfig, make: &mut Make) -> Result<Self> {
        config.check("a text tower's configuration".as_ref())?;
        let width = config.hidden_size;
        let norm = (width, config.layer_norm_eps);
        let shape = LayerShape {
            width,
            inside: config.intermediate_size,
            feed: Feed::Plain,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps,
        };
        let of_words = [config.vocab_size, width];
        let of_places = [config.max_position_embeddings, width];
        let words = make("embeddings.token_embedding.weight", &of_words)?;
        let positions = make("embeddings.position_embedding.weight", &of_places)?;
        let layers = (0..config.num_hidden_layers).map(|layer| {
            let name = format!("encoder.layers.{layer}");
            Layer::make(make, &name, (&LayerNames::CLIP, shape))
        });
        Ok(Self {
            config: config.clone(),
            words,
            positions,
            layers: layers.collect::<Result<_>>()?,
            norm: Norm::make(make, "final_layer_norm", norm)?,
            matmul: Matmul::F32,
        })
    }

    /// The same model with other products.
    #[must_use]
    pub fn with_matmul(self, matmul: Matmul) -> Self {
        Self { matmul, ..self }
    }

    /// What the model was made with.
    pub fn config(&self) -> &TowerConfig {
        &self.config
    }

    /// The state of each piece behind the last norm, `last_hidden_state` in Hugging Face's words.
    ///
    /// # Shapes
    /// The result is [C, W, H]; padding rows are zero. `drops` is given in training only.
    ///
    /// # Errors
    /// When a caption has more pieces than the model has positions, or an id is not in its
    /// vocabulary, naming the caption; or the batch is on another device.
    pub fn states(&self, batch: &CaptionBatch, drops: Option<Drops>) -> Result<Tensor> {
        padded(&self.valid_states(batch, drops)?, batch)
    }

    /// [`Tower::states`] of the valid words alone, [N, H], caption after caption.
    pub(super) fn valid_states(
        &self,
        batch: &CaptionBatch,
        drops: Option<Drops>,
    ) -> Result<Tensor> {
        batch.check_lengths(self.config.max_position_embeddings)?;
        batch.check_vocabulary(self.config.vocab_size)?;
        let filled = self.filled(batch);
        let device = self.words.device();
        let ids = Tensor::new(filled.ids, device)?;
        let places = Tensor::new(places(&filled.counts), device)?;
        let words = self.words.index_select(&ids, 0)?;
        let mut words = (words + self.positions.index_select(&places, 0)?)?;
        let heads = self.config.num_attention_heads;
        let spans = Spans::new(&filled.counts, heads, self.config.visibility());
        for (at, layer) in (0..).zip(&self.layers) {
            let factors = self.factors(drops, at, spans.cells())?;
            words = layer.forward(&words, &spans, factors, self.matmul)?;
        }
        if let Some(valid) = filled.valid {
            words = words.index_select(&Tensor::new(valid, device)?, 0)?;
        }
        self.norm.forward(&words)
    }

    /// Dropout of attention's weights in one layer.
    fn factors(&self, drops: Option<Drops>, layer: u64, cells: usize) -> Result<Option<Vec<f32>>> {
        let dropout = Dropout::new(self.config.attention_dropout)?;
        let drops = drops.filter(|_| self.config.attention_dropout > 0.0);
        Ok(drops.map(|drops| dropout.factors(&drops.stream(LABEL, layer), cells)))
    }

    fn filled(&self, batch: &CaptionBatch) -> Filled {
        if self.config.family == TowerFamily::Clip {
            return Filled {
                ids: batch.words().to_vec(),
                counts: batch.counts().to_vec(),
                valid: None,
            };
        }
        let (captions, longest) = (batch.counts().len(), self.config.max_position_embeddings);
        let mut ids = Vec::with_capacity(captions * longest);
        let mut valid = Vec::with_capacity(batch.words().len());
        let mut words = batch.words();
        for &count in batch.counts() {
            let (caption, rest) = words.split_at(count);
            let first = ids.len();
            valid.extend((first..first + count).map(|row| row as u32));
            ids.extend_from_slice(caption);
            ids.resize(first + longest, self.config.pad_token_id);
            words = rest;
        }
        Filled {
            ids,
            counts: vec![longest; captions],
            valid: Some(valid),
        }
    }
}
