//! How do captions become words of the joint space by a published language model? Through its
//! states, with a gradient everywhere or frozen, and a linear layer to unit rows.

use candle_core::Tensor;
use candle_nn::{Embedding, Module};
use uard_core::Words;
use uard_core::dropout::Dropout;
use uard_core::parameters::Parameters;
use uard_core::random::{Draws, normal, uniform};
use uard_linalg::matmul::Matmul;

use super::config::TransformerConfig;
use super::family::Length;
use super::gru::CaptionBatch;
use crate::Result;
use crate::transformer::{
    Dense, Dropping, Drops, Layer, Make, Norm, Norming, Spans, padded, stored_prefix,
};
use uard_hub::weights::Weights;

/// What the names of the projection's parameters begin with.
const PROJECTION: &str = "text.projection";

/// Captions to unit rows: a BERT or the text half of CLIP or SigLIP, a linear layer, unit length.
///
/// The parameters have Hugging Face's names behind `text.bert.` or `text.tower.`, so that a group of
/// the optimizer can give them a learning rate of their own; the projection is
/// `text.projection.weight` [D, H] and `text.projection.bias` `[D]`. The pooler, the heads above the
/// model, and CLIP's projection of whole captions are not read. Special pieces are words.
///
/// Only valid words are computed, one caption after the other without padding: what padding holds
/// cannot be seen. A caption of SigLIP is filled with its own padding up to the last position, as in
/// its training, where words saw it.
///
/// # Source
/// `BertModel` with absolute positions, `CLIPTextModel` and `SiglipTextModel` of transformers, in
/// names and order of operations. The projection is drawn like SCAN's of images: uniform in
/// ±√6/√(H + D), biases zero.
#[derive(Debug, Clone)]
pub struct TextTransformer {
    config: TransformerConfig,
    joint_width: usize,
    words: Embedding,
    positions: Embedding,
    /// The row that is added to every word.
    segment: Option<Tensor>,
    norm: Norm,
    layers: Vec<Layer>,
    projection: Dense,
    matmul: Matmul,
}

/// What the layers read: the pieces of captions one after the other.
struct Filled {
    ids: Vec<u32>,
    counts: Vec<usize>,
    /// The rows of the valid words, where there are others.
    valid: Option<Vec<u32>>,
}

/// Where the first numbers of the parameters come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beginning<'a> {
    /// Of a trained model; without them weights come from a normal distribution, each tensor from the
    /// stream of its own name, biases are zero, layer norms one and zero, as in the published code.
    pub(super) weights: Option<&'a Weights>,
    pub(super) draws: &'a Draws,
}

impl TextTransformer {
    /// Creates the parameters.
    ///
    /// # Errors
    /// When a tensor is missing in the weights or has another shape, or a parameter's name is taken.
    /// Parameters that were created before stay.
    pub(super) fn new(
        parameters: &mut Parameters,
        config: &TransformerConfig,
        joint_width: usize,
        from: Beginning,
    ) -> Result<Self> {
        Self::make(config, joint_width, &mut |name, shape| {
            let parameter = parameter(config, name);
            let numbers = match from.weights {
                Some(weights) if !name.starts_with(PROJECTION) => {
                    stored(weights, config, name, shape)?
                }
                _ => drawn(from.draws, config, &parameter, shape),
            };
            Ok(parameters.create(&parameter, numbers, shape)?)
        })
    }

    /// The same encoder with a model that no gradient reaches and no graph is built of; the
    /// projection goes on learning. The model's parameters stay where they are.
    ///
    /// # Errors
    /// When these are not the parameters that the encoder was created with.
    pub fn frozen(self, parameters: &Parameters) -> Result<Self> {
        let frozen = Self::make(&self.config, self.joint_width, &mut |name, _| {
            let parameter = parameter(&self.config, name);
            match parameters.get(&parameter) {
                Some(var) if name.starts_with(PROJECTION) => Ok(var.as_tensor().clone()),
                Some(var) => Ok(var.as_tensor().detach()),
                None => Err(uard_core::Error::ParameterMismatch {
                    origin: "parameters of a frozen text model".to_owned(),
                    problem: "missing",
                    name: parameter,
                }
                .into()),
            }
        })?;
        Ok(frozen.with_matmul(self.matmul))
    }

