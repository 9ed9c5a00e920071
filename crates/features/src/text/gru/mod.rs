//! The GRU encoder: an embedding and a bidirectional GRU, from captions to words of the joint space.
//!
//! Start at [`TextEncoder`]. The recurrence exists three times: scalar, as the reference of the tests
//! (`tests/reference.rs`); fast, for the CPU ([`operator`]); and in candle's operations for other
//! devices, with a kernel for the gates on CUDA ([`composed`]). The last two share everything but the
//! time steps (`pass.rs`).

mod batch;
mod cell;
pub mod composed;
#[cfg(feature = "cuda-kernels")]
#[allow(unsafe_code, reason = "starts kernels on a GPU")]
pub mod kernel;
pub mod operator;
mod pass;
mod schedule;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use uard_core::Words;
use uard_core::parameters::Parameters;
use uard_core::random::{Draws, uniform};
use uard_linalg::matmul::Matmul;

pub use batch::CaptionBatch;

use self::operator::PackedWeights;
use crate::text::word_vectors::WordVectors;
use crate::{Error, Result};

const EMBEDDING: &str = "text.embedding.weight";

/// Embeddings are drawn uniformly between minus and plus this (SCAN, `EncoderText.init_weights`).
const EMBEDDING_BOUND: f32 = 0.1;

/// The sizes of a text encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextEncoderConfig {
    /// Width E of a word's embedding.
    pub word_width: usize,
    /// Joint width H, called D outside of the text encoders.
    pub joint_width: usize,
}

impl Default for TextEncoderConfig {
    /// Embeddings of width 300, a joint space of width 1024.
    fn default() -> Self {
        Self {
            word_width: 300,
            joint_width: 1024,
        }
    }
}

/// Encodes words of captions as unit vectors: an embedding, then one bidirectional GRU layer whose
/// directions are averaged.
///
/// The parameters are `text.embedding.weight` [V, E] and, with PyTorch's names, meanings and order
/// of gates (r, z, n), `text.gru.{weight_ih [3H, E], weight_hh [3H, H], bias_ih [3H],
/// bias_hh [3H]}` and the same with `_reverse`.
///
/// # Source
/// SCAN's `EncoderText`: embedding uniform in ±0.1, GRU uniform in ±1/√H. Padding is not computed:
/// the reverse direction starts at a caption's last word, as with PyTorch's packed sequences.
#[derive(Debug, Clone)]
pub struct TextEncoder {
    /// The embedding of words, [V, E].
    embedding: Tensor,
    /// The forward direction, from the first word to the last, and the reverse direction.
    directions: [Direction; 2],
    matmul: Matmul,
    /// The weights of both directions as the CPU multiplies them; none while they may change.
    packed: Option<Arc<[PackedWeights<f32>; 2]>>,
}

/// The parameters of one direction; gates in the order r, z, n.
#[derive(Debug, Clone)]
struct Direction {
    /// Weights of words, [3H, E].
    weight_ih: Tensor,
    /// Weights of states, [3H, H].
    weight_hh: Tensor,
    /// Added to the products of words, `[3H]`.
    bias_ih: Tensor,
    /// Added to the products of states, `[3H]`.
    bias_hh: Tensor,
}

