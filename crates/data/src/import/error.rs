//! The errors of imports, with the location of the damaged image.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// Why an import failed, with the file, the line or image, and what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// An image that cannot be read.
    #[error("{location}: {problem}")]
    Unreadable {
        /// The image's location.
        location: ImageLocation,
        /// The reason.
        problem: Box<Problem>,
    },
    /// An image that was read but cannot be stored.
    #[error("{location}: {source}")]
    Refused {
        /// The image's location.
        location: ImageLocation,
        /// The reason.
        source: Box<StoreError>,
    },
    /// A dump without an image.
    #[error("{}: no images there; expected {expected}", path.display())]
    Nothing {
        /// The file or folder.
        path: PathBuf,
        /// The expected content.
        expected: &'static str,
    },
    /// Images in a subfolder of a given folder, whose position in the list is unknown.
    #[error(
        "{}: this subfolder holds images too; name each folder of the dump as its own argument, in the \
         order of the images",
        path.display()
    )]
    FolderWithin {
        /// The subfolder.
        path: PathBuf,
    },
    /// Another number of files or folders than the format has.
    #[error("{format}: expected {expected}, {found} paths were given")]
    Inputs {
        /// The format.
        format: &'static str,
        /// The expected number.
        expected: &'static str,
        /// The number of given paths.
        found: usize,
    },
    /// The destination has a file of that split already.
    #[error("{} is there already; choose another --out or --split, or remove the file", path.display())]
    Taken {
        /// The file that is there already.
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
        /// The first characters of the line.
        found: String,
    },
    /// Captions without the names of their images.
    #[error("{}: the captions have no image names; give the image of each line with --image-list FILE, one name a line", path.display())]
    NoImageList {
        /// The file of captions.
        path: PathBuf,
    },
    /// A split that cannot be part of a file's name.
    #[error("the split is named `{found}`, expected letters, digits, -, _ and . only")]
    SplitName {
        /// The name that was found.
        found: String,
    },
    /// A split that a file of captions does not have.
    #[error("{}: it has no split {split}, only {found}", path.display())]
    NoSuchSplit {
        /// The file.
        path: PathBuf,
        /// The requested split.
        split: String,
        /// The splits of the file, by the names that they get in the data directory.
        found: String,
    },
    /// Features without any id that belongs to an image with captions.
    #[error("{}: none of its images has captions: its ids are like `{feature}`, those of images with captions like `{image}`; use captions of the same images, or give the features the same ids", path.display())]
    NothingMatches {
        /// The file or folder of the features.
        path: PathBuf,
        /// The first id of the features.
        feature: String,
        /// The first id of the captions.
        image: String,
    },
    /// Features without ids.
    #[error("{}: its images have no ids, so their captions cannot be found; write an id a line for each stored image to {}", path.display(), ids.display())]
    NoFeatureIds {
        /// The file or folder of the features.
        path: PathBuf,
        /// The file of ids that can be added.
        ids: PathBuf,
    },
    /// An HDF5 dump in a build without HDF5.
    #[error(
        "this uard was built without HDF5; build it with `cargo install --locked --path crates/cli --features hdf5`"
    )]
    Hdf5NotBuilt,
    /// A file that is no HDF5 file, or has other datasets.
    #[error("{}: {cause}; expected an HDF5 file with image_features (N, R, F) and optionally image_bb (N, R, 4), or (sum R, …) with pos_boxes (N, 2)", path.display())]
    Hdf5 {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: String,
    },
}

/// The location of an image in a dump: a file, or a line or image of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLocation {
    path: PathBuf,
    /// `line` or `image`, with its number.
    at: Option<(&'static str, usize)>,
}

impl ImageLocation {
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

impl fmt::Display for ImageLocation {
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
        /// The number of columns of the format.
        expected: usize,
        /// The number of columns that was found.
        found: usize,
        /// The format that has this number of columns.
        other: Option<&'static str>,
    },
    /// A file that ends within its last line.
    #[error(
        "the file ends within this line, so it is truncated ({problem}); download or copy it again"
    )]
    CutOff {
        /// The first problem of the truncated line.
        problem: Box<Problem>,
    },
    /// A line beyond the limit.
    #[error(
        "the line has more than {limit} bytes; expected a dump of region features, whose lines are shorter"
    )]
    LongLine {
        /// The longest line that is read, in bytes.
        limit: u64,
    },
    /// A column that is no number.
    #[error("`{column}`: expected {expected}, found `{found}`")]
    Number {
        /// The column.
        column: &'static str,
        /// What the column should hold, such as `a number of pixels`.
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
        /// The error of the decoder.
        cause: base64::DecodeError,
    },
    /// A column of another length.
    #[error("`{column}` decodes to {found} bytes, expected {expected}")]
    Bytes {
        /// The column.
        column: &'static str,
        /// The expected number of bytes, with its factors.
        expected: String,
        /// The number of bytes that was found.
        found: usize,
    },
    /// Numbers of another type than the format has.
    #[error(
        "`{column}` holds numbers of {found}, expected f32; write the dump again from array.astype('<f4')"
    )]
    NumberType {
        /// The column.
        column: &'static str,
        /// The number type of the bytes.
        found: &'static str,
    },
    /// A file that is no zip archive of arrays.
    #[error("not a whole npz file: {cause}; download or copy it again")]
    Zip {
        /// The error of the reader.
        cause: String,
    },
    /// An array beyond the limit.
    #[error(
        "`{array}` has more than {limit} bytes; expected the features of one image, which have fewer"
    )]
    LargeArray {
        /// The array.
        array: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// An archive without an array.
    #[error("the array `{array}` is missing; the file has {found}")]
    MissingArray {
        /// The name of the array.
        array: String,
        /// The arrays that the file has.
        found: String,
    },
    /// An array of another shape.
    #[error("`{array}` has shape {found:?}, expected {expected}")]
    Shape {
        /// The array.
        array: &'static str,
        /// The expected shape.
        expected: String,
        /// The shape that was found.
        found: Vec<usize>,
    },
}

impl Problem {
    /// The error for this problem at a location.
    pub(super) fn at(self, location: ImageLocation) -> crate::Error {
        let problem = Box::new(self);
        crate::Error::Import(ImportError::Unreadable { location, problem })
    }
}
