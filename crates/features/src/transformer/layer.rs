//! One layer of a transformer: self-attention, then a feed-forward part, each with a residual
//! connection and a layer norm before or after it.

use candle_core::Tensor;
use uard_linalg::matmul::Matmul;

use super::activation::Activation;
use super::attention::{SelfAttention, Spans};
use super::dense::{Dense, FeedForward, Norm};
use super::{MakeTensor, StepDropout};
use crate::Result;

/// The names of a layer's tensors in a family of models, and the placement of its norms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerNames {
    pub(crate) norm_placement: NormPlacement,
    /// The norms of attention and of the feed-forward part.
    norms: [&'static str; 2],
    /// The layers of query, key, value and output.
    attention: [&'static str; 4],
    /// The two layers of a plain feed-forward part.
    feed: [&'static str; 2],
    /// The factors of the outputs of both parts (layer scale), in families that have them.
    scales: Option<[&'static str; 2]>,
}

/// Which rows a part's layer norm is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormPlacement {
    /// The input of the part (pre-norm).
    Before,
    /// The sum of the part's input and output (post-norm).
    After,
}

impl LayerNames {
    pub(crate) const BERT: Self = Self {
        norm_placement: NormPlacement::After,
        norms: ["attention.output.LayerNorm", "output.LayerNorm"],
        attention: [
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
        ],
        feed: ["intermediate.dense", "output.dense"],
        scales: None,
    };

    /// CLIP and SigLIP, text and vision.
    pub(crate) const CLIP: Self = Self {
        norm_placement: NormPlacement::Before,
        norms: ["layer_norm1", "layer_norm2"],
        attention: [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.out_proj",
        ],
        feed: ["mlp.fc1", "mlp.fc2"],
        scales: None,
    };

    pub(crate) const DINOV2: Self = Self {
        norms: ["norm1", "norm2"],
        attention: [
            "attention.attention.query",
            "attention.attention.key",
            "attention.attention.value",
            "attention.output.dense",
        ],
        scales: Some(["layer_scale1.lambda1", "layer_scale2.lambda1"]),
        ..Self::CLIP
    };
}

/// The form of the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeedForwardKind {
    /// A layer, the activation, a layer.
    Plain,
    /// `mlp.weights_in` computes gates and the numbers that they multiply, then `mlp.weights_out`
    /// reads the products (SwiGLU).
    Gated,
}

/// The sizes of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerShape {
    /// Width H of the rows.
    pub(crate) width: usize,
    /// Width inside the feed-forward part.
    pub(crate) inside: usize,
    pub(crate) feed: FeedForwardKind,
    pub(crate) activation: Activation,
    /// Added to the variance in the layer norms.
    pub(crate) epsilon: f64,
}

/// One layer of a transformer.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    attention: SelfAttention,
    attention_residual: Residual,
    feed: FeedForward,
    feed_residual: Residual,
}

/// The residual connection around a part, with its layer norm.
#[derive(Debug, Clone)]
struct Residual {
    norm_placement: NormPlacement,
    norm: Norm,
    /// A factor of the part's output, `[H]`.
    scale: Option<Tensor>,
}

impl Layer {
    pub(crate) fn make(
        make: &mut MakeTensor,
        name: &str,
        names: &LayerNames,
        shape: LayerShape,
    ) -> Result<Self> {
        let full_name = |part: &str| format!("{name}.{part}");
        let mut residual = |which: usize| {
            let norm = full_name(names.norms[which]);
            let norm = Norm::make(make, &norm, shape.width, shape.epsilon)?;
            let scale = names.scales.map(|scales| full_name(scales[which]));
            let scale = scale.map(|scale| make(&scale, &[shape.width]));
            Ok::<_, crate::Error>(Residual {
                norm_placement: names.norm_placement,
                norm,
                scale: scale.transpose()?,
            })
        };
        Ok(Self {
            attention_residual: residual(0)?,
            feed_residual: residual(1)?,
            attention: SelfAttention::make(make, names.attention.map(full_name), shape.width)?,
            feed: feed_forward(make, names.feed.map(full_name), name, shape)?,
        })
    }

    /// The rows after this layer.
    ///
    /// ```text
    /// before:  b = a + scale drop(attend(norm(a)))      c = b + scale drop(feed(norm(b)))
    /// after:   b = norm(a + scale drop(attend(a)))      c = norm(b + scale drop(feed(b)))
    /// ```
    ///
    /// # Shapes
    /// `rows` and the result are [N, H].
    pub(crate) fn forward(
        &self,
        rows: &Tensor,
        spans: &Spans,
        dropout: Option<StepDropout>,
        matmul: Matmul,
    ) -> Result<Tensor> {
        let dropped = |rows: Tensor, place: u64| match dropout {
            Some(dropout) => dropout.states(&rows, place),
            None => Ok(rows),
        };
        let factors = dropout.map(|dropout| dropout.weights(spans.cells()));
        let input = self.attention_residual.part_input(rows)?;
        let attended = self.attention.forward(&input, spans, factors, matmul)?;
        let rows = self.attention_residual.add(rows, dropped(attended, 1)?)?;
        let input = self.feed_residual.part_input(&rows)?;
        let output = self.feed.forward(&input, matmul)?;
        self.feed_residual.add(&rows, dropped(output, 2)?)
    }
}

impl Residual {
    /// The rows that the part reads.
    fn part_input(&self, rows: &Tensor) -> Result<Tensor> {
        match self.norm_placement {
            NormPlacement::Before => self.norm.forward(rows),
            NormPlacement::After => Ok(rows.clone()),
        }
    }

    /// The sum of the rows and the part's output.
    fn add(&self, rows: &Tensor, output: Tensor) -> Result<Tensor> {
        let output = match &self.scale {
            Some(scale) => output.broadcast_mul(scale)?,
            None => output,
        };
        let sum = (rows + output)?;
        match self.norm_placement {
            NormPlacement::Before => Ok(sum),
            NormPlacement::After => self.norm.forward(&sum),
        }
    }
}

/// The feed-forward part of the layer `name`; `plain` are the names of its two layers unless it is
/// gated.
fn feed_forward(
    make: &mut MakeTensor,
    plain: [String; 2],
    name: &str,
    shape: LayerShape,
) -> Result<FeedForward> {
    let (activation, gated, [inside, output]) = match shape.feed {
        FeedForwardKind::Plain => (shape.activation, None, plain),
        FeedForwardKind::Gated => {
            let names = ["weights_in", "weights_out"].map(|part| format!("{name}.mlp.{part}"));
            (Activation::Silu, Some(shape.inside), names)
        }
    };
    let twice = if gated.is_some() { 2 } else { 1 };
    Ok(FeedForward {
        inside: Dense::make(make, &inside, [twice * shape.inside, shape.width])?,
        activation,
        gated,
        output: Dense::make(make, &output, [shape.width, shape.inside])?,
    })
}
