//! Captions to words: tokens and vocabulary with the recurrent encoder, word pieces with the trained one.

pub mod bert;
pub mod gru;
mod states;
pub mod tokens;
pub mod vocabulary;
pub mod word_vectors;
