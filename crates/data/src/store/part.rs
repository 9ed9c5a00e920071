//! Reads a part of a feature store, after checking it against the store's manifest.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use uard_files::MappedFile;

use super::error::StoreError;
use super::manifest::{BOXES, Manifest, SIZES};
use super::part_builder::{COUNTS, METADATA, PartHeader, REGIONS, dtype};
use crate::{Error, Result};

/// A part of a store, mapped into memory. Images are counted from the first of the part.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    map: MappedFile,
    pub(super) header: PartHeader,
    /// `[n + 1]`: the first region of each image, and the end of the last image's regions.
    starts: Vec<usize>,
    /// The tensors in the file, sorted by name.
    tensors: Vec<Tensor>,
    /// Whether the digest is right; computed at most once.
    is_whole: OnceLock<bool>,
}

/// A tensor in the file: name, dtype, shape and the range of its bytes.
#[derive(Debug)]
struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl Part {
    /// Maps a part and checks lengths, shapes and counts, but not the digest.
    ///
    /// # Errors
    /// A file that is no part, is truncated, or belongs to a store with another manifest.
    pub(super) fn open(path: &Path, number: usize, manifest: &Manifest) -> Result<Self> {
        let map = MappedFile::open(path).map_err(Error::io(path, "open"))?;
        let damaged = |cause: String| damaged(path, cause);
        let (length, metadata) =
            SafeTensors::read_metadata(&map).map_err(|error| damaged(reason(&error, map.len())))?;
        let texts = metadata.metadata().as_ref();
        let header = texts.and_then(|texts| texts.get(METADATA));
        let header = header.ok_or_else(|| damaged(format!("its metadata lacks `{METADATA}`")))?;
        let header: PartHeader =
            serde_json::from_str(header).map_err(|error| damaged(error.to_string()))?;
        let data_start = size_of::<u64>() + length;
        let tensors = metadata.tensors().into_iter().map(|(name, info)| {
            let (begin, end) = info.data_offsets;
            Tensor {
                name,
                dtype: info.dtype,
                shape: info.shape.clone(),
                bytes: data_start + begin..data_start + end,
            }
        });
        let mut tensors: Vec<Tensor> = tensors.collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let mut part = Self {
            path: path.to_owned(),
            map,
            header,
            starts: Vec::new(),
            tensors,
            is_whole: OnceLock::new(),
        };
        part.starts = part.starts()?;
        part.check(number, manifest)?;
        Ok(part)
    }

    /// The number of images, n.
    pub(super) fn images(&self) -> usize {
        self.header.ids.len()
    }

    /// The regions of an image, as rows of the part's tensors.
    pub(super) fn rows(&self, image: usize) -> Range<usize> {
        self.starts[image]..self.starts[image + 1]
    }

    /// The dtype and stored bytes of some rows of a tensor; `None` if the part has no such tensor.
    pub(super) fn bytes(&self, name: &str, rows: Range<usize>) -> Option<(Dtype, &[u8])> {
        let tensor = self.tensor(name)?;
        let row: usize = tensor.shape[1..].iter().product::<usize>() * tensor.dtype.bitsize() / 8;
        let bytes = &self.map[tensor.bytes.clone()];
        Some((tensor.dtype, &bytes[rows.start * row..rows.end * row]))
    }

    /// Compares the part's content with its digest.
    ///
    /// # Errors
    /// The content has another digest.
    pub(super) fn verify(&self) -> Result<()> {
        let tensors = self.tensors.iter();
        let tensors = tensors.map(|tensor| (tensor.name.as_str(), &self.map[tensor.bytes.clone()]));
        match self.header.digest(tensors) == self.header.sha256 {
            true => Ok(()),
            false => Err(self.other_digest()),
        }
    }

    fn other_digest(&self) -> Error {
        damaged(&self.path, "its SHA-256 is not the one it was written with")
    }

    /// Calls [`verify`](Self::verify) the first time, and returns the same outcome afterwards.
    /// Threads that call it meanwhile wait for the first call.
    ///
    /// # Errors
    /// Those of `verify`.
    pub(super) fn verify_once(&self) -> Result<()> {
        match self.is_whole.get_or_init(|| self.verify().is_ok()) {
            true => Ok(()),
            false => Err(self.other_digest()),
        }
    }

    fn tensor(&self, name: &str) -> Option<&Tensor> {
        let index = self.tensors.binary_search_by(|t| t.name.as_str().cmp(name));
        index.ok().map(|index| &self.tensors[index])
    }

    fn starts(&self) -> Result<Vec<usize>> {
        let images = self.images();
        let is_fit = |counts: &&Tensor| counts.dtype == Dtype::U32 && counts.shape == [images];
        let counts = self.tensor(COUNTS).filter(is_fit);
        let counts = counts.ok_or_else(|| {
            let cause = format!("expected `{COUNTS}` as {images} numbers of U32");
            damaged(&self.path, cause)
        })?;
        let (counts, _) = self.map[counts.bytes.clone()].as_chunks::<4>();
        let mut starts = vec![0];
        let mut end = 0;
        for (image, &count) in counts.iter().enumerate() {
            let count = u32::from_le_bytes(count) as usize;
            if count == 0 {
                return Err(damaged(&self.path, format!("image {image} has no regions")));
            }
            end += count;
            starts.push(end);
        }
        Ok(starts)
    }

    /// Checks that the part has exactly the tensors of the manifest, each with its shape.
    fn check(&self, number: usize, manifest: &Manifest) -> Result<()> {
        if self.header.part != number {
            let cause = format!("it is part {} under another name", self.header.part);
            return Err(damaged(&self.path, cause));
        }
        let images = self.images();
        let regions = self.starts[images];
        let element = dtype(manifest.element);
        self.expect(REGIONS, &[element], &[regions, manifest.width])?;
        for column in &manifest.columns {
            match column.as_str() {
                BOXES => self.expect(BOXES, &[Dtype::F32], &[regions, 4])?,
                SIZES => self.expect(SIZES, &[Dtype::U32], &[images, 2])?,
                // The dtype of an extra is that of a part's first image, so a part without images has none.
                _ if images == 0 => {}
                extra => self.expect(extra, &[Dtype::F32, Dtype::I64], &[regions])?,
            }
        }
        let known =
            |name: &str| [REGIONS, COUNTS].contains(&name) || manifest.columns.contains(name);
        match self.tensors.iter().find(|tensor| !known(&tensor.name)) {
            None => Ok(()),
            Some(tensor) => {
                let cause = format!("`{}` is not among the columns of its store", tensor.name);
                Err(damaged(&self.path, cause))
            }
        }
    }

    fn expect(&self, name: &str, dtypes: &[Dtype], shape: &[usize]) -> Result<()> {
        let found = self.tensor(name);
        if found.is_some_and(|t| dtypes.contains(&t.dtype) && t.shape == shape) {
            return Ok(());
        }
        let found = match found {
            None => "it is missing".to_owned(),
            Some(tensor) => format!("found {:?} {:?}", tensor.dtype, tensor.shape),
        };
        let cause = format!("expected `{name}` as {dtypes:?} {shape:?}, {found}");
        Err(damaged(&self.path, cause))
    }
}

/// The error for a damaged part.
pub(super) fn damaged(path: &Path, cause: impl Into<String>) -> Error {
    Error::Store(StoreError::Damaged {
        path: path.to_owned(),
        cause: cause.into(),
    })
}

fn reason(error: &safetensors::SafeTensorError, length: usize) -> String {
    use safetensors::SafeTensorError;
    match error {
        SafeTensorError::MetadataIncompleteBuffer
        | SafeTensorError::HeaderTooSmall
        | SafeTensorError::InvalidHeaderLength => {
            format!("truncated or too long: its header does not fit its {length} bytes")
        }
        other => format!("not a safetensors file: {other}"),
    }
}
