//! The errors of this crate: wrong files of a split, and the errors of arrays, stores and imports.

use std::path::{Path, PathBuf};

use uard_files::FileError;

use crate::npy::NpyError;

/// Why data cannot be read or written, with the file and what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A missing file that a split needs.
    #[error("{}: no such file; a split `{split}` needs {needed} there", path.display())]
    MissingFile {
        /// The missing path.
        path: PathBuf,
        /// The split.
        split: String,
        /// The content of the file.
        needed: &'static str,
    },
    /// A missing data directory.
    #[error("{}: no such directory; looked there for {split}_ims.npy or {split}_store/, and {split}_caps.txt", path.display())]
    MissingDirectory {
        /// The missing path.
        path: PathBuf,
        /// The split.
        split: String,
    },
    /// A feature that is NaN or infinite.
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
        /// The value that was found.
        value: f32,
    },
    /// An image's count of regions that is below 1 or above the number of regions in the features
    /// file.
    #[error("{}: image {image} has a count of {count} regions, expected 1 to {regions}", path.display())]
    RegionCount {
        /// The file.
        path: PathBuf,
        /// The image, as a row of the file.
        image: usize,
        /// The image's count.
        count: i64,
        /// The number of regions that are stored per image.
        regions: usize,
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
    #[error("{} line {line}: the caption is a printed bytes object of Python 3, {found}; expected plain text. Loaders that read captions as bytes and print them as b'…' add b' to the first word, which about halves accuracy: write the captions again with caption.decode('utf-8')", path.display())]
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
        /// The number of captions in it.
        captions: usize,
        /// The feature file.
        images_path: PathBuf,
        /// The number of images in it.
        images: usize,
        /// The file of image indices that can be added.
        map_path: PathBuf,
    },
    /// A line that is not the index of an image.
    #[error("{} line {line}: expected an image index from 0 to {}, found `{found}`", path.display(), images - 1)]
    MapLine {
        /// The file of image indices.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The number of images, at least one.
        images: usize,
        /// The content of the line.
        found: String,
    },
    /// Captions that belong to one image by their order or map, but have different ids.
    #[error("{} lines {} and {}: captions of image {image} have the ids `{}` and `{}`: their order (or map) and their ids contradict each other. Sort captions by image, or write the image index of each caption, from 0, one a line, to {}; if the lines name no images, remove the file", path.display(), lines[0], lines[1], ids[0], ids[1], map.display())]
    IdsContradict {
        /// The file of ids.
        path: PathBuf,
        /// The image, from 0.
        image: usize,
        /// Two lines, from 1.
        lines: [usize; 2],
        /// The ids in these lines.
        ids: Box<[String; 2]>,
        /// The file of image indices that can be added.
        map: PathBuf,
    },
    /// An image that occurs twice.
    #[error("{}: `{id}` is the id of images {} and {}: the captions of one of them would count as wrong for the other. Keep it once; if images differ in their number of captions, write the image index of each caption to SPLIT_map.txt", path.display(), images[0], images[1])]
    RepeatedImage {
        /// The file of ids.
        path: PathBuf,
        /// The repeated id.
        id: String,
        /// The indices of the two images, from 0.
        images: [usize; 2],
    },
    /// Ids beside a feature store that differ from the ids in the store.
    #[error("{}: image {image} is `{found}`, in the feature store it is `{expected}`: the captions are in another order than the features. Import the captions again, now that the features exist, or remove the file if captions are in the order of the store", path.display())]
    IdOfStore {
        /// The file of ids.
        path: PathBuf,
        /// The image, from 0.
        image: usize,
        /// The id in the store.
        expected: String,
        /// The id in the file.
        found: String,
    },
    /// Lines with the names of images before the captions.
    #[error("{} line {line}: `{found}…` begins with the name of an image, as in Flickr8k.token.txt; expected captions without names; convert the file with `uard import --captions FILE`", path.display())]
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
        /// The expected number, with what the entries are.
        expected: String,
        /// The number that was found.
        found: usize,
    },
    /// Alignments with a word or region that does not exist.
    #[error("{}: caption {caption} aligns {fragment} {found}, expected one below {bound}; write the alignments for these captions and features again", path.display())]
    AlignmentOutOfRange {
        /// The file.
        path: PathBuf,
        /// The caption, from 0.
        caption: usize,
        /// `word` or `region`.
        fragment: &'static str,
        /// The index that was found.
        found: usize,
        /// The number of words of the caption, or of regions of its image.
        bound: usize,
    },
    /// A file that cannot be read or written, or is of another kind.
    #[error(transparent)]
    File(#[from] FileError),
    /// An error of a numpy array.
    #[error(transparent)]
    Npy(#[from] Box<NpyError>),
    /// An error of a feature store, or of an image to be stored.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// An error of an import.
    #[error(transparent)]
    Import(#[from] crate::import::ImportError),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl From<NpyError> for Error {
    fn from(error: NpyError) -> Self {
        Box::new(error).into()
    }
}

impl Error {
    /// For `map_err`: adds the path and the failed action to an error of the system.
    pub fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let name = FileError::io(path, action);
        move |source| name(source).into()
    }
}
