//! `TextTransformer`: a published language model, trained further, and a linear layer from its states
//! to words of the joint space.

use candle_core::Tensor;
use candle_nn::{Embedding, Module};
use uard_core::Words;
use uard_core::dropout::Dropout;
use uard_core::parameters::Parameters;
use uard_core::random::{Draws, normal, uniform};
use uard_linalg::matmul::Matmul;

use super::config::TransformerConfig;
use super::family::SequenceLength;
use super::gru::CaptionBatch;
use crate::Result;
use crate::transformer::{
    Dense, Drops, Layer, MakeTensor, Norm, NormPlacement, Spans, StepDropout, padded, stored_prefix,
};
use uard_hub::weights::Weights;

/// The name of the projection.
const PROJECTION: &str = "text.projection";

/// Encodes words of captions as unit vectors: a BERT or the text half of CLIP or SigLIP, then a
/// linear layer, whose outputs are scaled to unit length.
///
/// The parameters have Hugging Face's names after `text.bert.` or `text.tower.`, so that a group of
/// the optimizer can give them a learning rate of their own. The projection is
/// `text.projection.weight` [D, H] and `text.projection.bias` `[D]`. The pooler, the heads after the
/// model, and CLIP's projection of whole captions are not read. Special pieces are words.
///
/// Only valid words are computed, one caption after the other without padding, so that the ids of
/// padding have no influence. A caption of SigLIP is filled with SigLIP's own padding up to the
/// last position; its words attend to this padding, as in the training of SigLIP.
///
/// # Source
/// `BertModel` with absolute positions, `CLIPTextModel` and `SiglipTextModel` of transformers, in
/// names and order of operations. The projection is drawn like SCAN's of images: uniform in
/// ±√6/√(H + D), biases zero.
#[derive(Debug, Clone)]
pub struct TextTransformer {
    config: TransformerConfig,
    words: Embedding,
    positions: Embedding,
    /// The embedding [1, H] of segment 0, which is added to every word.
    segment: Option<Tensor>,
    norm: Norm,
    layers: Vec<Layer>,
    projection: Dense,
    matmul: Matmul,
}

/// The input of the layers: the pieces of the captions one after the other.
struct LayerInput {
    ids: Vec<u32>,
    /// The number of pieces of each caption, padding of SigLIP included.
    counts: Vec<usize>,
    /// The rows of the valid words; `None` if all rows are.
    valid: Option<Vec<u32>>,
}

