//! Reads HDF5 dumps image by image.
//!
//! | dataset | as many regions each | 10 to 100 |
//! |---|---|---|
//! | `image_features` | (N, R, F) | (ΣR, F) |
//! | `image_bb`, optional: x1, y1, x2, y2 in pixels | (N, R, 4) | (ΣR, 4) |
//! | `pos_boxes`: the rows from and to of each image | | (N, 2) |
//! | `spatial_features`, optional: the boxes divided by the picture's size, and more | (N, R, 6) | (ΣR, 6) |
//!
//! Published files have the ids in a pickle beside them, which is not read. Here ids are the lines of
//! `NAME_ids.txt` beside `NAME.hdf5`, or without this file the index of each image. The size of a picture
//! is computed as the quotient of a box in pixels and the same box in `spatial_features`.
//!
//! Before memory is allocated, the sizes in the file are checked: shapes that the bytes of the file cannot
//! hold in any compression, and images and chunks beyond a limit are refused.

use std::ops::Range;
use std::path::{Path, PathBuf};

use hdf5_pure::{ChunkCacheConfig, Dataset, DatasetAccessProperties, File, ReadSeekSource};

use super::error::{ImageLocation, ImportError};
use super::{Dump, DumpImage, Indexed, ids, name, only, other_file};
use crate::store::{Entry, Size, Source};
use crate::{Error, Result};

/// The first bytes of an HDF5 file.
const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

/// The largest image that is read, in bytes.
const LARGEST: u64 = 64 << 20;

/// The largest chunk that is read, in bytes.
const LARGEST_CHUNK: u64 = 256 << 20;

/// The largest cache of a dataset's chunks, in bytes.
const MOST_CACHED: u64 = 512 << 20;

/// The highest compression ratio of deflate.
const DEFLATE_LIMIT: u64 = 1032;

/// One HDF5 file.
pub(super) struct Hdf5Dump {
    path: PathBuf,
    bytes: u64,
    features: Rows,
    boxes: Option<Rows>,
    spatial: Option<Rows>,
    /// The rows of each image, if the regions of all images stand one after the other.
    ranges: Option<Vec<Range<u64>>>,
    pub(super) images: usize,
    /// The ids in the file beside it; without one, the index of each image is its id.
    ids: Option<Vec<String>>,
}

impl Hdf5Dump {
    /// Opens one file and checks that its datasets fit each other.
    ///
    /// # Errors
    /// More or fewer than one file; a missing file; no HDF5; a dataset that is missing or of another shape;
    /// another number of ids than images.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self> {
        let path = only("hdf5", "one file", paths)?;
        let source = uard_files::open(path).map_err(Error::io(path, "open"))?;
        let bytes = source.metadata().map_err(Error::io(path, "read"))?.len();
        if let Some(other) = other_file(path, "an HDF5 file", SIGNATURE)? {
            return Err(other);
        }
        // Reads parts of the file on demand: it may be larger than memory.
        let file = ReadSeekSource::new(source)
            .map_err(|error| broken(path, error.to_string()))
            .and_then(|source| {
                File::from_source(source).map_err(|error| broken(path, error.to_string()))
            })?;
        let rows = |name: &'static str| Rows::open(path, &file, name);
        let features = rows("image_features")?
            .ok_or_else(|| broken(path, "it has no dataset `image_features`".to_owned()))?;
        let ranges = match rows("pos_boxes")? {
            Some(ranges) => Some(ranges.ranges(features.shape[0], bytes)?),
            None => None,
        };
        let axes = if ranges.is_some() { 2 } else { 3 };
        if features.shape.len() != axes || features.shape.contains(&0) {
            return Err(features.unfit("(N, R, F), or (sum R, F) with pos_boxes"));
        }
        features.check_size(bytes)?;
        let leading = &features.shape[..axes - 1];
        let (boxes, spatial) = (rows("image_bb")?, rows("spatial_features")?);
        for (beside, width) in [(&boxes, 4), (&spatial, 6)] {
            if let Some(beside) = beside {
                beside.expect(leading, width)?;
            }
        }
        let images = ranges.as_ref().map_or(features.shape[0] as usize, Vec::len);
        Ok(Self {
            ids: ids_beside(path, images)?,
            path: path.to_owned(),
            bytes,
            features,
            boxes,
            spatial,
            ranges,
            images,
        })
    }

    /// The images one after the other.
    pub(super) fn into_dump(self) -> Box<dyn Dump> {
        let source = Source {
            name: name(&self.path),
            bytes: self.bytes,
            files: 1,
        };
        Box::new(Indexed {
            sources: vec![source],
            images: self.images,
            next: 0,
            read: move |image| self.read(image),
        })
    }

    /// The number of chunks of features that were decompressed.
    #[cfg(test)]
    pub(super) fn decompressed_chunks(&self) -> u64 {
        self.features.dataset.chunk_cache_stats().misses()
    }

    pub(super) fn read(&self, image: usize) -> Result<DumpImage> {
        let at = image as u64;
        let (rows, regions) = match &self.ranges {
            Some(ranges) => (ranges[image].clone(), ranges[image].clone().count()),
            None => (at..at + 1, self.features.shape[1] as usize),
        };
        let features = self.features.read(rows.clone())?;
        let boxes = self.boxes.as_ref().map(|boxes| boxes.read(rows.clone()));
        let boxes = boxes.transpose()?.map(|boxes| boxes.as_chunks().0.to_vec());
        let size = match (&self.spatial, &boxes) {
            (Some(spatial), Some(boxes)) => {
                Some(size_of_picture(boxes, spatial.read(rows)?.as_chunks().0))
            }
            _ => None,
        };
        let id = self.ids.as_ref().map(|ids| ids[image].clone());
        Ok(DumpImage {
            location: ImageLocation::image(&self.path, image),
            regions,
            entry: Entry {
                id: id.unwrap_or_else(|| image.to_string()),
                size,
                boxes,
                features,
                ..Entry::default()
            },
        })
    }
}

