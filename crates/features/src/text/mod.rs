//! Captions to words: tokens and vocabulary with the recurrent encoder, word pieces
//! with the trained ones.

pub mod bert;
pub mod gru;
mod pieces;
mod states;
pub mod tokens;
pub mod tower;
pub mod vocabulary;
pub mod word_vectors;
