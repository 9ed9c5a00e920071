//! What does one layer of a BERT do with the words of a caption? Attention among them, then a
//! feed-forward part for each, both added to what they read and normalized.

use candle_core::Tensor;
use uard_linalg::matmul::Matmul;

use super::config::BertConfig;
use super::drops::LayerDrops;
use crate::Result;
use crate::transformer::{Dense, FeedForward, Make, Norm, SelfAttention, Spans};

/// One layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    attention: SelfAttention,
    attended_norm: Norm,
    feed: FeedForward,
    output_norm: Norm,
}

impl Layer {
    pub(super) fn make(make: &mut Make, name: &str, config: &BertConfig) -> Result<Self> {
        let (width, inside) = (config.hidden_size, config.intermediate_size);
        let norm = (width, config.layer_norm_eps);
        let attention = ["self.query", "self.key", "self.value", "output.dense"];
        let attention = attention.map(|part| format!("{name}.attention.{part}"));
        let of = |part: &str| format!("{name}.{part}");
        Ok(Self {
            attention: SelfAttention::make(make, attention.each_ref().map(String::as_str), width)?,
            attended_norm: Norm::make(make, &of("attention.output.LayerNorm"), norm)?,
            feed: FeedForward {
                inside: Dense::make(make, &of("intermediate.dense"), [inside, width])?,
                activation: config.hidden_act,
                gated: None,
                output: Dense::make(make, &of("output.dense"), [width, inside])?,
            },
            output_norm: Norm::make(make, &of("output.LayerNorm"), norm)?,
        })
    }

    /// The states after this layer.
    ///
    /// ```text
    /// b = norm(a + drop(dense(attend(a))))        c = norm(b + drop(dense(act(dense(b)))))
    /// ```
    ///
    /// # Shapes
    /// `words` and the result are [N, H], N the valid words of all captions.
    pub(super) fn forward(
        &self,
        words: &Tensor,
        spans: &Spans,
        drops: LayerDrops,
        matmul: Matmul,
    ) -> Result<Tensor> {
        let factors = drops.of_weights(spans.cells());
        let attended = self.attention.forward(words, spans, factors, matmul)?;
        let words = (words + drops.after_attention(&attended)?)?;
        let words = self.attended_norm.forward(&words)?;
        let output = self.feed.forward(&words, matmul)?;
        let words = (words + drops.after_output(&output)?)?;
        self.output_norm.forward(&words)
    }
}
