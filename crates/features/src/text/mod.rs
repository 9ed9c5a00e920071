//! Captions to words: tokens and vocabulary with the recurrent encoder, word pieces with the trained
//! ones, and the choice between them.

pub mod bert;
pub mod encoder;
pub mod gru;
mod pieces;
mod states;
pub mod tokenizer;
pub mod tower;
pub mod vocabulary;
pub mod word_vectors;
