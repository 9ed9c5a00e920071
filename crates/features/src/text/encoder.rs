//! The encoders that make a caption's ids into words of the joint space.

use serde::{Deserialize, Serialize};
use uard_core::Words;
use uard_core::parameters::Parameters;
use uard_core::random::Draws;
use uard_linalg::matmul::Matmul;

use super::bert::{BertEncoder, Drops, Initial};
use super::gru::{CaptionBatch, TextEncoder, TextEncoderConfig};
use super::tokenizer::CaptionTokenizer;
use super::tower::TowerEncoder;
use super::word_vectors::WordVectors;
use crate::{Error, Result};
use uard_hub::weights::Weights;

/// The encoders of captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextEncoderKind {
    /// An embedding and a bidirectional GRU, from scratch.
    #[default]
    Gru,
    /// A trained BERT, trained further.
    Bert,
    /// The text half of CLIP or SigLIP, trained further.
    Tower,
}

/// What an encoder begins with.
#[derive(Debug)]
pub enum TextStart {
    /// Drawn numbers.
    Drawn,
    /// Drawn numbers, but for words that have a vector: for the GRU.
    Vectors(WordVectors),
    /// The numbers of a trained model: for the BERT and the towers.
    Trained(Weights),
}

/// A GRU, a BERT or a tower, with the layer that ends in the joint space.
#[derive(Debug, Clone)]
pub enum CaptionEncoder {
    /// For a vocabulary.
    Gru(TextEncoder),
    /// For word pieces.
    Bert(BertEncoder),
    /// For CLIP's and SigLIP's pieces.
    Tower(TowerEncoder),
}

impl CaptionEncoder {
    /// Creates the parameters of the encoder that a tokenizer belongs to.
    ///
    /// # Errors
    /// When the start is that of another encoder or does not fit, or a parameter's name is taken.
    pub fn new(
        parameters: &mut Parameters,
        tokenizer: &CaptionTokenizer,
        sizes: TextEncoderConfig,
        start: &TextStart,
        draws: &Draws,
    ) -> Result<Self> {
        let trained = || initial(start, draws);
        match (tokenizer, start) {
            (CaptionTokenizer::Vocabulary { vocabulary, .. }, TextStart::Drawn) => {
                let encoder = TextEncoder::new(parameters, sizes, vocabulary.len(), draws);
                Ok(Self::Gru(encoder?))
            }
            (CaptionTokenizer::Vocabulary { .. }, TextStart::Vectors(vectors)) => {
                let encoder = TextEncoder::with_word_vectors(parameters, sizes, vectors, draws);
                Ok(Self::Gru(encoder?))
            }
            (CaptionTokenizer::Vocabulary { .. }, TextStart::Trained(_)) => Err(Error::TextStart {
                start: "the weights of a trained model",
                encoder: "a GRU",
            }),
            (CaptionTokenizer::Bert { config, .. }, _) => {
                let sizes = (config, sizes.joint_width);
                let encoder = BertEncoder::new(parameters, sizes, trained()?, draws)?;
                Ok(Self::Bert(encoder))
            }
            (CaptionTokenizer::Tower { config, .. }, _) => {
                let sizes = (config, sizes.joint_width);
                let encoder = TowerEncoder::new(parameters, sizes, trained()?, draws)?;
                Ok(Self::Tower(encoder))
            }
        }
    }

    /// The numbers of all parameters but biases and norms, for those who compare what a file asks
    /// for with what it holds before anything is made; sizes that overflow give the largest number.
    ///
    /// ```text
    /// GRU:         V E + 6 H (E + H)
    /// transformer: (V + P) H + L (4 H H + 2 H I) + H D
    /// ```
    pub fn least_numbers(tokenizer: &CaptionTokenizer, sizes: TextEncoderConfig) -> u64 {
        let product = |factors: &[usize]| {
            let factors = factors.iter();
            factors.fold(1u64, |all, &factor| all.saturating_mul(factor as u64))
        };
        let transformer = |vocabulary, positions, [hidden, layers, inner]: [usize; 3]| {
            [
                product(&[vocabulary, hidden]),
                product(&[positions, hidden]),
                product(&[4, layers, hidden, hidden]),
                product(&[2, layers, hidden, inner]),
                product(&[hidden, sizes.joint_width]),
            ]
        };
        let parts = match tokenizer {
            CaptionTokenizer::Vocabulary { vocabulary, .. } => [
                product(&[vocabulary.len(), sizes.word_width]),
                product(&[6, sizes.joint_width, sizes.word_width]),
                product(&[6, sizes.joint_width, sizes.joint_width]),
                0,
                0,
            ],
            CaptionTokenizer::Bert { config, .. } => transformer(
                config.vocab_size,
                config.max_position_embeddings,
                [
                    config.hidden_size,
                    config.num_hidden_layers,
                    config.intermediate_size,
                ],
            ),
            CaptionTokenizer::Tower { config, .. } => transformer(
                config.vocab_size,
                config.max_position_embeddings,
                [
                    config.hidden_size,
                    config.num_hidden_layers,
                    config.intermediate_size,
                ],
            ),
        };
        parts.into_iter().fold(0, u64::saturating_add)
    }

    /// The same encoder with other products.
    #[must_use]
    pub fn with_matmul(self, matmul: Matmul) -> Self {
        match self {
            Self::Gru(encoder) => Self::Gru(encoder.with_matmul(matmul)),
            Self::Bert(encoder) => Self::Bert(encoder.with_matmul(matmul)),
            Self::Tower(encoder) => Self::Tower(encoder.with_matmul(matmul)),
        }
    }

    /// The words of each caption as unit rows.
    ///
    /// # Shapes
    /// The rows are [C, W, D]; rows beyond a caption's count are zero. `drops` is given in training
    /// only; a GRU drops nothing.
    ///
    /// # Errors
    /// When an id is not in the vocabulary or a caption is too long, naming it, or the batch is on
    /// another device.
    pub fn forward(&self, batch: &CaptionBatch, drops: Option<Drops>) -> Result<Words> {
        match self {
            Self::Gru(encoder) => encoder.forward(batch),
            Self::Bert(encoder) => encoder.forward(batch, drops),
            Self::Tower(encoder) => encoder.forward(batch, drops),
        }
    }
}

/// Where the numbers of a pretrained model come from.
fn initial<'a>(start: &'a TextStart, draws: &'a Draws) -> Result<Initial<'a>> {
    match start {
        TextStart::Drawn => Ok(Initial::Drawn(draws)),
        TextStart::Trained(weights) => Ok(Initial::Stored(weights)),
        TextStart::Vectors(_) => Err(Error::TextStart {
            start: "word vectors",
            encoder: "a transformer",
        }),
    }
}
