//! Builds a part of a feature store: collects encoded images in memory and writes them as one file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::serialize;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use super::entry::{Column, Entry};
use super::error::{CheckResult, EntryProblem};
use super::manifest::{BOXES, Element, Manifest, SIZES};
use crate::npy::ElementType;
use crate::{Error, Result};
use uard_files::FieldsHash;

/// The name of the tensor of all features of a part.
pub(super) const REGIONS: &str = "regions";
/// The name of the tensor with the number of regions of each image.
pub(super) const COUNTS: &str = "counts";
/// The key of [`PartHeader`] in safetensors' metadata. It is the only key, because safetensors writes
/// several keys in a different order each time.
pub(super) const METADATA: &str = "uard";

/// The metadata of a part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartHeader {
    /// The part's number, from 0.
    pub(super) part: usize,
    /// `[n]`: the ids of its images.
    pub(super) ids: Vec<String>,
    /// Entries of the list that have no features.
    pub(super) unreadable: Vec<Unreadable>,
    /// The digest of the fields above and of all tensors, in hex.
    pub(super) sha256: String,
}

/// An entry of the list that has no features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unreadable {
    /// The entry's index among the entries of its part.
    pub(super) place: usize,
    /// The entry's id.
    pub id: String,
    /// Why it could not be read.
    pub reason: String,
}

/// An entry of a list.
pub(super) enum ListEntry<'a> {
    /// An image with features, by its id.
    Image(&'a str),
    /// An entry without features.
    Unreadable(&'a Unreadable),
}

impl<'a> ListEntry<'a> {
    /// The entry's id.
    pub(super) fn id(&self) -> &'a str {
        match self {
            Self::Image(id) => id,
            Self::Unreadable(entry) => &entry.id,
        }
    }
}

impl PartHeader {
    /// The number of entries of the list that the part covers.
    pub(super) fn entries(&self) -> usize {
        self.ids.len() + self.unreadable.len()
    }

    /// All entries in the order of the list.
    pub(super) fn list(&self) -> Vec<ListEntry<'_>> {
        let images = self.ids.iter().map(|id| ListEntry::Image(id));
        let mut list: Vec<ListEntry<'_>> = images.collect();
        for entry in &self.unreadable {
            list.insert(entry.place.min(list.len()), ListEntry::Unreadable(entry));
        }
        list
    }

    /// The digest of this header and its tensors, which are given in the order of their names.
    pub(super) fn digest<'a>(&self, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
        let mut fields = FieldsHash::default();
        fields.add_number(self.part);
        fields.add_number(self.ids.len());
        for id in &self.ids {
            fields.add(id.as_bytes());
        }
        fields.add_number(self.unreadable.len());
        for entry in &self.unreadable {
            fields.add_number(entry.place);
            fields.add(entry.id.as_bytes());
            fields.add(entry.reason.as_bytes());
        }
        for (name, bytes) in tensors {
            fields.add(name.as_bytes());
            fields.add(bytes);
        }
        fields.hex()
    }
}

/// The images of one part, encoded.
#[derive(Debug)]
pub(super) struct PartBuilder {
    header: PartHeader,
    tensors: BTreeMap<String, Encoded>,
}

/// A tensor while it grows along its first axis.
#[derive(Debug)]
struct Encoded {
    dtype: Dtype,
    /// The size of the second axis; `None` for a tensor of one axis.
    columns: Option<usize>,
    bytes: Vec<u8>,
}

impl Encoded {
    fn new(dtype: Dtype, columns: Option<usize>) -> Self {
        Self {
            dtype,
            columns,
            bytes: Vec::new(),
        }
    }

    fn push<T, const SIZE: usize>(
        &mut self,
        values: impl IntoIterator<Item = T>,
        encode: impl Fn(T) -> [u8; SIZE],
    ) {
        self.bytes.extend(values.into_iter().flat_map(encode));
    }

    fn shape(&self) -> Vec<usize> {
        let row = self.columns.unwrap_or(1) * self.dtype.bitsize() / 8;
        let rows = self.bytes.len() / row;
        std::iter::once(rows).chain(self.columns).collect()
    }
}