/// The first values of the parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct InitialWeights<'a> {
    /// The weights of a trained model. Without them, weights are drawn from a normal distribution,
    /// each tensor from the random stream that has its name as label; biases are zero, and layer
    /// norms have scale one and shift zero, as in the published code.
    pub(super) stored: Option<&'a Weights>,
    /// The random streams of the projection, and of weights that are not stored.
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
        initial: InitialWeights,
    ) -> Result<Self> {
        Self::make(config, joint_width, &mut |name, shape| {
            let parameter = parameter_name(config, name);
            let numbers = match initial.stored {
                Some(weights) if !name.starts_with(PROJECTION) => {
                    stored(weights, config, name, shape)?
                }
                _ => drawn(initial.draws, config, &parameter, shape),
            };
            Ok(parameters.create(&parameter, numbers, shape)?)
        })
    }

    /// An encoder with the tensors that `make` gives.
    fn make(config: &TransformerConfig, joint_width: usize, make: &mut MakeTensor) -> Result<Self> {
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
            words: Embedding::new(words, width),
            positions: Embedding::new(positions, width),
            segment,
            layers: layers.collect::<Result<_>>()?,
            norm: Norm::make(make, names.norm, width, epsilon)?,
            projection: Dense::make(make, PROJECTION, [joint_width, width])?,
            matmul: Matmul::F32,
        })
    }

    /// The same encoder with this precision of its matrix products.
    #[must_use]
    pub(super) fn with_matmul(self, matmul: Matmul) -> Self {
        Self { matmul, ..self }
    }

    /// Computes the words of each caption as unit vectors, the rows of the result.
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

    /// The state of each piece, which Hugging Face calls `last_hidden_state`.
    ///
    /// # Shapes
    /// The result is [C, W, H]; padding rows are zero.
    ///
    /// # Errors
    /// When a caption has more pieces than the model has positions, or an id is not in its vocabulary
    /// (the error names the caption), or the batch is on another device.
    pub fn states(&self, batch: &CaptionBatch, drops: Option<Drops>) -> Result<Tensor> {
        let states = self.valid_states(batch, drops)?;
        padded(&states, batch.counts(), batch.ids().dim(1)?)
    }

    /// [`Self::states`] of the valid words alone, [N, H], caption after caption.
    fn valid_states(&self, batch: &CaptionBatch, drops: Option<Drops>) -> Result<Tensor> {
        let config = &self.config;
        batch.check_lengths(config.max_position_embeddings)?;
        batch.check_vocabulary(config.vocab_size)?;
        let layer_input = self.layer_input(batch);
        let dropout = self.dropout(drops)?;
        let heads = config.num_attention_heads;
        let spans = Spans::new(&layer_input.counts, heads, config.family.visibility);
        let norm_placement = config.family.tensors.layer.norm_placement;
        let mut words = self.embedded(&layer_input)?;
        if norm_placement == NormPlacement::After {
            words = self.norm.forward(&words)?;
        }
        if let Some(dropout) = dropout {
            words = dropout.states(&words, 0)?;
        }
        for (at, layer) in (0..).zip(&self.layers) {
            let dropout = dropout.map(|dropout| dropout.for_layer(at));
            words = layer.forward(&words, &spans, dropout, self.matmul)?;
        }
        if let Some(valid) = layer_input.valid {
            words = words.index_select(&Tensor::new(valid, words.device())?, 0)?;
        }
        match norm_placement {
            NormPlacement::Before => self.norm.forward(&words),
            NormPlacement::After => Ok(words),
        }
    }

    /// The sums of word, segment and position embeddings [N, H], added in the order of the published
    /// code.
    fn embedded(&self, layer_input: &LayerInput) -> Result<Tensor> {
        let device = self.words.embeddings().device();
        let positions = layer_input.counts.iter().flat_map(|&count| 0..count as u32);
        let positions = Tensor::new(positions.collect::<Vec<u32>>(), device)?;
        let mut words = self
            .words
            .forward(&Tensor::new(&layer_input.ids[..], device)?)?;
        if let Some(segment) = &self.segment {
            words = words.broadcast_add(segment)?;
        }
        Ok((words + self.positions.forward(&positions)?)?)
    }

    /// The dropout of a training step; `None` if all rates are zero.
    fn dropout<'a>(&self, drops: Option<Drops<'a>>) -> Result<Option<StepDropout<'a>>> {
        let rates = [
            self.config.hidden_dropout_prob,
            self.config.attention_dropout,
        ];
        let drops = drops.filter(|_| rates != [0.0; 2]);
        let dropout = drops.map(|drops| {
            Ok(StepDropout {
                drops,
                states: Dropout::new(rates[0])?,
                weights: Dropout::new(rates[1])?,
                first_place: 0,
            })
        });
        dropout.transpose()
    }

    fn layer_input(&self, batch: &CaptionBatch) -> LayerInput {
        let pad = match (self.config.family.length, self.config.pad_token_id) {
            (SequenceLength::Maximum, Some(pad)) => pad,
            _ => {
                return LayerInput {
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
        LayerInput {
            ids,
            counts: vec![longest; captions],
            valid: Some(valid),
        }
    }
}

/// The name of a tensor among the parameters.
fn parameter_name(config: &TransformerConfig, name: &str) -> String {
    match name.starts_with(PROJECTION) {
        true => name.to_owned(),
        false => format!("text.{}.{name}", config.family.encoder),
    }
}

/// The numbers of a tensor in a file. In files of 2018, layer norms have `gamma` and `beta` in place
/// of `weight` and `bias`.
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
