//! What can go wrong between a photo and the maps of a network.

/// A cause, with what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VisionError {
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
}
