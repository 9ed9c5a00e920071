//! What does one layer of a transformer do? Attention among the rows, then a feed-forward part for
//! each, both added to what they read and normed, before or behind.

use candle_core::Tensor;
use uard_linalg::matmul::Matmul;

use super::activation::Activation;
use super::attention::{SelfAttention, Spans};
use super::dense::{Dense, FeedForward, Norm};
use super::{Dropping, Make};
use crate::Result;

/// What a family of models calls the tensors of a layer, and where it norms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerNames {
    pub(crate) norming: Norming,
    /// Of the norms of attention and of the feed-forward part.
    norms: [&'static str; 2],
    /// Of query, key, value, and of the layer behind attention.
    attention: [&'static str; 4],
    /// Of the two layers of a plain feed-forward part.
    feed: [&'static str; 2],
    /// Of the factors behind both parts, in families that have them.
    scales: Option<[&'static str; 2]>,
}

/// Where rows are normed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Norming {
    /// What a part reads.
    Before,
    /// The sum of what a part reads and what it makes of it.
    Behind,
}

impl LayerNames {
    pub(crate) const BERT: Self = Self {
        norming: Norming::Behind,
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
        norming: Norming::Before,
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
pub(crate) enum Feed {
    /// A layer, the activation, a layer.
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
    attention: SelfAttention,
    around_attention: Around,
    feed: FeedForward,
    around_feed: Around,
}

/// What stands around a part: a norm, and how much of the part is added.
#[derive(Debug, Clone)]
struct Around {
    norming: Norming,
    norm: Norm,
    scale: Option<Tensor>,
}

impl Layer {
    pub(crate) fn make(
        make: &mut Make,
        name: &str,
        names: &LayerNames,
        shape: LayerShape,
    ) -> Result<Self> {
        let of = |part: &str| format!("{name}.{part}");
        let mut around = |which: usize| {
            let norm = Norm::make(make, &of(names.norms[which]), shape.width, shape.epsilon)?;
            let scale = names.scales.map(|scales| of(scales[which]));
            let scale = scale.map(|scale| make(&scale, &[shape.width]));
            Ok::<_, crate::Error>(Around {
                norming: names.norming,
                norm,
                scale: scale.transpose()?,
            })
        };
        Ok(Self {
            around_attention: around(0)?,
            around_feed: around(1)?,
            attention: SelfAttention::make(make, names.attention.map(of), shape.width)?,
            feed: feed(make, names.feed.map(of), name, shape)?,
        })
    }

    /// The rows after this layer.
    ///
    /// ```text
    /// before:  b = a + scale drop(attend(norm(a)))      c = b + scale drop(feed(norm(b)))
    /// behind:  b = norm(a + scale drop(attend(a)))      c = norm(b + scale drop(feed(b)))
    /// ```
    ///
    /// # Shapes
    /// `rows` and the result are [N, H].
    pub(crate) fn forward(
        &self,
        rows: &Tensor,
        spans: &Spans,
        dropping: Option<Dropping>,
        matmul: Matmul,
    ) -> Result<Tensor> {
        let kept = |rows: Tensor, place: u64| match dropping {
            Some(dropping) => dropping.states(&rows, place),
            None => Ok(rows),
        };
        let factors = dropping.map(|dropping| dropping.weights(spans.cells()));
        let read = self.around_attention.read(rows)?;
        let attended = self.attention.forward(&read, spans, factors, matmul)?;
        let rows = self.around_attention.add(rows, kept(attended, 1)?)?;
        let fed = self.feed.forward(&self.around_feed.read(&rows)?, matmul)?;
        self.around_feed.add(&rows, kept(fed, 2)?)
    }
}

impl Around {
    fn read(&self, rows: &Tensor) -> Result<Tensor> {
        match self.norming {
            Norming::Before => self.norm.forward(rows),
            Norming::Behind => Ok(rows.clone()),
        }
    }

    fn add(&self, rows: &Tensor, made: Tensor) -> Result<Tensor> {
        let made = match &self.scale {
            Some(scale) => made.broadcast_mul(scale)?,
            None => made,
        };
        let sum = (rows + made)?;
        match self.norming {
            Norming::Before => Ok(sum),
            Norming::Behind => self.norm.forward(&sum),
        }
    }
}

fn feed(make: &mut Make, plain: [String; 2], name: &str, shape: LayerShape) -> Result<FeedForward> {
    let (activation, gated, [inside, output]) = match shape.feed {
        Feed::Plain => (shape.activation, None, plain),
        Feed::Gated => {
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
