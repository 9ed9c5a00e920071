//! What does one layer of a vision transformer, or of a text tower, do? Attention among the rows,
//! then a feed-forward part for each, both normed before and added to what they read.

use candle_core::Tensor;
use uard_linalg::matmul::Matmul;

use super::activation::Activation;
use super::attention::{SelfAttention, Spans};
use super::dense::{Dense, FeedForward};
use super::initial::Make;
use super::norm::Norm;
use crate::Result;

/// What a family of models calls the tensors of a layer.
#[derive(Debug)]
pub(crate) struct LayerNames {
    /// Of the norms before attention and before the feed-forward part.
    pub(crate) norms: [&'static str; 2],
    /// Of query, key, value, and of the layer behind attention.
    pub(crate) attention: [&'static str; 4],
    /// Of the factors behind both parts, in families that have them.
    pub(crate) scales: Option<[&'static str; 2]>,
}

impl LayerNames {
    /// CLIP and SigLIP, text and vision.
    pub(crate) const CLIP: Self = Self {
        norms: ["layer_norm1", "layer_norm2"],
        attention: [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.out_proj",
        ],
        scales: None,
    };

    /// DINOv2.
    pub(crate) const DINOV2: Self = Self {
        norms: ["norm1", "norm2"],
        attention: [
            "attention.attention.query",
            "attention.attention.key",
            "attention.attention.value",
            "attention.output.dense",
        ],
        scales: Some(["layer_scale1.lambda1", "layer_scale2.lambda1"]),
    };
}

/// The form of the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feed {
    /// `mlp.fc1`, activation, `mlp.fc2`.
    Plain,
    /// `mlp.weights_in` gives gates and what they let pass, then `mlp.weights_out` (SwiGLU).
    Gated,
}

/// The sizes of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerShape {
    /// Of the rows.
    pub(crate) width: usize,
    /// Of the feed-forward part.
    pub(crate) inside: usize,
    pub(crate) feed: Feed,
    pub(crate) activation: Activation,
    /// Of the layer norms.
    pub(crate) epsilon: f64,
}

/// One layer.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    attention_norm: Norm,
    attention: SelfAttention,
    attention_scale: Option<Tensor>,
    feed_norm: Norm,
    feed: FeedForward,
    feed_scale: Option<Tensor>,
}

impl Layer {
    pub(crate) fn make(
        make: &mut Make,
        name: &str,
        (names, shape): (&LayerNames, LayerShape),
    ) -> Result<Self> {
        let LayerShape { width, epsilon, .. } = shape;
        let of = |part: &str| format!("{name}.{part}");
        let mut norm = |which: usize| Norm::make(make, &of(names.norms[which]), (width, epsilon));
        let (attention_norm, feed_norm) = (norm(0)?, norm(1)?);
        let mut scale = |which: usize| {
            let scale = names.scales.map(|scales| of(scales[which]));
            scale.map(|scale| make(&scale, &[width])).transpose()
        };
        let (attention_scale, feed_scale) = (scale(0)?, scale(1)?);
        let parts = names.attention.map(of);
        Ok(Self {
            attention_norm,
            attention: SelfAttention::make(make, parts.each_ref().map(String::as_str), width)?,
            attention_scale,
            feed_norm,
            feed: feed(make, &of("mlp"), shape)?,
            feed_scale,
        })
    }

    /// The rows after this layer.
    ///
    /// ```text
    /// b = a + scale attend(norm(a))        c = b + scale feed(norm(b))
    /// ```
    ///
    /// # Shapes
    /// `rows` and the result are [N, H]; `factors` those of dropout, one for each cell.
    pub(crate) fn forward(
        &self,
        rows: &Tensor,
        spans: &Spans,
        factors: Option<Vec<f32>>,
        matmul: Matmul,
    ) -> Result<Tensor> {
        let normal = self.attention_norm.forward(rows)?;
        let attended = self.attention.forward(&normal, spans, factors, matmul)?;
        let rows = (rows + scaled(attended, self.attention_scale.as_ref())?)?;
        let normal = self.feed_norm.forward(&rows)?;
        let fed = self.feed.forward(&normal, matmul)?;
        Ok((rows + scaled(fed, self.feed_scale.as_ref())?)?)
    }
}

fn feed(make: &mut Make, name: &str, shape: LayerShape) -> Result<FeedForward> {
    let LayerShape { width, inside, .. } = shape;
    let mut dense = |part: &str, shape| Dense::make(make, &format!("{name}.{part}"), shape);
    Ok(match shape.feed {
        Feed::Plain => FeedForward {
            inside: dense("fc1", [inside, width])?,
            activation: shape.activation,
            gated: None,
            output: dense("fc2", [width, inside])?,
        },
        Feed::Gated => FeedForward {
            inside: dense("weights_in", [2 * inside, width])?,
            activation: Activation::Silu,
            gated: Some(inside),
            output: dense("weights_out", [width, inside])?,
        },
    })
}

fn scaled(rows: Tensor, scale: Option<&Tensor>) -> Result<Tensor> {
    Ok(match scale {
        Some(scale) => rows.broadcast_mul(scale)?,
        None => rows,
    })
}
