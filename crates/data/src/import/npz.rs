//! Reads npz files with the features of one image, as MILVLG and others published them. The pickled array
//! `info` is not read.
//!
//! | array | | |
//! |---|---|---|
//! | `x`, `feat` or `features` | (n, F) real numbers; (F, n) in the files that came with MCAN | |
//! | `bbox` or `boxes` | (n, 4): x1, y1, x2, y2 in pixels | optional |
//! | `num_bbox` or `num_boxes` | n | optional |
//! | `image_h`, `image_w` | pixels | optional |

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::error::{ImageLocation, Problem};
use super::folder::{Files, id};
use super::{Dump, DumpImage, other_file};
use crate::npy::{Array, decode_f32, decode_i64};
use crate::store::{Entry, Size};
use crate::{Error, Result};

/// The possible names of the array of features.
const FEATURES: [&str; 3] = ["x", "feat", "features"];
const BOXES: [&str; 2] = ["bbox", "boxes"];
const COUNTS: [&str; 2] = ["num_bbox", "num_boxes"];
const SIDES: [&str; 2] = ["image_h", "image_w"];

/// The largest array that is read, in bytes: 8192 regions of 2048 numbers.
const LARGEST_ARRAY: u64 = 64 << 20;

/// The first bytes of a zip archive, even of an empty one.
const ZIP: &[u8] = b"PK";

/// Lists npz files, one for each image.
///
/// # Errors
/// A missing path; a folder without npz files.
pub(super) fn open(paths: &[PathBuf]) -> Result<Box<dyn Dump>> {
    Ok(Files::list(paths, "npz", "an npz file for each image")?.into_dump(read))
}

fn read(path: &Path) -> Result<DumpImage> {
    let mut archive = Archive::open(path)?;
    let location = ImageLocation::file(path);
    let boxes = archive.find(&BOXES).map(|name| archive.reals(name));
    let boxes = boxes.transpose()?;
    let counted = archive.find(&COUNTS).map(|name| archive.count(name));
    let counted = match (counted.transpose()?, &boxes) {
        (None, Some(boxes)) => boxes.shape.first().copied(),
        (counted, _) => counted,
    };
    if counted == Some(0) {
        let column = COUNTS[0];
        return Err(Problem::NoRegions { column }.at(location));
    }
    let (features, regions) = archive.features(counted)?;
    let boxes = boxes.map(|boxes| corners(boxes, BOXES[0], regions));
    let boxes = boxes.transpose().map_err(|p| p.at(location.clone()))?;
    Ok(DumpImage {
        location,
        regions,
        entry: Entry {
            id: id(path),
            size: archive.size()?,
            boxes,
            features,
            ..Entry::default()
        },
    })
}

/// The features region by region, and the number of regions. `counted` is the number of boxes, if
/// known: the axis of this size is the axis of regions. Otherwise it is the first axis.
fn by_region(
    array: Array<f32>,
    name: &'static str,
    counted: Option<usize>,
) -> std::result::Result<(Vec<f32>, usize), Problem> {
    match (&array.shape[..], counted) {
        (&[rows, _], None) if rows > 0 => Ok((array.values, rows)),
        (&[rows, _], Some(regions)) if rows == regions => Ok((array.values, regions)),
        (&[width, columns], Some(regions)) if columns == regions => {
            let of_region = |region| (0..width).map(move |feature| feature * columns + region);
            let indices = (0..regions).flat_map(of_region);
            let values = indices.map(|index| array.values[index]);
            Ok((values.collect(), regions))
        }
        _ => Err(Problem::Shape {
            array: name,
            expected: match counted {
                Some(regions) => format!("({regions}, F): there are {regions} boxes"),
                None => "(n, F), at least one region".to_owned(),
            },
            found: array.shape,
        }),
    }
}

/// The four corners of each region.
pub(super) fn corners(
    array: Array<f32>,
    name: &'static str,
    regions: usize,
) -> std::result::Result<Vec<[f32; 4]>, Problem> {
    if array.shape != [regions, 4] {
        return Err(Problem::Shape {
            array: name,
            expected: format!("({regions}, 4): a box for each region"),
            found: array.shape,
        });
    }
    let (corners, _) = array.values.as_chunks::<4>();
    Ok(corners.to_vec())
}

