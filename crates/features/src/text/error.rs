//! Errors of captions, vocabularies, tokenizers and word vectors.

use std::path::PathBuf;

/// An error in a caption, vocabulary, tokenizer or file of word vectors, or in a batch of captions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A vocabulary lacks a special word.
    #[error("{}: the vocabulary lacks `{word}`; expected <pad>, <start>, <end> and <unk> among its words", path.display())]
    MissingSpecial {
        /// The file.
        path: PathBuf,
        /// The special word.
        word: &'static str,
    },
    /// A vocabulary whose indices are not 0 to n - 1, each once.
    #[error("{}: {words} words need the indices 0 to {}, each once; {problem}", path.display(), words - 1)]
    VocabularyIndices {
        /// The file.
        path: PathBuf,
        /// The number of words, at least one.
        words: usize,
        /// The index that is missing or used twice.
        problem: String,
    },
    /// `word2idx` and another field of a vocabulary disagree.
    #[error("{}: word2idx and {field} disagree: {problem}; write the vocabulary again", path.display())]
    VocabularyDisagrees {
        /// The file.
        path: PathBuf,
        /// `idx2word` or `idx`.
        field: &'static str,
        /// The values that disagree.
        problem: String,
    },
    /// A tokenizer that cannot be read, or does not fit the model.
    #[error("{}: not a usable tokenizer: {cause}", path.display())]
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
        /// The tokenizer's error.
        cause: String,
    },
    /// A caption with more words than a model has positions.
    #[error(
        "caption {caption} of the batch has {words} words, the model has {positions} positions; give the tokenizer a limit of at most {positions}"
    )]
    CaptionTooLong {
        /// The caption's index in the batch.
        caption: usize,
        /// The caption's number of words.
        words: usize,
        /// The number of positions of the model.
        positions: usize,
    },
    /// A malformed line in a file of word vectors.
    #[error("{} line {line}: expected a word and {expected} numbers, {problem}", path.display())]
    WordVectorLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// How many numbers each word should have.
        expected: usize,
        /// A description of what was found instead.
        problem: String,
    },
    /// A batch was made of no captions.
    #[error("a batch of captions is empty; give at least one caption")]
    EmptyBatch,
    /// A caption has no words.
    #[error(
        "caption {caption} of the batch has no words; leave empty captions out, or encode them with <start> and <end>"
    )]
    CaptionWithoutWords {
        /// The caption's index in the batch.
        caption: usize,
    },
    /// A word's id has no row in the embedding.
    #[error(
        "caption {caption} of the batch, word {word}: id {id} is not in the vocabulary of {vocabulary}; encode captions with the vocabulary the model was made for"
    )]
    WordOutOfVocabulary {
        /// The caption's index in the batch.
        caption: usize,
        /// The word's index in the caption.
        word: usize,
        /// The word's id.
        id: u32,
        /// The number of words in the vocabulary.
        vocabulary: usize,
    },
}
