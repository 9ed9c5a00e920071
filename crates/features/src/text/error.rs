//! What can go wrong between a caption and its words.

use std::path::PathBuf;

/// A cause, with what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A vocabulary without one of its special words.
    #[error("{}: the vocabulary lacks `{word}`; expected <pad>, <start>, <end> and <unk> among its words", path.display())]
    MissingSpecial {
        /// The file.
        path: PathBuf,
        /// The word.
        word: &'static str,
    },
    /// A vocabulary whose indices are not 0 to n - 1, each once.
    #[error("{}: {words} words need the indices 0 to {}, each once; {problem}", path.display(), words - 1)]
    VocabularyIndices {
        /// The file.
        path: PathBuf,
        /// How many words there are, at least one.
        words: usize,
        /// The index that is missing or taken twice.
        problem: String,
    },
    /// The two directions of a vocabulary disagree.
    #[error("{}: word2idx and {field} disagree: {problem}; write the vocabulary again", path.display())]
    VocabularyDisagrees {
        /// The file.
        path: PathBuf,
        /// `idx2word` or `idx`.
        field: &'static str,
        /// Where.
        problem: String,
    },
    /// A tokenizer that cannot be read, or does not fit.
    #[error("{}: no tokenizer can be made of it: {cause}", path.display())]
    Tokenizer {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and what was expected.
        cause: String,
    },
    /// A caption that the tokenizer refuses.
    #[error("{}: the tokenizer refuses `{caption}`: {cause}", path.display())]
    Tokens {
        /// The tokenizer's file.
        path: PathBuf,
        /// The caption.
        caption: String,
        /// What the tokenizer said.
        cause: String,
    },
    /// A caption with more words than a model has positions.
    #[error(
        "caption {caption} of the batch has {words} words, the model has {positions} positions; give the tokenizer a limit of at most {positions}"
    )]
    CaptionTooLong {
        /// Its place in the batch.
        caption: usize,
        /// Its words.
        words: usize,
        /// The positions of the model.
        positions: usize,
    },
    /// A line of word vectors that is none.
    #[error("{} line {line}: expected a word and {expected} numbers, {problem}", path.display())]
    WordVectorLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The numbers of each word.
        expected: usize,
        /// What is there instead.
        problem: String,
    },
    /// A batch was made of no captions.
    #[error("a batch of captions is empty; give at least one caption")]
    EmptyBatch,
    /// A caption has no words to encode.
    #[error(
        "caption {caption} of the batch has no words; leave empty captions out, or encode them with <start> and <end>"
    )]
    CaptionWithoutWords {
        /// Its place in the batch.
        caption: usize,
    },
    /// A word's id has no row in the embedding.
    #[error(
        "caption {caption} of the batch, word {word}: id {id} is not in the vocabulary of {vocabulary}; encode captions with the vocabulary the model was made for"
    )]
    WordOutOfVocabulary {
        /// The caption's place in the batch.
        caption: usize,
        /// The word's place in the caption.
        word: usize,
        /// Its id.
        id: u32,
        /// Words in the vocabulary.
        vocabulary: usize,
    },
}
