//! How are HDF5 dumps read? Image by image, through a window of rows.
//!
//! | dataset | as many regions each | 10 to 100 |
//! |---|---|---|
//! | `image_features` | (N, R, F) | (ΣR, F) |
//! | `image_bb`: x1, y1, x2, y2 in pixels | (N, R, 4) | (ΣR, 4) |
//! | `pos_boxes`: the rows from and to of each image | | (N, 2) |
//! | `spatial_features`: the same boxes divided by the picture's size, and more | (N, R, 6) | (ΣR, 6) |
//!
//! Ids are not in the file but in a pickle beside it. Here they are the lines of `NAME_ids.txt`
//! beside `NAME.hdf5`, or the place of each image. The size of a picture is what a box was divided
//! by.

use std::ops::Range;
use std::path::{Path, PathBuf};

use hdf5_pure::{Dataset, File};

use super::error::{ImportError, Place};
use super::{Dump, Found, ids, name, only};
use crate::store::{Entry, Size, Source};
use crate::{Error, Result};

/// One HDF5 file.
pub(super) struct Hdf5Dump {
    path: PathBuf,
    bytes: u64,
    features: Rows,
    boxes: Rows,
    spatial: Option<Rows>,
    /// The rows of each image, where regions of all images stand one after the other.
    ranges: Option<Vec<Range<u64>>>,
    ids: Vec<String>,
    next: usize,
}

impl Hdf5Dump {
    /// Opens one file and checks that its datasets fit each other.
    ///
    /// # Errors
    /// Not one file; no such file; no HDF5; a dataset that is missing or of another shape; another
    /// number of ids than images.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self> {
        let path = only("hdf5", "one file", paths)?;
        let metadata = std::fs::metadata(path).map_err(Error::io(path, "open"))?;
        // In pieces: the file may be larger than memory.
        let file = File::open_streaming(path).map_err(|error| broken(path, error.to_string()))?;
        let rows = |name: &'static str| Rows::open(path, &file, name);
        let needed =
            |name| rows(name)?.ok_or_else(|| broken(path, format!("it has no dataset `{name}`")));
        let (features, boxes) = (needed("image_features")?, needed("image_bb")?);
        let ranges = match rows("pos_boxes")? {
            Some(ranges) => Some(ranges.ranges(features.shape[0])?),
            None => None,
        };
        let axes = if ranges.is_some() { 2 } else { 3 };
        if features.shape.len() != axes || features.shape.contains(&0) {
            return Err(features.unfit("(N, R, F), or (sum R, F) with pos_boxes"));
        }
        let leading = &features.shape[..axes - 1];
        boxes.expect(leading, 4)?;
        let spatial = rows("spatial_features")?;
        if let Some(spatial) = &spatial {
            spatial.expect(leading, 6)?;
        }
        let images = ranges.as_ref().map_or(features.shape[0] as usize, Vec::len);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self {
            ids: ids(&path.with_file_name(format!("{stem}_ids.txt")), images)?,
            path: path.to_owned(),
            bytes: metadata.len(),
            features,
            boxes,
            spatial,
            ranges,
            next: 0,
        })
    }

    fn read(&self, image: usize) -> Result<Found> {
        let at = image as u64;
        let (rows, regions) = match &self.ranges {
            Some(ranges) => (ranges[image].clone(), ranges[image].clone().count()),
            None => (at..at + 1, self.features.shape[1] as usize),
        };
        let features = self.features.read(rows.clone())?;
        let boxes = self.boxes.read(rows.clone())?;
        let (boxes, _) = boxes.as_chunks::<4>();
        let size = match &self.spatial {
            Some(spatial) => Some(size_of_picture(boxes, spatial.read(rows)?.as_chunks().0)),
            None => None,
        };
        Ok(Found {
            place: Place::image(&self.path, image),
            regions,
            entry: Entry {
                id: self.ids[image].clone(),
                size,
                boxes: Some(boxes.to_vec()),
                features,
                ..Entry::default()
            },
        })
    }
}

impl Dump for Hdf5Dump {
    fn next_image(&mut self) -> Result<Option<Found>> {
        let image = self.next;
        if image == self.ids.len() {
            return Ok(None);
        }
        self.next += 1;
        self.read(image).map(Some)
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source {
            name: name(&self.path),
            bytes: self.bytes,
            files: 1,
        }]
    }

    fn progress(&self) -> (u64, u64) {
        (self.next as u64, self.ids.len() as u64)
    }
}

/// What the boxes were divided by: told best by the box that reaches farthest.
fn size_of_picture(boxes: &[[f32; 4]], spatial: &[[f32; 6]]) -> Size {
    let side = |corner: usize| {
        let farthest = boxes.iter().zip(spatial);
        let farthest = farthest.max_by(|(a, _), (b, _)| a[corner].total_cmp(&b[corner]));
        // Where nothing is a number, 0: the box is then outside and is refused.
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
}

impl Rows {
    /// `None` where the file has no such dataset.
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
        Ok(Some(Self {
            path: path.to_owned(),
            name,
            dataset,
            shape,
        }))
    }

    /// The numbers of some entries.
    fn read(&self, rows: Range<u64>) -> Result<Vec<f32>> {
        let entry: u64 = self.shape[1..].iter().product();
        let expected = (rows.end - rows.start) * entry;
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

    /// `pos_boxes` as the rows of each image, all of them among `rows`.
    fn ranges(&self, rows: u64) -> Result<Vec<Range<u64>>> {
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

fn broken(path: &Path, cause: String) -> Error {
    let path = path.to_owned();
    Error::Import(ImportError::Hdf5 { path, cause })
}