impl TextEncoder {
    /// Creates the parameters. Each is drawn from the random stream that has its name as label.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(
        parameters: &mut Parameters,
        config: TextEncoderConfig,
        vocabulary_len: usize,
        draws: &Draws,
    ) -> Result<Self> {
        let embedding = drawn_embedding(config, vocabulary_len, draws);
        Self::with_embedding(parameters, config, embedding, draws)
    }

    /// Creates the parameters as [`TextEncoder::new`] does, but for words that have a vector in
    /// `vectors`: this vector is their embedding.
    ///
    /// # Errors
    /// When the vectors have another width than the configuration's `word_width`, or a parameter's
    /// name is taken.
    pub fn with_word_vectors(
        parameters: &mut Parameters,
        config: TextEncoderConfig,
        vectors: &WordVectors,
        draws: &Draws,
    ) -> Result<Self> {
        if vectors.width() != config.word_width {
            return Err(Error::Core(uard_core::Error::ShapeMismatch {
                tensor: "word vectors".to_owned(),
                axis: "E",
                expected: config.word_width,
                found: vectors.width(),
            }));
        }
        let mut embedding = drawn_embedding(config, vectors.words(), draws);
        let rows = embedding.chunks_exact_mut(config.word_width.max(1));
        for (row, id) in rows.zip(0..) {
            if let Some(vector) = vectors.get(id) {
                row.copy_from_slice(vector);
            }
        }
        Self::with_embedding(parameters, config, embedding, draws)
    }

    /// Creates the parameters with an embedding of V x E numbers, row-major.
    fn with_embedding(
        parameters: &mut Parameters,
        config: TextEncoderConfig,
        embedding: Vec<f32>,
        draws: &Draws,
    ) -> Result<Self> {
        let shape = [
            embedding.len() / config.word_width.max(1),
            config.word_width,
        ];
        let embedding = parameters.create(EMBEDDING, embedding, &shape)?;
        let directions = [
            direction(parameters, config, "", draws)?,
            direction(parameters, config, "_reverse", draws)?,
        ];
        Ok(Self {
            embedding,
            directions,
            matmul: Matmul::F32,
            packed: None,
        })
    }

    /// The same encoder with this precision of its matrix products.
    #[must_use]
    pub fn with_matmul(self, matmul: Matmul) -> Self {
        Self {
            matmul,
            packed: None,
            ..self
        }
    }

    /// The same encoder for parameters that do not change any more: their weights are packed once, and
    /// not for each batch. Does nothing on a GPU, or for f64.
    ///
    /// # Errors
    /// When candle reports an error.
    pub fn frozen(self) -> Result<Self> {
        let is_packed = self.embedding.device().is_cpu() && self.embedding.dtype() == DType::F32;
        if !is_packed {
            return Ok(self);
        }
        let pack = |direction| PackedWeights::new(self.matmul, direction);
        let [forward, reverse] = self.directions.each_ref().map(pack);
        Ok(Self {
            packed: Some(Arc::new([forward?, reverse?])),
            ..self
        })
    }

    /// Computes the words of each caption as unit vectors, the rows of the result.
    ///
    /// # Shapes
    /// The rows are [C, W, H]; rows beyond a caption's count are zero.
    ///
    /// # Errors
    /// When an id is not in the vocabulary (the error names its caption and position), or the batch
    /// is on another device.
    pub fn forward(&self, batch: &CaptionBatch) -> Result<Words> {
        let average = match self.embedding.device() {
            Device::Cpu => operator::average(self, batch)?,
            _ => composed::average(self, batch)?,
        };
        Ok(Words::normalized(&average, batch.counts().to_vec())?)
    }

    /// All parameters: the embedding, then those of each direction.
    fn parameters(&self) -> Vec<&Tensor> {
        let directions = self.directions.iter().flat_map(Direction::parameters);
        std::iter::once(&self.embedding).chain(directions).collect()
    }
}

impl Direction {
    fn parameters(&self) -> [&Tensor; 4] {
        let Self {
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
        } = self;
        [weight_ih, weight_hh, bias_ih, bias_hh]
    }

    fn mapped(&self, map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self {
            weight_ih: map(&self.weight_ih)?,
            weight_hh: map(&self.weight_hh)?,
            bias_ih: map(&self.bias_ih)?,
            bias_hh: map(&self.bias_hh)?,
        })
    }
}

fn drawn_embedding(config: TextEncoderConfig, vocabulary_len: usize, draws: &Draws) -> Vec<f32> {
    let mut stream = draws.stream(EMBEDDING, &[]);
    let count = vocabulary_len * config.word_width;
    uniform(&mut stream, -EMBEDDING_BOUND, EMBEDDING_BOUND, count)
}

fn direction(
    parameters: &mut Parameters,
    config: TextEncoderConfig,
    suffix: &str,
    draws: &Draws,
) -> Result<Direction> {
    let (word, joint) = (config.word_width, config.joint_width);
    let bound = 1.0 / (joint as f32).sqrt();
    let mut draw = |name: &str, shape: &[usize]| {
        let name = format!("text.gru.{name}{suffix}");
        let count = shape.iter().product();
        let values = uniform(&mut draws.stream(&name, &[]), -bound, bound, count);
        parameters.create(&name, values, shape)
    };
    Ok(Direction {
        weight_ih: draw("weight_ih", &[3 * joint, word])?,
        weight_hh: draw("weight_hh", &[3 * joint, joint])?,
        bias_ih: draw("bias_ih", &[3 * joint])?,
        bias_hh: draw("bias_hh", &[3 * joint])?,
    })
}

#[cfg(test)]
mod tests;
