//! The errors of feature stores and of images to be stored.

use std::path::{Path, PathBuf};

use super::entry::Size;
use super::share::Share;

/// Why a feature store cannot be read or written, with what was expected and found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A store that was not finished.
    #[error("{}: the store is not complete; to continue it, give the same `{command}` command again", path.display())]
    Incomplete {
        /// The store.
        path: PathBuf,
        /// The command that writes such stores.
        command: &'static str,
    },
    /// A store of another format.
    #[error("{}: feature store of format {found}, this version reads format {expected}; make the store again", path.display())]
    FormatVersion {
        /// `store.json`
        path: PathBuf,
        /// The format that this version reads.
        expected: u32,
        /// The format of the store.
        found: u32,
    },
    /// An invalid manifest.
    #[error("{}: {cause}", path.display())]
    Manifest {
        /// `store.json`
        path: PathBuf,
        /// The violated rule.
        cause: &'static str,
    },
    /// A damaged part, or a part of another store.
    #[error("{}: damaged: {cause}; copy it again, or delete the store and make it again", path.display())]
    Damaged {
        /// The part.
        path: PathBuf,
        /// The reason.
        cause: String,
    },
    /// A store that was begun with another manifest.
    #[error("{}: the store was begun with {key} = {stored}, now it is {given}; give the same options and files as then, or write to another directory", path.display())]
    OtherManifest {
        /// `store.json`
        path: PathBuf,
        /// The first key at which the manifests differ.
        key: String,
        /// The value in the store.
        stored: String,
        /// The value of the new manifest.
        given: String,
    },
    /// A list of images that differs from the one that the store was begun with.
    #[error("{}: image number {} of the store is `{stored}`, now it is `{given}`; continue with the list of images that the store was begun with, or write to another directory", path.display(), position + 1)]
    OtherList {
        /// The store.
        path: PathBuf,
        /// The index in the list, from 0.
        position: usize,
        /// The id in the store.
        stored: String,
        /// The id in the list.
        given: String,
    },
    /// A list of images that is shorter than the stored part of it.
    #[error("{}: the store has {stored} entries, the list of images ended after {given}; continue with the list that the store was begun with, or write to another directory", path.display())]
    ShorterList {
        /// The store.
        path: PathBuf,
        /// Entries in the store.
        stored: usize,
        /// Entries of the list.
        given: usize,
    },
    /// An image to be added to a complete store.
    #[error("{}: the store is complete, and `{id}` is not in it; write to another directory", path.display())]
    Complete {
        /// The store.
        path: PathBuf,
        /// The image's id.
        id: String,
    },
    /// A store without a single image.
    #[error("{}: no image could be stored; {unreadable} were unreadable{}", path.display(), listed(path, first))]
    Empty {
        /// The store.
        path: PathBuf,
        /// The number of unreadable entries.
        unreadable: usize,
        /// The first unreadable entries, with their reasons.
        first: Vec<String>,
    },
    /// A text that is not a share.
    #[error(
        "`{found}` is not a part of a list; expected a number and how many parts there are, as in 3/16"
    )]
    Share {
        /// The text.
        found: String,
    },
    /// A list that cannot be cut into so many shares.
    #[error("part {share}: the list has {entries} entries, so it can have at most {entries} parts")]
    MoreSharesThanEntries {
        /// The share.
        share: Share,
        /// The number of entries.
        entries: usize,
    },
    /// No shares, or not all of them.
    #[error("{}: {}", folders(dirs), missing(split, first, *count))]
    MissingShares {
        /// The folders that were searched.
        dirs: Vec<PathBuf>,
        /// The split.
        split: String,
        /// The first missing shares; none if there is no share at all.
        first: Vec<Share>,
        /// How many are missing.
        count: usize,
    },
    /// Two stores that are the same share, or of different cuts of a list.
    #[error("{} and {}: expected each part once, and all parts of one list; remove the one that is too many", first.display(), other.display())]
    ClashingShares {
        /// The one store.
        first: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// A share of a list that has changed since.
    #[error("{}: the list of images has changed since part {share} was begun; remove the parts and extract all again, or continue with the list as it was", path.display())]
    ChangedList {
        /// The store.
        path: PathBuf,
        /// The share.
        share: Share,
    },
    /// A store that is not the share that its name says, or a share of another list than the first.
    #[error("{}: expected part {share} of the list that {} is a part of, found {found}; extract it again", path.display(), first.display())]
    OtherShare {
        /// The store.
        path: PathBuf,
        /// The share that its name says.
        share: Share,
        /// The first share.
        first: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// A share that was extracted with other settings than the first.
    #[error("{}: {key} is {found}, in the first part it is {expected}; extract all parts with the same options and files", path.display())]
    OtherSettings {
        /// The store.
        path: PathBuf,
        /// The first key at which the manifests differ.
        key: String,
        /// The value of the first share.
        expected: String,
        /// The value of this one.
        found: String,
    },
    /// A joined store whose features are not those of the shares.
    #[error("{}: its features of `{id}` are not those of the parts; remove the store, and join again", path.display())]
    OtherFeatures {
        /// The store.
        path: PathBuf,
        /// The first image that differs.
        id: String,
    },
    /// An image that cannot be stored.
    #[error("image `{id}`: {problem}")]
    Entry {
        /// The image's id.
        id: String,
        /// The reason.
        problem: EntryProblem,
    },
}

/// The end of the message: the file of unreadable entries, and the first of them.
fn listed(store: &Path, first: &[String]) -> String {
    match first {
        [] => String::new(),
        first => {
            let list = store.join(super::writer::UNREADABLE);
            format!(", all listed in {}: {}", list.display(), first.join("; "))
        }
    }
}

fn missing(split: &str, first: &[Share], count: usize) -> String {
    let named: Vec<String> = first.iter().map(Share::to_string).collect();
    let more = match count - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match named[..] {
        [] => format!(
            "no part of {split} is here; `uard extract --part 1/N --split {split}` writes one"
        ),
        _ => format!(
            "parts of {split} are missing: {}{more}; extract them first, or name their folders too",
            named.join(", ")
        ),
    }
}

fn folders(dirs: &[PathBuf]) -> String {
    let names: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    names.join(", ")
}

/// The outcome of checking an image before it is stored.
pub(super) type CheckResult = Result<(), EntryProblem>;

/// Why an image cannot be stored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryProblem {
    /// An id that cannot be written in a line of a list.
    #[error("its id is empty or contains a tab or a line end")]
    Id,
    /// Two images of one id.
    #[error("its id is already that of image number {}; every image needs its own id", first + 1)]
    RepeatedId {
        /// The index of the first image, from 0.
        first: usize,
    },
    /// No regions.
    #[error("it has no regions, expected at least one")]
    NoRegions,
    /// A number of values that is no multiple of the width.
    #[error("it has {numbers} numbers, expected a multiple of the width {width}")]
    Width {
        /// The number of values.
        numbers: usize,
        /// The width of a region's features, F.
        width: usize,
    },
    /// NaN or infinity among the features.
    #[error("region {region}: feature {feature} is {value}, expected a finite number")]
    NotFinite {
        /// The region.
        region: usize,
        /// The feature.
        feature: usize,
        /// The value that was found.
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
        /// The value that was found.
        value: f32,
    },
    /// Other columns than the store has.
    #[error("it has {found}, the store has {expected}")]
    Columns {
        /// The store's columns.
        expected: String,
        /// The image's columns.
        found: String,
    },
    /// A column of another length.
    #[error("it has {regions} regions, but {found} entries of `{column}`")]
    ColumnLength {
        /// The column.
        column: String,
        /// The number of regions, R.
        regions: usize,
        /// The number of entries of the column.
        found: usize,
    },
    /// A column of integers in one image and of real numbers in another, or with NaN or infinity.
    #[error("`{column}` holds {found}, expected {expected}")]
    ColumnValues {
        /// The column.
        column: String,
        /// What the column should hold, such as `finite numbers`.
        expected: &'static str,
        /// What the column holds instead.
        found: String,
    },
    /// An invalid box.
    #[error("box {region} is {corners:?}; expected x1 <= x2 and y1 <= y2, finite, in pixels")]
    Box {
        /// The region.
        region: usize,
        /// x1, y1, x2, y2.
        corners: [f32; 4],
    },
    /// Boxes in fractions of the image.
    #[error(
        "all boxes lie within 0 to 1 in an image of {size}: they are fractions of the image, expected pixels; multiply x by the width and y by the height"
    )]
    BoxesAreFractions {
        /// The size of the image.
        size: Size,
    },
    /// A box outside its image.
    #[error("box {region} is {corners:?}, outside the image of {size}; {}", match fits_exchanged {
        true => "all boxes would fit if height and width were exchanged: the file has them in the other order than this format",
        false => "expected x1, y1, x2, y2 in pixels of the image",
    })]
    BoxOutside {
        /// The region.
        region: usize,
        /// x1, y1, x2, y2.
        corners: [f32; 4],
        /// The size of the image.
        size: Size,
        /// Whether all boxes would lie in an image with height and width exchanged.
        fits_exchanged: bool,
    },
}
