//! Which numbers of a BERT does a training step leave out? Each place has its own stream of draws.

use candle_core::Tensor;
use uard_core::dropout::Dropout;

use super::config::BertConfig;
use crate::Result;
use crate::transformer::Drops;

const LABEL: &str = "bert.dropout";

/// Both rates, and the draws where a step is a training step.
#[derive(Debug, Clone, Copy)]
pub(super) struct ModelDrops<'a> {
    drops: Option<Drops<'a>>,
    of_states: Dropout,
    of_weights: Dropout,
}

impl<'a> ModelDrops<'a> {
    pub(super) fn new(config: &BertConfig, drops: Option<Drops<'a>>) -> Result<Self> {
        Ok(Self {
            drops,
            of_states: Dropout::new(config.hidden_dropout_prob)?,
            of_weights: Dropout::new(config.attention_probs_dropout_prob)?,
        })
    }

    pub(super) fn after_embeddings(self, words: &Tensor) -> Result<Tensor> {
        self.states(words, 0)
    }

    pub(super) fn of_layer(self, layer: usize) -> LayerDrops<'a> {
        LayerDrops {
            drops: self,
            first_place: 1 + 3 * layer as u64,
        }
    }

    fn states(self, words: &Tensor, place: u64) -> Result<Tensor> {
        Ok(match self.drops {
            Some(drops) => self.of_states.forward(words, &drops.stream(LABEL, place))?,
            None => words.clone(),
        })
    }
}

/// The three places of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerDrops<'a> {
    drops: ModelDrops<'a>,
    first_place: u64,
}

impl LayerDrops<'_> {
    /// Factors of attention's weights.
    pub(super) fn of_weights(self, cells: usize) -> Option<Vec<f32>> {
        let drops = self.drops.drops?;
        let stream = drops.stream(LABEL, self.first_place);
        Some(self.drops.of_weights.factors(&stream, cells))
    }

    pub(super) fn after_attention(self, words: &Tensor) -> Result<Tensor> {
        self.drops.states(words, self.first_place + 1)
    }

    pub(super) fn after_output(self, words: &Tensor) -> Result<Tensor> {
        self.drops.states(words, self.first_place + 2)
    }
}
