//! What can be wrong with a dump, and where.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// A cause, with the file, the line or image, and what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// An image that cannot be read.
    #[error("{place}: {problem}")]
    Unreadable {
        /// Where it stands.
        place: Place,
        /// Why.
        problem: Box<Problem>,
    },
    /// An image that was read, and that no store takes.
    #[error("{place}: {source}")]
    Refused {
        /// Where it stands.
        place: Place,
        /// Why.
        source: Box<StoreError>,
    },
    /// A dump without an image.
    #[error("{}: no images there; expected {expected}", path.display())]
    Nothing {
        /// The file or folder.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
    },
    /// Images in a folder within the folder that was given: their order would be a guess.
    #[error(
        "{}: this folder holds images too; name each folder of the dump by itself, in the order of \
         the images",
        path.display()
    )]
    FolderWithin {
        /// The folder within.
        path: PathBuf,
    },
    /// Another number of files or folders than the format has.
    #[error("{format}: expected {expected}, {found} paths were given")]
    Inputs {
        /// The format.
        format: &'static str,
        /// What is needed.
        expected: &'static str,
        /// What was given.
        found: usize,
    },
    /// The destination has features of that split.
    #[error("{} is there already; choose another --out or --split, or remove it", path.display())]
    Taken {
        /// The features.
        path: PathBuf,
    },
    /// Captions of an image that the file does not list.
    #[error("{}: a caption is about image {id}, which is not among `images`", path.display())]
    UnknownImage {
        /// The file.
        path: PathBuf,
        /// The image's id.
        id: String,
    },
    /// A line that is not `NAME.jpg#k<TAB>caption`.
    #[error("{} line {line}: expected NAME.jpg#k<TAB>caption, found `{found}`", path.display())]
    NoTokenLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The first characters.
        found: String,
    },
    /// Captions alone, and nobody says what they are about.
    #[error("{}: captions alone, one a line; name the image of each line with --image-list FILE, a name a line", path.display())]
    NoImageList {
        /// The captions.
        path: PathBuf,
    },
    /// A split that cannot be part of a file's name.
    #[error("the split is called `{found}`, expected letters, digits, -, _ and .")]
    SplitName {
        /// What was found.
        found: String,
    },
    /// A split that a file of captions does not have.
    #[error("{}: it has no split {split}, only {found}", path.display())]
    NoSuchSplit {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        split: String,
        /// What there is, by the names that it would have here.
        found: String,
    },
    /// Features that are not called as any image with captions is.
    #[error("{}: none of its images has captions: they are called as `{feature}`, those with captions as `{image}`; use captions of the same images, or give the features the same ids", path.display())]
    NothingMatches {
        /// The features.
        path: PathBuf,
        /// The first id of the features.
        feature: String,
        /// The first id of the captions.
        image: String,
    },
    /// Features that nobody named.
    #[error("{}: its images have no ids, so nobody knows which captions are theirs; write an id a line for each stored image to {}", path.display(), ids.display())]
    NoFeatureIds {
        /// The features.
        path: PathBuf,
        /// The file that would mend it.
        ids: PathBuf,
    },
    /// A program without HDF5.
    #[error(
        "this uard was built without HDF5; build it with `cargo install --locked --path crates/cli --features hdf5`"
    )]
    Hdf5NotBuilt,
    /// A file that is no HDF5, or not such a dump.
    #[error("{}: {cause}; expected an HDF5 file with image_features (N, R, F) and perhaps image_bb (N, R, 4), or (sum R, …) with pos_boxes (N, 2)", path.display())]
    Hdf5 {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
}

/// Where an image of a dump stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    at: Option<(&'static str, usize)>,
}

impl Place {
    /// A file with one image.
    pub(super) fn file(path: &Path) -> Self {
        let path = path.to_owned();
        Self { path, at: None }
    }

    /// A line of a file, from 1.
    pub(super) fn line(path: &Path, line: usize) -> Self {
        let path = path.to_owned();
        let at = Some(("line", line));
        Self { path, at }
    }

    /// An image of an array, from 0.
    pub(super) fn image(path: &Path, image: usize) -> Self {
        let path = path.to_owned();
        let at = Some(("image", image));
        Self { path, at }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.path.display())?;
        match self.at {
            Some((what, number)) => write!(formatter, " {what} {number}"),
            None => Ok(()),
        }
    }
}

/// Why an image of a dump cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A line with another number of columns.
    #[error("expected {expected} columns between tabs, found {found}{}", match other {
        Some(format) => format!("; these are the columns of --format {format}"),
        None => String::new(),
    })]
    Columns {
        /// What the format has.
        expected: usize,
        /// What is there.
        found: usize,
        /// The format that has as many.
        other: Option<&'static str>,
    },
    /// The last line of a file is cut.
    #[error(
        "the file ends within this line, so it is truncated ({problem}); download or copy it again"
    )]
    CutOff {
        /// What the rest of the line looked like.
        problem: Box<Problem>,
    },
    /// A line that never ends.
    #[error("the line has more than {limit} bytes; this is no dump of region features")]
    LongLine {
        /// The longest line that is read.
        limit: u64,
    },
    /// A column that is no number.
    #[error("`{column}`: expected {expected}, found `{found}`")]
    Number {
        /// The column.
        column: &'static str,
        /// What was needed.
        expected: &'static str,
        /// The first characters of the column.
        found: String,
    },
    /// An image without regions.
    #[error("`{column}` is 0; expected at least one region")]
    NoRegions {
        /// The column or array.
        column: &'static str,
    },
    /// A column that is not base64.
    #[error("`{column}` is not base64: {cause}")]
    Base64 {
        /// The column.
        column: &'static str,
        /// What the decoder said.
        cause: base64::DecodeError,
    },
    /// A column of another length.
    #[error("`{column}` decodes to {found} bytes, expected {expected}")]
    Bytes {
        /// The column.
        column: &'static str,
        /// What was needed, and why.
        expected: String,
        /// What is there.
        found: usize,
    },
    /// Numbers of another type than the format has.
    #[error(
        "`{column}` holds numbers of {found}, expected f32: as f32 they would be other numbers; write it again from array.astype('<f4')"
    )]
    NumberType {
        /// The column.
        column: &'static str,
        /// What the bytes are.
        found: &'static str,
    },
    /// A file that is no zip archive of arrays.
    #[error("not a whole npz file: {cause}; download or copy it again")]
    Zip {
        /// What the reader said.
        cause: String,
    },
    /// An array that no image needs.
    #[error("`{array}` has more than {limit} bytes; no features of one image have")]
    LargeArray {
        /// The array.
        array: &'static str,
        /// The most that is read.
        limit: u64,
    },
    /// An archive without an array.
    #[error("the array `{array}` is missing; it has {found}")]
    MissingArray {
        /// What was looked for.
        array: String,
        /// What there is.
        found: String,
    },
    /// An array of another shape.
    #[error("`{array}` has shape {found:?}, expected {expected}")]
    Shape {
        /// The array.
        array: &'static str,
        /// What was needed.
        expected: String,
        /// What is there.
        found: Vec<usize>,
    },
}

impl Problem {
    /// This problem of the image at a place.
    pub(super) fn at(self, place: Place) -> crate::Error {
        let problem = Box::new(self);
        crate::Error::Import(ImportError::Unreadable { place, problem })
    }
}
