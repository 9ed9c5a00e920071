//! Encodes captions as words of the joint space, with a vocabulary and a GRU, or with the pieces
//! and the transformer of a published model.

mod config;
mod encoder;
mod error;
mod family;
pub mod gru;
mod model;
mod pieces;
mod transformer;
pub mod vocabulary;
pub mod word_vectors;

pub use crate::transformer::Drops;
pub use encoder::CaptionEncoder;
pub use error::TextError;
pub use model::{CaptionWord, TextKind, TextModel};
pub use transformer::TextTransformer;
