//! What can go wrong between a file or a caption and its fragments.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::extract::ExtractError;

/// A cause, with the file and what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done: `open`, `read`, `write`, …
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that a split needs is not there.
    #[error("{}: no such file; a split `{split}` needs {needed} there", path.display())]
    MissingFile {
        /// What was looked for.
        path: PathBuf,
        /// The split.
        split: String,
        /// What the file holds.
        needed: &'static str,
    },
    /// A data directory is not there.
    #[error("{}: no such directory; looked there for {split}_ims.npy or {split}_store/, and {split}_caps.txt", path.display())]
    MissingDirectory {
        /// What was looked for.
        path: PathBuf,
        /// The split.
        split: String,
    },
    /// A file of another kind: a failed download, or one that was not unpacked.
    #[error("{}: expected {expected}, found {found}", path.display())]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// What was needed.
        expected: &'static str,
        /// What it is, and how to come to the one that was meant.
        found: &'static str,
    },
    /// The first bytes are not those of an npy file.
    #[error("{}: not an npy file of version 1 to 3: {cause}; write it with numpy.save", path.display())]
    NpyHeader {
        /// The file.
        path: PathBuf,
        /// What is wrong with the header.
        cause: String,
    },
    /// An array of Python objects.
    #[error("{}: an object array (dtype {found}): its numbers are pickled, which only Python can read; expected {expected}. Convert it with numpy.save(path, numpy.stack(array).astype('float32'))", path.display())]
    ObjectArray {
        /// The file.
        path: PathBuf,
        /// The dtype in the file.
        found: String,
        /// The dtypes that can be read.
        expected: &'static str,
    },
    /// A dtype that is not read.
    #[error("{}: expected dtype {expected}, found {found}; convert it with array.astype(...) before numpy.save", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The dtypes that can be read.
        expected: &'static str,
        /// The dtype in the file.
        found: String,
    },
    /// A big-endian array.
    #[error("{}: expected little-endian dtype {expected}, found big-endian {found}; convert it with array.astype(array.dtype.newbyteorder('<'))", path.display())]
    BigEndian {
        /// The file.
        path: PathBuf,
        /// The dtypes that can be read.
        expected: &'static str,
        /// The dtype in the file.
        found: String,
    },
    /// An array whose first axis varies fastest.
    #[error("{}: expected C order, found Fortran order; convert it with numpy.save(path, numpy.ascontiguousarray(array))", path.display())]
    FortranOrder {
        /// The file.
        path: PathBuf,
    },
    /// An array with another number of axes.
    #[error("{}: expected {expected} axes ({axes}), found {} in shape {}", path.display(), shape.len(), Tuple(shape))]
    Rank {
        /// The file.
        path: PathBuf,
        /// The number of axes that was needed.
        expected: usize,
        /// Their meaning.
        axes: &'static str,
        /// The shape in the file.
        shape: Vec<usize>,
    },
    /// A file that is shorter than its header promises.
    #[error("{}: truncated: shape {} of {dtype} needs {needed} bytes after the header, the file has {found}; download or copy it again", path.display(), Tuple(shape))]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The shape in the header.
        shape: Vec<usize>,
        /// The dtype in the header.
        dtype: &'static str,
        /// Bytes that the shape needs.
        needed: u128,
        /// Bytes after the header.
        found: u64,
    },
    /// A file that is longer than its header promises.
    #[error("{}: too long: shape {} of {dtype} needs {needed} bytes after the header, the file has {found}; its header belongs to another array, so write it again", path.display(), Tuple(shape))]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The shape in the header.
        shape: Vec<usize>,
        /// The dtype in the header.
        dtype: &'static str,
        /// Bytes that the shape needs.
        needed: u128,
        /// Bytes after the header.
        found: u64,
    },
    /// An array with another shape than its split has.
    #[error("{}: expected shape {}, found {}; {origin}", path.display(), Tuple(expected), Tuple(found))]
    ArrayShape {
        /// The file.
        path: PathBuf,
        /// The shape that was needed.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
        /// Where the expectation comes from.
        origin: String,
    },
    /// An array along one axis of which nothing lies.
    #[error("{}: shape {} is empty; expected at least one of each of {axes}", path.display(), Tuple(shape))]
    EmptyArray {
        /// The file.
        path: PathBuf,
        /// The shape in the file.
        shape: Vec<usize>,
        /// The meaning of the axes.
        axes: &'static str,
    },
    /// A write of more or fewer numbers than the header promises.
    #[error("{}: shape {} holds {expected} numbers, {found} were written", path.display(), Tuple(shape))]
    WrittenCount {
        /// The file.
        path: PathBuf,
        /// The shape in the header.
        shape: Vec<usize>,
        /// The numbers that the shape holds.
        expected: usize,
        /// The numbers that were written.
        found: usize,
    },
    /// A feature that is not a number or infinite.
    #[error("{}: image {image}, region {region}: feature {feature} is {value}, expected a finite number; extract this image again or leave it out", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The image, as a row of the file.
        image: usize,
        /// The region.
        region: usize,
        /// The feature.
        feature: usize,
        /// What is there.
        value: f32,
    },
    /// A number of regions of one image that cannot be.
    #[error("{}: image {image} counts {count} regions, expected 1 to {regions}", path.display())]
    RegionCount {
        /// The file.
        path: PathBuf,
        /// The image, as a row of the file.
        image: usize,
        /// Its count.
        count: i64,
        /// The regions that are stored per image.
        regions: usize,
    },
    /// An image that is not there was asked for.
    #[error("{}: image {image} was asked for, the file has {images}", path.display())]
    ImageOutOfRange {
        /// The file.
        path: PathBuf,
        /// The image.
        image: usize,
        /// How many there are.
        images: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("{} line {line}: not UTF-8; save the file as UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A line without a caption.
    #[error("{} line {line}: empty caption; expected one caption a line", path.display())]
    EmptyCaption {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A file without a caption.
    #[error("{}: no captions; expected one caption a line", path.display())]
    NoCaptions {
        /// The file.
        path: PathBuf,
    },
    /// Captions that were read as bytes and printed by Python 3.
    #[error("{} line {line}: the caption is printed bytes, {found}; expected plain text. Python 3 ports of this field's loaders read captions as bytes and print them as b'…', which glues b' to the first word and about halves accuracy: write them again with caption.decode('utf-8')", path.display())]
    BytesCaption {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The first characters of the line.
        found: String,
    },
    /// A number of captions that is no multiple of the number of images.
    #[error("{} has {captions} captions and {} has {images} images: expected k captions for each image, in order, but {captions} is no multiple of {images}; complete the shorter file, or write the image index of each caption, from 0, one a line, to {}", captions_path.display(), images_path.display(), map_path.display())]
    CaptionCount {
        /// The caption file.
        captions_path: PathBuf,
        /// Its captions.
        captions: usize,
        /// The feature file.
        images_path: PathBuf,
        /// Its images.
        images: usize,
        /// The file that would mend it.
        map_path: PathBuf,
    },
    /// A line that is not the index of an image.
    #[error("{} line {line}: expected an image index from 0 to {}, found `{found}`", path.display(), images - 1)]
    MapLine {
        /// The map.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The images, at least one.
        images: usize,
        /// The line.
        found: String,
    },
    /// Captions of one image, by their order or map, that have the ids of several.
    #[error("{} lines {} and {}: captions of image {image} have the ids `{}` and `{}`: their order (or map) and their ids contradict each other. Sort captions by image, or write the image index of each caption, from 0, one a line, to {}; if the lines name no images, remove the file", path.display(), lines[0], lines[1], ids[0], ids[1], map.display())]
    IdsContradict {
        /// The ids.
        path: PathBuf,
        /// The image, from 0.
        image: usize,
        /// Two lines, from 1.
        lines: [usize; 2],
        /// What they say.
        ids: Box<[String; 2]>,
        /// The file that would mend it.
        map: PathBuf,
    },
    /// An image that comes twice.
    #[error("{}: `{id}` is the id of images {} and {}: an image that comes twice has its own captions against it. Keep it once; captions that are not k for each image in order need a map of their images", path.display(), images[0], images[1])]
    RepeatedImage {
        /// The ids.
        path: PathBuf,
        /// What comes twice.
        id: String,
        /// The images, from 0.
        images: [usize; 2],
    },
    /// Ids beside a feature store that are not its own.
    #[error("{}: image {image} is `{found}`, the feature store has `{expected}` there: the captions are in another order than the features. Import the captions again, now that the features are there, or remove the file if captions are in the order of the store", path.display())]
    IdOfStore {
        /// The ids.
        path: PathBuf,
        /// The image, from 0.
        image: usize,
        /// What the store has.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// Lines of a list of captions with their images.
    #[error("{} line {line}: `{found}…` begins with the name of an image: these are the lines of a list like Flickr8k.token.txt, expected captions alone; bring it into this layout with `uard import --captions FILE`", path.display())]
    TokenCaption {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The first characters of the line.
        found: String,
    },
    /// A file with another number of entries than its split needs.
    #[error("{}: expected {expected}, found {found}", path.display())]
    EntryCount {
        /// The file.
        path: PathBuf,
        /// What was needed.
        expected: String,
        /// What was there.
        found: usize,
    },
    /// Alignments that name a word or region that is not there.
    #[error("{}: caption {caption} aligns {fragment} {found}, expected one below {bound}; write the alignments again with this data", path.display())]
    AlignmentOutOfRange {
        /// The file.
        path: PathBuf,
        /// The caption, from 0.
        caption: usize,
        /// `word` or `region`.
        fragment: &'static str,
        /// The index.
        found: usize,
        /// The words of the caption, or regions of its image.
        bound: usize,
    },
    /// A JSON file of another form.
    #[error("{}: expected {expected}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the file should hold.
        expected: &'static str,
        /// What the parser said.
        source: serde_json::Error,
    },
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
    /// A folder without weights.
    #[error("{}: neither model.safetensors nor pytorch_model.bin is there, nor the index (….index.json) of several such files; download one of them into this folder", folder.display())]
    MissingWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of weights that cannot be read at all.
    #[error("{}: no weights can be read: {cause}; expected the safetensors or zipped pickle of a state dict, so download it again if it is truncated", path.display())]
    UnreadableWeights {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        cause: String,
    },
    /// What `torch.save` wrote before PyTorch 1.6, or with the old format asked for.
    #[error("{0}: a bare pickle, as torch.save wrote before PyTorch 1.6, expected its zip archive or safetensors; write it again with a newer PyTorch: python -c \"import torch; torch.save(torch.load('{0}', map_location='cpu', weights_only=True), '{0}')\"", path.display())]
    OldPickle {
        /// The file.
        path: PathBuf,
    },
    /// A file of weights without a tensor that the model needs.
    #[error("{}: tensor `{tensor}` is missing, expected it with shape {}; the weights belong to another configuration", path.display(), Tuple(expected))]
    MissingWeight {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor of another shape than the configuration says.
    #[error("{}: tensor `{tensor}`: expected shape {}, found {}; the weights belong to another configuration", path.display(), Tuple(expected), Tuple(found))]
    WeightShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor of integers, or of numbers so short that they mean nothing without a scale.
    #[error("{}: tensor `{tensor}`: expected numbers of f16, bf16, f32 or f64, found {found}", path.display())]
    WeightType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its dtype.
        found: &'static str,
    },
    /// A weight that is not a number or infinite.
    #[error("{}: tensor `{tensor}` holds {value}, expected finite numbers; download the weights again", path.display())]
    WeightNotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is there.
        value: f32,
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
    /// An encoder of captions was to begin with what belongs to another.
    #[error("{encoder} cannot begin with {start}; choose the encoder that they belong to")]
    TextStart {
        /// What was given.
        start: &'static str,
        /// The encoder.
        encoder: &'static str,
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
    /// A published transformer does not have what was asked for.
    #[error(transparent)]
    Transformer(#[from] crate::transformer::TransformerError),
    /// A detector cannot be, or cannot say what is in a photo.
    #[error(transparent)]
    Detector(#[from] crate::detector::DetectorError),
    /// A feature store, or an image that is to enter one.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A name on a hub, or a file from there.
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
    /// Photos on their way to features.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// A published dump of region features.
    #[error(transparent)]
    Import(#[from] crate::import::ImportError),
    /// A shape or parameter does not fit.
    #[error(transparent)]
    Core(#[from] uard_core::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The error of a file that is none of what was expected, where its first bytes say what it
    /// is. For readers that did not find their own beginning.
    pub(crate) fn other_file(path: &Path, expected: &'static str, bytes: &[u8]) -> Option<Self> {
        uard_files::mistaken(bytes).map(|found| Self::OtherFile {
            path: path.to_owned(),
            expected,
            found,
        })
    }

    /// For `map_err`: names the file and what was being done to it.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            path,
            action,
            source,
        }
    }
}

/// A shape as Python prints it: `(113287, 36, 2048)`, `(5,)`.
struct Tuple<'a>(&'a [usize]);

impl fmt::Display for Tuple<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0 {
            return write!(formatter, "({only},)");
        }
        let sizes: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(formatter, "({})", sizes.join(", "))
    }
}
