//! What are transformers made of, for text and for pixels? Attention, layers, activations and norms
//! that read the names of published models.
//!
//! [`text::bert`](crate::text::bert) norms behind each part, as it was published;
//! [`text::tower`](crate::text::tower) and the vision transformers of [`crate::backbone`] norm before it,
//! and share their layers. On the CPU everything runs as own operators, elsewhere in candle's
//! operations.

mod activation;
mod attention;
mod checks;
mod dense;
mod drops;
mod error;
mod initial;
mod layer;
mod norm;
mod published;

pub use activation::Activation;
pub(crate) use attention::{SelfAttention, Spans, Visibility};
pub(crate) use checks::Checks;
pub(crate) use dense::{Dense, FeedForward};
pub use drops::Drops;
pub use error::TransformerError;
pub use initial::Initial;
pub(crate) use initial::Make;
pub(crate) use layer::{Feed, Layer, LayerNames, LayerShape};
pub(crate) use norm::Norm;
pub(crate) use published::{Half, Published};