/// The lines of `NAME_ids.txt`, if it exists.
fn ids_beside(path: &Path, images: usize) -> Result<Option<Vec<String>>> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let path = path.with_file_name(format!("{stem}_ids.txt"));
    path.exists().then(|| ids(&path, images)).transpose()
}

/// The size of the picture, from the boxes in pixels and the boxes divided by the size. Uses the box that
/// reaches farthest, whose quotient has the least rounding error.
fn size_of_picture(boxes: &[[f32; 4]], spatial: &[[f32; 6]]) -> Size {
    let side = |corner: usize| {
        let farthest = boxes.iter().zip(spatial);
        let farthest = farthest.max_by(|(a, _), (b, _)| a[corner].total_cmp(&b[corner]));
        // A quotient of NaN becomes 0: then the box lies outside the picture and is refused.
        farthest.map_or(0, |(pixels, scaled)| {
            (pixels[corner] / scaled[corner]).round() as u32
        })
    };
    Size {
        height: side(3),
        width: side(2),
    }
}

/// A dataset that is read by entries of its first axis.
struct Rows {
    path: PathBuf,
    name: &'static str,
    dataset: Dataset,
    shape: Vec<u64>,
    element_size: u64,
}

impl Rows {
    /// Opens a dataset; `None` if the file has none of this name.
    fn open(path: &Path, file: &File, name: &'static str) -> Result<Option<Self>> {
        let refuse = |error: hdf5_pure::Error| broken(path, error.to_string());
        if !file
            .root()
            .datasets()
            .map_err(refuse)?
            .iter()
            .any(|its| its == name)
        {
            return Ok(None);
        }
        let dataset = file.dataset(name).map_err(refuse)?;
        let shape = dataset.shape().map_err(refuse)?;
        if shape.is_empty() {
            return Err(broken(path, format!("`{name}` is a single number")));
        }
        let size = dataset.element_size().map_err(refuse)?;
        let chunk = dataset.chunk_shape().map_err(refuse)?;
        let cache = match chunk {
            Some(chunk) => cache(path, name, &shape, &chunk, size)?,
            None => ChunkCacheConfig::new(),
        };
        let properties = DatasetAccessProperties::new().with_chunk_cache(cache);
        let dataset = file
            .dataset_with_options(name, properties)
            .map_err(refuse)?;
        Ok(Some(Self {
            path: path.to_owned(),
            name,
            dataset,
            shape,
            element_size: size,
        }))
    }

