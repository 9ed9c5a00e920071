//! Captions to words: tokens, vocabulary, and the recurrent encoder.

pub mod gru;
pub mod tokens;
pub mod vocabulary;
