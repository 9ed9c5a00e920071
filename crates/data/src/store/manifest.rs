//! Reads and writes `store.json`: the manifest of a feature store, and whether the store is complete.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::StoreError;
use super::part_builder::{COUNTS, REGIONS};
use super::share::ShareOfList;
use crate::npy::ElementType;
use uard_files::FileError;

use crate::{Error, Result};

/// The format of stores; raised whenever an older reader would misread one.
pub const FORMAT_VERSION: u32 = 1;

/// The name of the column of [`Entry::boxes`](super::Entry::boxes).
pub const BOXES: &str = "boxes";
/// The name of the column of [`Entry::size`](super::Entry::size).
pub const SIZES: &str = "sizes";

/// The approximate size of a part in bytes: small compared with memory, large compared with the overhead
/// of a file.
const PART_BYTES: usize = 64 << 20;

const FILE: &str = "store.json";

/// The number type of stored features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Element {
    /// 32 bits, as published.
    #[default]
    F32,
    /// 16 bits: half the size, eleven bits of precision.
    F16,
}

impl From<Element> for ElementType {
    fn from(element: Element) -> Self {
        match element {
            Element::F16 => Self::F16,
            Element::F32 => Self::F32,
        }
    }
}

/// The properties that all images of a store share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The width of a region's features, F.
    pub width: usize,
    /// The type of the features.
    pub element: Element,
    /// The number of entries of the list of images in each part; the last part may have fewer.
    pub images_per_part: usize,
    /// The columns beside features: `boxes`, `sizes`, and the names of extras.
    pub columns: BTreeSet<String>,
    /// The origin of the features.
    pub provenance: Provenance,
}

impl Manifest {
    /// A manifest whose parts have about 64 MiB if images have about `regions` regions.
    ///
    /// More regions make parts proportionally larger. One part at a time is held in memory.
    pub fn new(width: usize, element: Element, regions: usize, provenance: Provenance) -> Self {
        let image_bytes = width * regions * ElementType::from(element).size();
        Self {
            width,
            element,
            images_per_part: (PART_BYTES / image_bytes.max(1)).max(1),
            columns: BTreeSet::new(),
            provenance,
        }
    }

    /// The same manifest with these columns beside the features.
    pub fn with_columns<'a>(mut self, columns: impl IntoIterator<Item = &'a str>) -> Self {
        self.columns = columns.into_iter().map(str::to_owned).collect();
        self
    }

    /// The columns that are neither boxes nor sizes.
    pub fn extras(&self) -> impl Iterator<Item = &str> {
        let columns = self.columns.iter().map(String::as_str);
        columns.filter(|column| ![BOXES, SIZES].contains(column))
    }

    fn check(&self, path: &Path) -> Result<()> {
        let cause = if self.width == 0 || self.images_per_part == 0 {
            "width and images_per_part must be at least 1"
        } else if [REGIONS, COUNTS]
            .iter()
            .any(|name| self.columns.contains(*name))
        {
            "no column may be called `regions` or `counts`: the features have these names"
        } else {
            return Ok(());
        };
        Err(Error::Store(StoreError::Manifest {
            path: path.to_owned(),
            cause,
        }))
    }
}

/// Where features come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Provenance {
    /// Computed from pixels.
    Extracted {
        /// The name of the encoder.
        encoder: String,
        /// The weights' file name, without its folder.
        weights: String,
        /// The weights' SHA-256 in hex.
        weights_sha256: String,
        /// Everything that happens to pixels before the encoder sees them.
        preprocessing: Value,
        /// The version of the program that made the store.
        tool_version: String,
    },
    /// Taken from a published dump.
    Imported {
        /// The name of the format.
        format: String,
        /// The files of the dump, in the order in which they were read.
        sources: Vec<Source>,
        /// The version of the program that made the store.
        tool_version: String,
    },
}

impl Provenance {
    /// The command that writes and continues such a store.
    pub(super) fn command(&self) -> &'static str {
        match self {
            Self::Extracted { .. } => "uard extract",
            Self::Imported { .. } => "uard import",
        }
    }
}