/// An npz file: a zip archive with an npy file for each array.
pub(super) struct Archive {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
}

impl Archive {
    /// Reads the archive's directory.
    ///
    /// # Errors
    /// A missing file; no zip archive, or a truncated one.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = uard_files::open_regular(path).map_err(Error::io(path, "open"))?;
        let zip = match ZipArchive::new(BufReader::new(file)) {
            Ok(zip) => zip,
            Err(error) => {
                return Err(
                    other_file(path, "an npz file", ZIP)?.unwrap_or_else(|| broken(path, &error))
                );
            }
        };
        Ok(Self {
            path: path.to_owned(),
            zip,
        })
    }

    /// The first of these names that the archive has.
    fn find(&self, names: &[&'static str]) -> Option<&'static str> {
        let mut names = names.iter();
        names
            .find(|name| self.zip.index_for_name(&format!("{name}.npy")).is_some())
            .copied()
    }

    /// The features region by region, and the number of regions.
    ///
    /// # Errors
    /// Missing or damaged features; a number of regions that differs from `counted`.
    pub(super) fn features(&mut self, counted: Option<usize>) -> Result<(Vec<f32>, usize)> {
        let Some(name) = self.find(&FEATURES) else {
            return Err(self.missing(FEATURES.join("` or `")));
        };
        let found = by_region(self.reals(name)?, name, counted);
        found.map_err(|problem| problem.at(ImageLocation::file(&self.path)))
    }

    /// Height and width of the picture, if the archive has both.
    fn size(&mut self) -> Result<Option<Size>> {
        let [Some(height), Some(width)] = SIDES.map(|side| self.find(&[side])) else {
            return Ok(None);
        };
        let pixels = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Some(Size {
            height: pixels(self.count(height)?),
            width: pixels(self.count(width)?),
        }))
    }

    /// An array of real numbers.
    fn reals(&mut self, array: &'static str) -> Result<Array<f32>> {
        let bytes = self.bytes(array)?;
        decode_f32(&self.path.join(array), &bytes)
    }

    /// An array of a single integer of 0 or more.
    fn count(&mut self, array: &'static str) -> Result<usize> {
        let bytes = self.bytes(array)?;
        let found = decode_i64(&self.path.join(array), &bytes)?;
        let value = match found.values[..] {
            [value] => usize::try_from(value).ok(),
            _ => None,
        };
        value.ok_or_else(|| {
            let expected = "one number, 0 or more".to_owned();
            let found = found.shape;
            Problem::Shape {
                array,
                expected,
                found,
            }
            .at(ImageLocation::file(&self.path))
        })
    }

    fn bytes(&mut self, array: &'static str) -> Result<Vec<u8>> {
        let Some(index) = self.zip.index_for_name(&format!("{array}.npy")) else {
            return Err(self.missing(array.to_owned()));
        };
        let entry = self.zip.by_index(index);
        let entry = entry.map_err(|error| broken(&self.path, &error))?;
        let mut bytes = Vec::new();
        // The size in the archive's directory may be wrong, so the number of read bytes is limited.
        let read = entry.take(LARGEST_ARRAY + 1).read_to_end(&mut bytes);
        read.map_err(|error| broken(&self.path, &error))?;
        if bytes.len() as u64 > LARGEST_ARRAY {
            let limit = LARGEST_ARRAY;
            return Err(Problem::LargeArray { array, limit }.at(ImageLocation::file(&self.path)));
        }
        Ok(bytes)
    }

    fn missing(&self, array: String) -> Error {
        let names = self.zip.file_names().flatten();
        let names: Vec<String> = names.map(|name| name.into_owned()).collect();
        let found = names.join(", ");
        Problem::MissingArray { array, found }.at(ImageLocation::file(&self.path))
    }
}

fn broken(path: &Path, cause: &dyn std::error::Error) -> Error {
    let cause = cause.to_string();
    Problem::Zip { cause }.at(ImageLocation::file(path))
}
