//! The errors of this crate: samples, settings, names, and batches whose parts do not fit.

/// A cause, with what was expected and found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A distribution needs at least one sample.
    #[error("no samples: a distribution needs at least one")]
    NoSamples,
    /// A sample is NaN or infinite.
    #[error(
        "sample {index} is {value}: expected a finite relevance; check the embedding behind it"
    )]
    NonFiniteSample {
        /// Position among the samples.
        index: usize,
        /// What was there.
        value: f32,
    },
    /// A sample of a histogram is not a cosine.
    #[error(
        "sample {index} is {value}: an empirical distribution holds cosines, from -1 to 1; \
         normalise the vectors or use the normal distribution"
    )]
    SampleOutOfRange {
        /// Position among the samples.
        index: usize,
        /// What was there.
        value: f32,
    },
    /// A stored histogram contradicts itself.
    #[error("stored histogram: {property} is {found}, expected {expected}; the file was altered")]
    HistogramMismatch {
        /// Which property.
        property: &'static str,
        /// What it must be.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// A setting is outside the values that it may take.
    #[error("setting `{setting}` is {found}: expected {expected}")]
    Setting {
        /// Its key.
        setting: &'static str,
        /// The values it may take.
        expected: &'static str,
        /// The value it has.
        found: String,
    },
    /// A name is not one of the values of a setting.
    #[error("`{found}` is no {choice}: expected one of {expected}")]
    UnknownName {
        /// The setting, as `kind of distribution`.
        choice: &'static str,
        /// The names that exist.
        expected: &'static str,
        /// The name that was given.
        found: String,
    },
    /// A batch does not have one similarity for each pair of an image and a caption.
    #[error(
        "{found} similarities, expected {expected}: one for each of {images} images with each of \
         {captions} captions, row by row"
    )]
    SimilarityCount {
        /// Images of the batch.
        images: usize,
        /// Captions of the batch.
        captions: usize,
        /// Images times captions.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// A caption belongs to an image that the batch does not have.
    #[error("caption {caption} belongs to image {image}: the batch has {images} images, from 0")]
    NoSuchImage {
        /// The caption.
        caption: usize,
        /// The image that it names.
        image: usize,
        /// Images of the batch.
        images: usize,
    },
}

pub(crate) type Result<T> = std::result::Result<T, Error>;