    /// An encoder of the tensors that `make` gives.
    fn make(config: &TransformerConfig, joint_width: usize, make: &mut Make) -> Result<Self> {
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let names = &config.family.tensors;
        let words = make(names.words, &[config.vocab_size, width])?;
        let positions = make(names.positions, &[config.max_position_embeddings, width])?;
        let segment = match names.segments.zip(config.type_vocab_size) {
            Some((name, rows)) => Some(make(name, &[rows, width])?.narrow(0, 0, 1)?),
            None => None,
        };
        let layers = (0..config.num_hidden_layers).map(|at| {
            let name = format!("{}.{at}", names.layers);
            Layer::make(make, &name, &names.layer, config.layer())
        });
        Ok(Self {
            config: config.clone(),
            joint_width,
            words: Embedding::new(words, width),
            positions: Embedding::new(positions, width),
            segment,
            layers: layers.collect::<Result<_>>()?,
            norm: Norm::make(make, names.norm, width, epsilon)?,
            projection: Dense::make(make, PROJECTION, [joint_width, width])?,
            matmul: Matmul::F32,
        })
    }

    /// The same encoder with other products.
    #[must_use]
    pub(super) fn with_matmul(self, matmul: Matmul) -> Self {
        Self { matmul, ..self }
    }

    /// The words of each caption as unit rows.
    ///
    /// # Shapes
    /// The rows are [C, W, D]; rows beyond a caption's count are zero. `drops` is given in
    /// training only: without it nothing is dropped.
    ///
    /// # Errors
    /// As for [`Self::states`].
    pub(super) fn forward(&self, batch: &CaptionBatch, drops: Option<Drops>) -> Result<Words> {
        let states = self.valid_states(batch, drops)?;
        let rows = self.projection.forward(&states, self.matmul)?;
        let rows = padded(&rows, batch.counts(), batch.ids().dim(1)?)?;
        Ok(Words::normalized(&rows, batch.counts().to_vec())?)
    }

    /// The state of each piece, `last_hidden_state` in Hugging Face's words.
    ///
    /// # Shapes
    /// The result is [C, W, H]; padding rows are zero.
    ///
    /// # Errors
    /// When a caption has more pieces than the model has positions, or an id is not in its
    /// vocabulary, naming the caption; or the batch is on another device.
    pub fn states(&self, batch: &CaptionBatch, drops: Option<Drops>) -> Result<Tensor> {
        let states = self.valid_states(batch, drops)?;
        padded(&states, batch.counts(), batch.ids().dim(1)?)
    }

    /// [`Self::states`] of the valid words alone, [N, H], caption after caption.
    fn valid_states(&self, batch: &CaptionBatch, drops: Option<Drops>) -> Result<Tensor> {
        let config = &self.config;
        batch.check_lengths(config.max_position_embeddings)?;
        batch.check_vocabulary(config.vocab_size)?;
        let filled = self.filled(batch);
        let dropping = self.dropping(drops)?;
        let heads = config.num_attention_heads;
        let spans = Spans::new(&filled.counts, heads, config.family.visibility);
        let norming = config.family.tensors.layer.norming;
        let mut words = self.embedded(&filled)?;
        if norming == Norming::Behind {
            words = self.norm.forward(&words)?;
        }
        if let Some(dropping) = dropping {
            words = dropping.states(&words, 0)?;
        }
        for (at, layer) in (0..).zip(&self.layers) {
            let dropping = dropping.map(|dropping| dropping.of_layer(at));
            words = layer.forward(&words, &spans, dropping, self.matmul)?;
        }
        if let Some(valid) = filled.valid {
            words = words.index_select(&Tensor::new(valid, words.device())?, 0)?;
        }
        match norming {
            Norming::Before => self.norm.forward(&words),
            Norming::Behind => Ok(words),
        }
    }

