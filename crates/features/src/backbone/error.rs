//! Errors of decoding and resizing photos and of running a network on them.

use super::maps::Size;

/// An error of decoding or resizing a photo, or of running a network on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VisionError {
    /// Fewer pixels than a window of a network holds.
    #[error(
        "{size} pixels are too few for the network: one of its windows is larger; resize photos to more pixels"
    )]
    TooFewPixels {
        /// Height and width of the pixels.
        size: Size,
    },
    /// Pixels of another size than a network was built for.
    #[error("{found} pixels, expected {expected}: the network is built for this size only")]
    OtherPixels {
        /// Height and width that the network was built for.
        expected: Size,
        /// Height and width of the pixels.
        found: Size,
    },
    /// A file that cannot be decoded as a photo.
    #[error("{origin}: not a photo that can be read: {cause}")]
    UnreadablePhoto {
        /// The file.
        origin: String,
        /// Why it cannot be decoded.
        cause: String,
    },
    /// Impossible sizes of a preprocessing.
    #[error(
        "photos cannot be resized to {fit:?}: sides are 1 to 4096 pixels, and a crop is no larger than the resized photo"
    )]
    Preprocessing {
        /// The sizes.
        fit: crate::backbone::Fit,
    },
    /// A photo that cannot be resized.
    #[error("a photo of {width} x {height} pixels cannot be resized: {cause}")]
    Resize {
        /// Width of the photo.
        width: u32,
        /// Height of the photo.
        height: u32,
        /// Why it cannot be resized.
        cause: String,
    },
    /// A grid with more rows or columns than the map.
    #[error("a grid of {side} x {side} regions cannot be made of a map of {height} x {width} cells; ask for 1 to {}", (*height).min(*width))]
    GridSide {
        /// The grid's side.
        side: usize,
        /// Height of the map.
        height: usize,
        /// Width of the map.
        width: usize,
    },
}
