//! The error type of this crate.

use crate::RetrievalDirection;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an evaluation failed.
///
/// Images and captions are numbered from 0, lines of a text from 1.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The matrix has no image or no caption.
    #[error(
        "a matrix of {images} images and {captions} captions has no similarities; \
         give at least one of each"
    )]
    EmptyMatrix {
        /// Number of rows of the matrix.
        images: usize,
        /// Number of columns of the matrix.
        captions: usize,
    },

    /// The number of values is not images times captions.
    #[error(
        "expected one similarity for each of {images} images x {captions} captions, found {found}; \
         give the values row by row, a row for each image"
    )]
    MatrixLength {
        /// Number of rows of the matrix.
        images: usize,
        /// Number of columns of the matrix.
        captions: usize,
        /// Number of values that were given.
        found: usize,
    },

    /// A similarity is NaN or infinite, so it cannot be ranked.
    #[error(
        "the similarity of image {image} (row) and caption {caption} (column) is {value}, \
         expected a finite number; look for a diverged model or damaged features"
    )]
    NonFinite {
        /// Index of the value's row.
        image: usize,
        /// Index of the value's column.
        caption: usize,
        /// The value found.
        value: f64,
    },

    /// Similarities with references are those of other images or captions.
    #[error("the similarities with references have {found} {axis}, expected {expected}")]
    ReferenceShape {
        /// `images` or `captions`.
        axis: &'static str,
        /// The number in the similarities that are normalized.
        expected: usize,
        /// The number in the similarities with references.
        found: usize,
    },

    /// An ensemble of no matrices.
    #[error("an ensemble needs at least one similarity matrix, found none")]
    EmptyEnsemble,

    /// The matrices of an ensemble differ in shape.
    #[error(
        "matrix {position} of the ensemble has {found} {axis}, the first one {expected}; \
         evaluate all models on the same split"
    )]
    EnsembleShape {
        /// Index of the matrix in the ensemble, from 0.
        position: usize,
        /// `images` or `captions`.
        axis: &'static str,
        /// Length in the first matrix.
        expected: usize,
        /// Length in this matrix.
        found: usize,
    },

    /// There are fewer columns than rows, or the ground truth has as many captions as there are rows.
    #[error(
        "a matrix of {images} rows and {captions} columns looks transposed: expected a row for each \
         image and a column for each caption; save its transposed, as in \
         numpy.save(path, numpy.ascontiguousarray(similarities.T))"
    )]
    Transposed {
        /// Number of rows of the matrix.
        images: usize,
        /// Number of columns of the matrix.
        captions: usize,
    },

    /// Rows that should show one image differ.
    #[error(
        "rows {first} and {row} differ, expected {times} equal rows of each image one after the \
         other; give the number of times that each image is repeated"
    )]
    NotRepeated {
        /// Index of the first row of an image.
        first: usize,
        /// Index of the row that differs from the image's first row.
        row: usize,
        /// Number of rows that each image should have.
        times: usize,
    },

    /// The number of rows is not a multiple of the number of rows that each image should have.
    #[error(
        "{images} rows do not hold each image {times} times; choose a number that divides {images}"
    )]
    RepeatedImages {
        /// Number of rows of the matrix.
        images: usize,
        /// Number of rows that each image should have.
        times: usize,
    },

    /// The number of captions is not a multiple of the number of images.
    #[error(
        "found {captions} captions for {images} images, expected a positive multiple of {images}; \
         give the image index of each caption instead"
    )]
    NotAMultiple {
        /// Number of images that were given.
        images: usize,
        /// Number of captions that were given.
        captions: usize,
    },

    /// The number of captions is not the number of images times the captions of each.
    #[error(
        "found {found} captions, expected {captions_per_image} for each of {images} images; \
         correct the number, or give the image index of each caption instead"
    )]
    CaptionsPerImage {
        /// Number of captions that each image should have.
        captions_per_image: usize,
        /// Number of images that were given.
        images: usize,
        /// Number of captions that were given.
        found: usize,
    },

    /// A line of the map is not an image index.
    #[error(
        "line {line} of the caption map is {found:?}, expected the index of an image \
         (0 to {last}); write one index a line, a line for each caption",
        last = images.saturating_sub(1)
    )]
    MapLine {
        /// Number of the line, from 1.
        line: usize,
        /// The text of the line, shortened.
        found: String,
        /// Number of images.
        images: usize,
    },

    /// A caption names an image that does not exist.
    #[error(
        "caption {caption} names image {image}, but there are {images} images; \
         indices start at 0"
    )]
    UnknownImage {
        /// Index of the caption.
        caption: usize,
        /// Index of the image that the caption names.
        image: usize,
        /// Number of images.
        images: usize,
    },

    /// An image names a caption that does not exist.
    #[error(
        "image {image} names caption {caption}, but there are {captions} captions; \
         indices start at 0"
    )]
    UnknownCaption {
        /// Index of the image.
        image: usize,
        /// Index of the caption that the image names.
        caption: usize,
        /// Number of captions.
        captions: usize,
    },

    /// The matrix and the ground truth differ in size.
    #[error(
        "the similarity matrix has {found} {axis}, the ground truth {expected}; \
         both must come from the same split"
    )]
    TruthShape {
        /// `images` or `captions`.
        axis: &'static str,
        /// Length in the ground truth.
        expected: usize,
        /// Length in the matrix.
        found: usize,
    },

    /// No query of a direction has a positive.
    #[error("no query of {direction} has a match in the ground truth, so recall is undefined")]
    NoQueries {
        /// The direction without queries.
        direction: RetrievalDirection,
    },

    /// The images cannot be split into equal folds.
    #[error(
        "{images} images cannot be split into {folds} folds of equal size; \
         choose a number of folds that divides {images}"
    )]
    Folds {
        /// Number of images.
        images: usize,
        /// Requested number of folds.
        folds: usize,
    },

    /// No query of a direction has a positive inside a fold.
    #[error(
        "no query of {direction} has a match inside fold {fold} (images {first} to {last}), \
         so there is no mean over folds; use fewer folds, or all images at once"
    )]
    FoldWithoutQueries {
        /// Index of the fold, from 0.
        fold: usize,
        /// Index of the fold's first image.
        first: usize,
        /// Index of the fold's last image.
        last: usize,
        /// The direction without queries.
        direction: RetrievalDirection,
    },

    /// Two settings that are compared pair by pair have different numbers of values or images.
    #[error(
        "cannot compare pair by pair: {expected} and {found} {what}; \
         give the same seeds and the same split for both"
    )]
    PairedLength {
        /// `values` or `images`.
        what: &'static str,
        /// Number of values or images of the first setting.
        expected: usize,
        /// Number of values or images of the other setting.
        found: usize,
    },

    /// Two settings that are compared query by query have different queries.
    #[error(
        "cannot compare query by query: the number of queries of image {image} and its captions \
         differs between runs; evaluate all runs on the same split"
    )]
    PairedQueries {
        /// Index of the image.
        image: usize,
    },
}