impl PartBuilder {
    /// A part without images.
    pub(super) fn new(part: usize, manifest: &Manifest) -> Self {
        let mut tensors = BTreeMap::new();
        let element = dtype(manifest.element);
        tensors.insert(
            REGIONS.to_owned(),
            Encoded::new(element, Some(manifest.width)),
        );
        tensors.insert(COUNTS.to_owned(), Encoded::new(Dtype::U32, None));
        if manifest.columns.contains(BOXES) {
            tensors.insert(BOXES.to_owned(), Encoded::new(Dtype::F32, Some(4)));
        }
        if manifest.columns.contains(SIZES) {
            tensors.insert(SIZES.to_owned(), Encoded::new(Dtype::U32, Some(2)));
        }
        Self {
            header: PartHeader {
                part,
                ..PartHeader::default()
            },
            tensors,
        }
    }

    /// The number of entries so far.
    pub(super) fn entries(&self) -> usize {
        self.header.entries()
    }

    /// Adds an image that was checked against the manifest.
    ///
    /// # Errors
    /// An extra that is integers in one image of the part and real numbers in another; then nothing is
    /// added.
    pub(super) fn add(&mut self, entry: Entry, manifest: &Manifest) -> CheckResult {
        self.add_extras(&entry)?;
        let regions = entry.regions(manifest.width);
        for (name, tensor) in &mut self.tensors {
            match name.as_str() {
                REGIONS => {
                    ElementType::from(manifest.element).encode(&entry.features, &mut tensor.bytes)
                }
                COUNTS => tensor.push([regions as u32], u32::to_le_bytes),
                BOXES => {
                    let corners = entry.boxes.iter().flatten().flatten().copied();
                    tensor.push(corners, f32::to_le_bytes);
                }
                SIZES => {
                    let sizes = entry.size.iter();
                    let sizes = sizes.flat_map(|size| [size.height, size.width]);
                    tensor.push(sizes, u32::to_le_bytes);
                }
                _ => {}
            }
        }
        self.header.ids.push(entry.id);
        Ok(())
    }

    fn add_extras(&mut self, entry: &Entry) -> CheckResult {
        for (name, column) in &entry.extras {
            let dtype = column_dtype(column);
            let begun = self.tensors.get(name);
            if let Some(begun) = begun.filter(|begun| begun.dtype != dtype) {
                return Err(EntryProblem::ColumnValues {
                    column: name.clone(),
                    expected: kind(begun.dtype),
                    found: kind(dtype).to_owned(),
                });
            }
        }
        for (name, column) in &entry.extras {
            let tensor = self.tensors.entry(name.clone());
            let tensor = tensor.or_insert_with(|| Encoded::new(column_dtype(column), None));
            match column {
                Column::Integers(values) => tensor.push(values.iter().copied(), i64::to_le_bytes),
                Column::Reals(values) => tensor.push(values.iter().copied(), f32::to_le_bytes),
            }
        }
        Ok(())
    }

    /// Records an entry without features.
    pub(super) fn skip(&mut self, id: &str, reason: &str) {
        self.header.unreadable.push(Unreadable {
            place: self.entries(),
            id: id.to_owned(),
            reason: reason.to_owned(),
        });
    }

    /// Writes the part; the same images give the same bytes.
    ///
    /// # Errors
    /// The file cannot be written; nothing is left of it.
    pub(super) fn write(mut self, path: &Path) -> Result<PartHeader> {
        let tensors = self.tensors.iter();
        let tensors = tensors.map(|(name, tensor)| (name.as_str(), &tensor.bytes[..]));
        self.header.sha256 = self.header.digest(tensors);
        let unwritable = |cause: String| Error::io(path, "write")(std::io::Error::other(cause));
        let header = serde_json::to_string(&self.header).map_err(|e| unwritable(e.to_string()))?;
        let metadata = HashMap::from([(METADATA.to_owned(), header)]);
        let mut views = Vec::new();
        for (name, tensor) in &self.tensors {
            let view = TensorView::new(tensor.dtype, tensor.shape(), &tensor.bytes);
            views.push((name.as_str(), view.map_err(|e| unwritable(e.to_string()))?));
        }
        let bytes = serialize(views, Some(metadata)).map_err(|e| unwritable(e.to_string()))?;
        uard_files::write(path, bytes).map_err(Error::io(path, "write"))?;
        Ok(self.header)
    }
}

fn column_dtype(column: &Column) -> Dtype {
    match column {
        Column::Integers(_) => Dtype::I64,
        Column::Reals(_) => Dtype::F32,
    }
}

fn kind(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::I64 => "integers",
        _ => "real numbers",
    }
}

/// The dtype of the features in safetensors.
pub(super) fn dtype(element: Element) -> Dtype {
    match element {
        Element::F16 => Dtype::F16,
        Element::F32 => Dtype::F32,
    }
}
