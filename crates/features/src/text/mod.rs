//! Captions to words: tokens and vocabulary with the recurrent encoder, word pieces with the trained
//! one, and the choice between them.

pub mod bert;
pub mod encoder;
pub mod gru;
pub mod tokenizer;
pub mod tokens;
pub mod vocabulary;
pub mod word_vectors;
