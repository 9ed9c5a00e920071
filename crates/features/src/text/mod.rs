//! Captions to words: tokens and vocabulary with the recurrent encoder, the pieces of published models
//! with theirs, and the choice between them.

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