/// A file of a dump, or a folder with a file for each image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The name of the file or folder, without the folder around it.
    pub name: String,
    /// The size of all files in bytes.
    pub bytes: u64,
    /// The number of files.
    pub files: usize,
}

/// The content of `store.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreFile {
    pub(super) format_version: u32,
    pub(super) manifest: Manifest,
    /// The share of a list that the store holds; none if it holds a whole list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) share: Option<ShareOfList>,
    /// Whether all parts are written.
    pub(super) complete: bool,
    /// The number of stored images; 0 until complete.
    pub(super) images: usize,
    /// The digest of each part; empty until complete.
    pub(super) parts: Vec<String>,
}

/// The only key that is read before the format is known.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

impl StoreFile {
    pub(super) fn begun(manifest: &Manifest, share: Option<&ShareOfList>) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            manifest: manifest.clone(),
            share: share.cloned(),
            complete: false,
            images: 0,
            parts: Vec::new(),
        }
    }

    pub(super) fn path(store: &Path) -> PathBuf {
        store.join(FILE)
    }

    pub(super) fn read(store: &Path) -> Result<Self> {
        let path = Self::path(store);
        let bytes = uard_files::read(&path).map_err(Error::io(&path, "read"))?;
        let expected = "the manifest of a feature store";
        let other = |source| FileError::Json {
            path: path.clone(),
            expected,
            source,
        };
        let found = serde_json::from_slice::<Version>(&bytes).map_err(other)?;
        if found.format_version != FORMAT_VERSION {
            return Err(Error::Store(StoreError::FormatVersion {
                path,
                expected: FORMAT_VERSION,
                found: found.format_version,
            }));
        }
        let file: Self = serde_json::from_slice(&bytes).map_err(other)?;
        file.manifest.check(&path)?;
        let lacks_images = file.images == 0 && file.share.is_none();
        if file.complete && (lacks_images || file.parts.is_empty()) {
            let cause = "a complete store has images and parts";
            return Err(Error::Store(StoreError::Manifest { path, cause }));
        }
        Ok(file)
    }

    pub(super) fn write(&self, store: &Path) -> Result<()> {
        let path = Self::path(store);
        self.manifest.check(&path)?;
        let text = serde_json::to_vec_pretty(self).map_err(|source| FileError::Json {
            path: path.clone(),
            expected: "a manifest that JSON can hold",
            source,
        })?;
        uard_files::write(&path, text).map_err(Error::io(&path, "write"))
    }

    /// Refuses to continue with another manifest or share, and names the first key at which they differ.
    pub(super) fn check_continues(&self, store: &Path, given: &Self) -> Result<()> {
        if let (Some(stored), Some(given)) = (&self.share, &given.share)
            && stored.share == given.share
            && stored.list_sha256 != given.list_sha256
        {
            return Err(Error::Store(StoreError::ChangedList {
                path: store.to_owned(),
                share: stored.share,
            }));
        }
        let value = |file: &Self| {
            let begun = Self::begun(&file.manifest, file.share.as_ref());
            serde_json::to_value(begun).map_err(|source| FileError::Json {
                path: Self::path(store),
                expected: "a manifest that JSON can hold",
                source,
            })
        };
        match difference("", &value(self)?, &value(given)?) {
            None => Ok(()),
            Some((key, stored, given)) => Err(Error::Store(StoreError::OtherManifest {
                path: Self::path(store),
                key,
                stored,
                given,
            })),
        }
    }
}

/// The first key, in the order of names, at which two JSON values differ, with both values.
fn difference(key: &str, stored: &Value, given: &Value) -> Option<(String, String, String)> {
    let (Value::Object(ours), Value::Object(theirs)) = (stored, given) else {
        let differs = (key.to_owned(), stored.to_string(), given.to_string());
        return (stored != given).then_some(differs);
    };
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    names.into_iter().find_map(|name| {
        let inner = match key {
            "" => name.clone(),
            outer => format!("{outer}.{name}"),
        };
        let value = |object: &serde_json::Map<String, Value>| {
            object.get(name).cloned().unwrap_or(Value::Null)
        };
        difference(&inner, &value(ours), &value(theirs))
    })
}
