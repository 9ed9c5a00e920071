//! What can be wrong with a feature store, or with an image that is to enter one.

use std::path::{Path, PathBuf};

use super::entry::Size;

/// A cause, with what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A store that nobody finished.
    #[error("{}: the store is not complete; continue with the command that made it, `{command}`, and the same --out", path.display())]
    Incomplete {
        /// The store.
        path: PathBuf,
        /// The command.
        command: &'static str,
    },
    /// A store of another format.
    #[error("{}: feature store of format {found}, this version reads format {expected}; make the store again", path.display())]
    FormatVersion {
        /// `store.json`
        path: PathBuf,
        /// What is read.
        expected: u32,
        /// What is there.
        found: u32,
    },
    /// A manifest that no store can have.
    #[error("{}: {cause}", path.display())]
    Manifest {
        /// `store.json`
        path: PathBuf,
        /// What must hold.
        cause: &'static str,
    },
    /// A part that is not what its store says.
    #[error("{}: damaged: {cause}; copy it again, or delete the store and make it again", path.display())]
    Damaged {
        /// The part.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A store that was begun in another way.
    #[error("{}: the store was begun with {key} = {stored}, now it is {given}; give what it was begun with, or write to another directory", path.display())]
    OtherManifest {
        /// `store.json`
        path: PathBuf,
        /// Where the two differ.
        key: String,
        /// What the store says.
        stored: String,
        /// What was asked for.
        given: String,
    },
    /// The list of images is not the one that the store was begun with.
    #[error("{}: image number {} of the store is `{stored}`, now it is `{given}`; continue with the list that it was begun with, or write to another directory", path.display(), position + 1)]
    OtherList {
        /// The store.
        path: PathBuf,
        /// The place in the list, from 0.
        position: usize,
        /// The id in the store.
        stored: String,
        /// The id in the list.
        given: String,
    },
    /// The list ended before what the store has.
    #[error("{}: the store has {stored} entries of its list, the list ended after {given}; continue with the list that it was begun with, or write to another directory", path.display())]
    ShorterList {
        /// The store.
        path: PathBuf,
        /// Entries in the store.
        stored: usize,
        /// Entries of the list.
        given: usize,
    },
    /// More images for a store that is complete.
    #[error("{}: the store is complete, and `{id}` is not in it; write to another directory", path.display())]
    Complete {
        /// The store.
        path: PathBuf,
        /// What was to be added.
        id: String,
    },
    /// A store without a single image.
    #[error("{}: no image could be stored; {unreadable} were unreadable{}", path.display(), listed(path, first))]
    Empty {
        /// The store.
        path: PathBuf,
        /// Entries with a reason.
        unreadable: usize,
        /// The first of them, with the reason.
        first: Vec<String>,
    },
    /// An image that cannot be stored.
    #[error("image `{id}`: {problem}")]
    Entry {
        /// The image.
        id: String,
        /// Why.
        problem: EntryProblem,
    },
}

/// Where unreadable entries are listed, and the first of them.
fn listed(store: &Path, first: &[String]) -> String {
    match first {
        [] => String::new(),
        first => {
            let list = store.join(super::writer::UNREADABLE);
            format!(", all listed in {}: {}", list.display(), first.join("; "))
        }
    }
}

/// Whether an image can be stored.
pub(super) type Fits = Result<(), EntryProblem>;

/// Why an image cannot be stored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryProblem {
    /// An id that no list of ids can hold.
    #[error("its id is empty or holds a tab or the end of a line")]
    Id,
    /// Two images of one id.
    #[error("its id was there before, as image number {}; ids tell images apart", first + 1)]
    RepeatedId {
        /// The first place.
        first: usize,
    },
    /// No regions.
    #[error("it has no regions, expected at least one")]
    NoRegions,
    /// No whole number of regions.
    #[error("{numbers} numbers are no whole number of regions of width {width}")]
    Width {
        /// What is there.
        numbers: usize,
        /// F.
        width: usize,
    },
    /// NaN or infinity among the features.
    #[error("region {region}: feature {feature} is {value}, expected a finite number")]
    NotFinite {
        /// The region.
        region: usize,
        /// The feature.
        feature: usize,
        /// What is there.
        value: f32,
    },
    /// A feature beyond the range of f16.
    #[error(
        "region {region}: feature {feature} is {value}, which f16 cannot hold; store f32 instead"
    )]
    TooLarge {
        /// The region.
        region: usize,
        /// The feature.
        feature: usize,
        /// What is there.
        value: f32,
    },
    /// Other columns than the store has.
    #[error("it comes with {found}, the store holds {expected}")]
    Columns {
        /// The store's.
        expected: String,
        /// The image's.
        found: String,
    },
    /// A column of another length.
    #[error("{regions} regions, but {found} of `{column}`")]
    ColumnLength {
        /// The column.
        column: String,
        /// R.
        regions: usize,
        /// What is there.
        found: usize,
    },
    /// A column that is integers here and real numbers there, or holds NaN or infinity.
    #[error("`{column}` holds {found}, expected {expected}")]
    ColumnValues {
        /// The column.
        column: String,
        /// What was needed.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A box that is none.
    #[error("box {region} is {corners:?}; expected x1 <= x2 and y1 <= y2, finite, in pixels")]
    Box {
        /// The region.
        region: usize,
        /// x1, y1, x2, y2.
        corners: [f32; 4],
    },
    /// Boxes in parts of the image.
    #[error(
        "all boxes lie within 0 to 1 in an image of {size}: they are parts of the image, expected pixels; multiply x by the width and y by the height"
    )]
    BoxesAreFractions {
        /// The image.
        size: Size,
    },
    /// A box outside its image.
    #[error("box {region} is {corners:?}, outside the image of {size}; {}", match fits_turned {
        true => "all boxes fit where height and width change places: they stand in the other order than this reader expects",
        false => "expected x1, y1, x2, y2 in pixels of the image",
    })]
    BoxOutside {
        /// The region.
        region: usize,
        /// x1, y1, x2, y2.
        corners: [f32; 4],
        /// The image.
        size: Size,
        /// Whether all boxes would lie in an image with height and width exchanged.
        fits_turned: bool,
    },
}
