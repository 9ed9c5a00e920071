//! What can go wrong between a photo or a caption and its fragments.

use std::path::{Path, PathBuf};

use uard_files::FileError;

use crate::extract::ExtractError;

/// A cause, with the file and what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    /// A configuration of a published model that cannot be, or is not read.
    #[error("{}: `{key}`: expected {expected}, found {found}", path.display())]
    ModelConfig {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What was needed.
        expected: String,
        /// What is there.
        found: String,
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
    /// A network was asked for none of its maps.
    #[error("no stage of the network was asked for; name at least one of C2 to C5")]
    NoStage,
    /// Fewer pixels than a window of a network has.
    #[error(
        "{height} x {width} pixels are too few for the network: one of its windows does not fit once; resize photos to more"
    )]
    TooFewPixels {
        /// Rows of pixels.
        height: usize,
        /// Columns of pixels.
        width: usize,
    },
    /// Pixels of another size than a network was built for.
    #[error(
        "{} x {} pixels, expected {} x {}: the network has places for no others", found.0, found.1, expected.0, expected.1
    )]
    OtherPixels {
        /// Height and width.
        expected: (usize, usize),
        /// Height and width.
        found: (usize, usize),
    },
    /// A photo that cannot be read.
    #[error("{origin}: not a photo that can be read: {cause}")]
    UnreadablePhoto {
        /// The file.
        origin: String,
        /// Why.
        cause: String,
    },
    /// A size of photos that cannot be.
    #[error(
        "photos cannot be made into {fit:?}: sides are 1 to 4096 pixels, and a crop is no larger than what it is cut from"
    )]
    Preprocessing {
        /// What was asked for.
        fit: crate::backbone::Fit,
    },
    /// A photo that cannot be resized.
    #[error("a photo of {width} x {height} pixels cannot be resized: {cause}")]
    Resize {
        /// Of the photo.
        width: u32,
        /// Of the photo.
        height: u32,
        /// What the resizer said.
        cause: String,
    },
    /// A grid that is finer than the map that it is made of.
    #[error("a grid of {side} x {side} regions cannot be made of a map of {height} x {width} cells; ask for 1 to {}", (*height).min(*width))]
    GridSide {
        /// The grid's side.
        side: usize,
        /// Of the map.
        height: usize,
        /// Of the map.
        width: usize,
    },
    /// A detector cannot be, or cannot say what is in a photo.
    #[error(transparent)]
    Detector(#[from] crate::detector::DetectorError),
    /// Photos on their way to features.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// A shape or parameter does not fit.
    #[error(transparent)]
    Core(#[from] uard_core::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A file cannot be read or written, or is of another kind.
    #[error(transparent)]
    File(#[from] FileError),
    /// Features or captions cannot be read or written.
    #[error(transparent)]
    Data(#[from] uard_data::Error),
    /// A trained network, or its way from a hub.
    #[error(transparent)]
    Hub(#[from] uard_hub::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err`: names the file and what was being done to it.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let name = FileError::io(path, action);
        move |source| name(source).into()
    }
}
