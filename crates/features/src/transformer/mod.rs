//! What are transformers made of, for text and for pixels? Attention, layers, activations and norms
//! that read the names of published models.
//!
//! The text models of [`crate::text`] and the vision transformers of [`crate::backbone`] are stacks of
//! the same [`Layer`]; what their families call its tensors, and where they norm, is the table
//! [`LayerNames`]. On the CPU everything runs as own operators, elsewhere in candle's operations.

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
pub(crate) use drops::Dropping;
pub use drops::Drops;
pub(crate) use layer::{Feed, Layer, LayerNames, LayerShape, Norming};
pub(crate) use published::{Checks, Half, Published, stored_prefix};

/// Gives the tensor of a name and shape.
pub(crate) type Make<'a> = dyn FnMut(&str, &[usize]) -> crate::Result<Tensor> + 'a;
