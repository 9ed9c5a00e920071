//! What does one layer of a BERT do with the words of a caption? Attention among them, then a
//! feed-forward part for each, both added to what they read and normalized.

use candle_core::Tensor;
use uard_core::layer_norm::layer_norm;
use uard_core::linear::linear;
use uard_core::matmul::Matmul;

use super::attention::{Projected, Spans, attend};
use super::config::BertConfig;
use super::drops::LayerDrops;
use super::model::Make;
use crate::Result;

/// A linear layer, by PyTorch's names.
#[derive(Debug, Clone)]
pub(super) struct Dense {
    weight: Tensor,
    bias: Tensor,
}

impl Dense {
    /// # Shapes
    /// `shape` is that of the weight, [D, F].
    pub(super) fn make(make: &mut Make, name: &str, shape: [usize; 2]) -> Result<Self> {
        Ok(Self {
            weight: make(&format!("{name}.weight"), &shape)?,
            bias: make(&format!("{name}.bias"), &shape[..1])?,
        })
    }

    pub(super) fn forward(&self, rows: &Tensor, matmul: Matmul) -> Result<Tensor> {
        Ok(linear(rows, (&self.weight, &self.bias), matmul)?)
    }
}

/// A layer norm with its learned spread and mean.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Norm {
    pub(super) fn make(make: &mut Make, name: &str, config: &BertConfig) -> Result<Self> {
        let shape = [config.hidden_size];
        Ok(Self {
            weight: make(&format!("{name}.weight"), &shape)?,
            bias: make(&format!("{name}.bias"), &shape)?,
            epsilon: config.layer_norm_eps,
        })
    }

    pub(super) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(layer_norm(rows, (&self.weight, &self.bias), self.epsilon)?)
    }
}

/// One layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    query: Dense,
    key: Dense,
    value: Dense,
    attended: Dense,
    attended_norm: Norm,
    intermediate: Dense,
    output: Dense,
    output_norm: Norm,
}

impl Layer {
    pub(super) fn make(make: &mut Make, name: &str, config: &BertConfig) -> Result<Self> {
        let (width, inside) = (config.hidden_size, config.intermediate_size);
        let square = [width, width];
        let attention = format!("{name}.attention");
        Ok(Self {
            query: Dense::make(make, &format!("{attention}.self.query"), square)?,
            key: Dense::make(make, &format!("{attention}.self.key"), square)?,
            value: Dense::make(make, &format!("{attention}.self.value"), square)?,
            attended: Dense::make(make, &format!("{attention}.output.dense"), square)?,
            attended_norm: Norm::make(make, &format!("{attention}.output.LayerNorm"), config)?,
            intermediate: Dense::make(
                make,
                &format!("{name}.intermediate.dense"),
                [inside, width],
            )?,
            output: Dense::make(make, &format!("{name}.output.dense"), [width, inside])?,
            output_norm: Norm::make(make, &format!("{name}.output.LayerNorm"), config)?,
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
        (config, matmul): (&BertConfig, Matmul),
    ) -> Result<Tensor> {
        let projected = Projected {
            query: self.query.forward(words, matmul)?,
            key: self.key.forward(words, matmul)?,
            value: self.value.forward(words, matmul)?,
        };
        let attended = attend(&projected, spans, drops.of_weights(spans.cells()))?;
        let attended = self.attended.forward(&attended, matmul)?;
        let words = (words + drops.after_attention(&attended)?)?;
        let words = self.attended_norm.forward(&words)?;
        let inside = self.intermediate.forward(&words, matmul)?;
        let inside = config.hidden_act.forward(&inside)?;
        let output = self.output.forward(&inside, matmul)?;
        let words = (words + drops.after_output(&output)?)?;
        self.output_norm.forward(&words)
    }
}