    /// Word, segment and position, added in the order of the published code.
    fn embedded(&self, filled: &Filled) -> Result<Tensor> {
        let device = self.words.embeddings().device();
        let places = filled.counts.iter().flat_map(|&count| 0..count as u32);
        let places = Tensor::new(places.collect::<Vec<u32>>(), device)?;
        let mut words = self.words.forward(&Tensor::new(&filled.ids[..], device)?)?;
        if let Some(segment) = &self.segment {
            words = words.broadcast_add(segment)?;
        }
        Ok((words + self.positions.forward(&places)?)?)
    }

    /// What a training step leaves out; `None` where nothing ever is.
    fn dropping<'a>(&self, drops: Option<Drops<'a>>) -> Result<Option<Dropping<'a>>> {
        let rates = [
            self.config.hidden_dropout_prob,
            self.config.attention_dropout,
        ];
        let drops = drops.filter(|_| rates != [0.0; 2]);
        let dropping = drops.map(|drops| {
            Ok(Dropping {
                drops,
                states: Dropout::new(rates[0])?,
                weights: Dropout::new(rates[1])?,
                first_place: 0,
            })
        });
        dropping.transpose()
    }

    fn filled(&self, batch: &CaptionBatch) -> Filled {
        let pad = match (self.config.family.length, self.config.pad_token_id) {
            (Length::Filled, Some(pad)) => pad,
            _ => {
                return Filled {
                    ids: batch.words().to_vec(),
                    counts: batch.counts().to_vec(),
                    valid: None,
                };
            }
        };
        let (captions, longest) = (batch.counts().len(), self.config.max_position_embeddings);
        let mut ids = Vec::with_capacity(captions * longest);
        let mut valid = Vec::with_capacity(batch.words().len());
        let mut words = batch.words();
        for &count in batch.counts() {
            let (caption, rest) = words.split_at(count);
            let first = ids.len();
            valid.extend((first..first + count).map(|row| row as u32));
            ids.extend_from_slice(caption);
            ids.resize(first + longest, pad);
            words = rest;
        }
        Filled {
            ids,
            counts: vec![longest; captions],
            valid: Some(valid),
        }
    }
}

/// What a tensor is called among the parameters.
fn parameter(config: &TransformerConfig, name: &str) -> String {
    match name.starts_with(PROJECTION) {
        true => name.to_owned(),
        false => format!("text.{}.{name}", config.family.encoder),
    }
}

/// The numbers of a tensor in a file: of 2018, where layer norms have `gamma` and `beta`, or later.
fn stored(
    weights: &Weights,
    config: &TransformerConfig,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>> {
    let names = &config.family.tensors;
    let prefix = stored_prefix(weights, names.prefix, names.words);
    let old = name.replace("LayerNorm.weight", "LayerNorm.gamma");
    let old = old.replace("LayerNorm.bias", "LayerNorm.beta");
    let [name, old] = [name, &old].map(|name| format!("{prefix}{name}"));
    match !weights.has(&name) && weights.has(&old) {
        true => Ok(weights.numbers(&old, shape)?),
        false => Ok(weights.numbers(&name, shape)?),
    }
}

fn drawn(draws: &Draws, config: &TransformerConfig, name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    match shape {
        [_] if name.ends_with(".bias") => vec![0.0; count],
        [_] => vec![1.0; count],
        _ => {
            let mut stream = draws.stream(name, &[]);
            if name.starts_with(PROJECTION) {
                let bound = 6f32.sqrt() / (shape.iter().sum::<usize>() as f32).sqrt();
                uniform(&mut stream, -bound, bound, count)
            } else {
                normal(&mut stream, config.initializer_range, count)
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