    /// Refuses more numbers than a file of `bytes` can hold at the highest compression ratio.
    fn check_size(&self, bytes: u64) -> Result<()> {
        let needed = product(&self.shape, self.element_size);
        if needed <= bytes.saturating_mul(DEFLATE_LIMIT) {
            return Ok(());
        }
        let cause = format!(
            "`{}` has shape {:?}, which the {bytes} bytes of the file cannot hold",
            self.name, self.shape
        );
        Err(broken(&self.path, cause))
    }

    /// Reads some entries of the first axis.
    fn read(&self, rows: Range<u64>) -> Result<Vec<f32>> {
        let expected = product(&self.shape[1..], rows.end - rows.start);
        let bytes = expected.saturating_mul(self.element_size);
        if bytes > LARGEST {
            let cause = format!(
                "an image has {bytes} bytes of `{}`, more than {LARGEST}",
                self.name
            );
            return Err(broken(&self.path, cause));
        }
        let values = self
            .dataset
            .read_f32_rows(rows.start, rows.end - rows.start);
        let values = values.map_err(|error| {
            broken(
                &self.path,
                format!("entry {} of `{}`: {error}", rows.start, self.name),
            )
        })?;
        match values.len() as u64 == expected {
            true => Ok(values),
            false => Err(self.unfit("as many numbers as its shape says")),
        }
    }

    /// Reads `pos_boxes` as the rows of each image; refuses rows beyond `rows`.
    fn ranges(&self, rows: u64, bytes: u64) -> Result<Vec<Range<u64>>> {
        self.check_size(bytes)?;
        let values = self.dataset.read_i64();
        let values = values.map_err(|error| broken(&self.path, error.to_string()))?;
        if self.shape.len() != 2 || self.shape[1] != 2 {
            return Err(self.unfit("(N, 2)"));
        }
        let (pairs, _) = values.as_chunks::<2>();
        let range = |(image, &[from, to]): (usize, &[i64; 2])| {
            let range = u64::try_from(from).ok().zip(u64::try_from(to).ok());
            let range = range.filter(|(from, to)| from < to && *to <= rows);
            let cause = || format!("image {image} has rows {from} to {to} of {rows}");
            let (from, to) = range.ok_or_else(|| broken(&self.path, cause()))?;
            Ok(from..to)
        };
        pairs.iter().enumerate().map(range).collect()
    }

    fn expect(&self, leading: &[u64], width: u64) -> Result<()> {
        match self.shape.split_last() {
            Some((last, axes)) if axes == leading && *last == width => Ok(()),
            _ => Err(self.unfit(&format!("{leading:?} and {width}"))),
        }
    }

    fn unfit(&self, expected: &str) -> Error {
        let cause = format!(
            "`{}` has shape {:?}, expected {expected}",
            self.name, self.shape
        );
        broken(&self.path, cause)
    }
}

/// A cache that holds the chunks of an image and as many chunks of the next one. With a smaller
/// cache, chunks that hold several images would be decompressed once for each image.
fn cache(
    path: &Path,
    name: &str,
    shape: &[u64],
    chunk: &[u64],
    element_size: u64,
) -> Result<ChunkCacheConfig> {
    let bytes = product(chunk, element_size);
    if bytes > LARGEST_CHUNK {
        let cause = format!("a chunk of `{name}` has {bytes} bytes, more than {LARGEST_CHUNK}");
        return Err(broken(path, cause));
    }
    let axes = shape.iter().zip(chunk).skip(1);
    let parts: Vec<u64> = axes
        .map(|(axis, chunk)| axis.div_ceil((*chunk).max(1)))
        .collect();
    let chunks = product(&parts, 2);
    let all = chunks.saturating_mul(bytes).min(MOST_CACHED);
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(ChunkCacheConfig::from_h5p_cache(whole(chunks), whole(all)))
}

/// The product of the axes and `times`; `u64::MAX` if it overflows, because the axes come from a file.
fn product(axes: &[u64], times: u64) -> u64 {
    axes.iter()
        .fold(times, |all, &axis| all.saturating_mul(axis))
}

fn broken(path: &Path, cause: String) -> Error {
    let path = path.to_owned();
    Error::Import(ImportError::Hdf5 { path, cause })
}
