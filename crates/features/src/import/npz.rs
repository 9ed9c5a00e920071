//! How are the npz files of MILVLG read? Array by array, all but the pickled `info`.
//!
//! | array | |
//! |---|---|
//! | `x` | (n, F) real numbers; (F, n) in the files that came with MCAN |
//! | `bbox` | (n, 4): x1, y1, x2, y2 in pixels |
//! | `num_bbox` | n |
//! | `image_h`, `image_w` | pixels |

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::error::{Place, Problem};
use super::folder::{Files, id};
use super::{Dump, Found};
use crate::npy::{Array, decode_f32, decode_i64};
use crate::store::{Entry, Size, Source};
use crate::{Error, Result};

/// An npz file for each image.
#[derive(Debug)]
pub(super) struct NpzDump {
    files: Files,
}

impl NpzDump {
    /// Lists the files.
    ///
    /// # Errors
    /// A path that is not there; a folder without npz files.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self> {
        let files = Files::list(paths, "npz", "an npz file for each image")?;
        Ok(Self { files })
    }
}

impl Dump for NpzDump {
    fn next_image(&mut self) -> Result<Option<Found>> {
        match self.files.next() {
            Some(path) => read(&path).map(Some),
            None => Ok(None),
        }
    }

    fn sources(&self) -> Vec<Source> {
        self.files.sources.clone()
    }

    fn progress(&self) -> (u64, u64) {
        self.files.progress()
    }
}

fn read(path: &Path) -> Result<Found> {
    let mut archive = Archive::open(path)?;
    let regions = archive.count("num_bbox")?;
    let place = Place::file(path);
    if regions == 0 {
        let column = "num_bbox";
        return Err(Problem::NoRegions { column }.at(place));
    }
    let features = by_region(archive.reals("x")?, regions).map_err(|p| p.at(place.clone()))?;
    let boxes = archive.reals("bbox")?;
    let boxes = corners(boxes, "bbox", regions).map_err(|p| p.at(place.clone()))?;
    let pixels = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let size = Size {
        height: pixels(archive.count("image_h")?),
        width: pixels(archive.count("image_w")?),
    };
    Ok(Found {
        place,
        regions,
        entry: Entry {
            id: id(path),
            size: Some(size),
            boxes: Some(boxes),
            features,
            ..Entry::default()
        },
    })
}

/// The features region by region; `num_bbox` decides which axis is which.
fn by_region(array: Array<f32>, regions: usize) -> std::result::Result<Vec<f32>, Problem> {
    match array.shape[..] {
        [rows, _] if rows == regions => Ok(array.values),
        [width, columns] if columns == regions => {
            let of_region = |region| (0..width).map(move |feature| feature * columns + region);
            let places = (0..regions).flat_map(of_region);
            Ok(places.map(|place| array.values[place]).collect())
        }
        _ => Err(Problem::Shape {
            array: "x",
            expected: format!("({regions}, F): num_bbox is {regions}"),
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
    /// No such file; no zip archive, or one that is truncated.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|error| broken(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            zip,
        })
    }

    /// An array of real numbers.
    ///
    /// # Errors
    /// It is missing, damaged, or of another type.
    pub(super) fn reals(&mut self, array: &'static str) -> Result<Array<f32>> {
        let bytes = self.bytes(array)?;
        decode_f32(&self.path.join(array), &bytes)
    }

    /// An integer that is not negative, alone in its array.
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
            .at(Place::file(&self.path))
        })
    }

    fn bytes(&mut self, array: &'static str) -> Result<Vec<u8>> {
        let name = format!("{array}.npy");
        let Some(index) = self.zip.index_for_name(&name) else {
            let names = self.zip.file_names().flatten();
            let names: Vec<String> = names.map(|name| name.into_owned()).collect();
            let found = names.join(", ");
            return Err(Problem::MissingArray { array, found }.at(Place::file(&self.path)));
        };
        let mut bytes = Vec::new();
        let entry = self.zip.by_index(index);
        let mut entry = entry.map_err(|error| broken(&self.path, &error))?;
        let read = entry.read_to_end(&mut bytes);
        read.map_err(|error| broken(&self.path, &error))?;
        Ok(bytes)
    }
}

fn broken(path: &Path, cause: &dyn std::error::Error) -> Error {
    let cause = cause.to_string();
    Problem::Zip { cause }.at(Place::file(path))
}
