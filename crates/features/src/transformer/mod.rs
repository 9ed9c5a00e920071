//! The layers of transformers, for text and for photos: attention, feed-forward, activations, norms.
//!
//! The text models of [`crate::text`] and the vision transformers of [`crate::backbone`] are stacks of
//! the same [`Layer`]. [`LayerNames`] holds the names of its tensors in each family of published
//! models. On the CPU the layers run as our own operators, elsewhere in candle's operations.

mod activation;
mod attention;
mod dense;
mod drops;
mod layer;
mod published;

use candle_core::Tensor;

pub use activation::Activation;
pub(crate) use attention::{Spans, Visibility, padded};
pub(crate) use dense::{Dense, Norm};
pub use drops::Drops;
pub(crate) use drops::StepDropout;
pub(crate) use layer::{FeedForwardKind, Layer, LayerNames, LayerShape, NormPlacement};
pub(crate) use published::{ConfigChecks, Half, PublishedConfig, stored_prefix};

/// Gives the tensor with a name and a shape: a new parameter, or one that was read from a file.
pub(crate) type MakeTensor<'a> = dyn FnMut(&str, &[usize]) -> crate::Result<Tensor> + 'a;
