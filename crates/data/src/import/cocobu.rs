//! Reads the cocobu format: `cocobu_att/{id}.npz` and, if the folder exists, `cocobu_box/{id}.npy`.

use std::path::Path;

use super::error::ImageLocation;
use super::folder::{Files, id};
use super::npz::{Archive, corners};
use super::{Dump, DumpImage};
use crate::Result;
use crate::npy::read_f32;
use crate::store::Entry;

const FEATURES: &str = "cocobu_att";
const BOXES: &str = "cocobu_box";

/// Lists the features; each image has a file of them, and optionally one of boxes.
///
/// # Errors
/// A missing folder of features, or one without npz files.
pub(super) fn open(dir: &Path) -> Result<Box<dyn Dump>> {
    let boxes = dir.join(BOXES);
    let boxes = boxes.exists().then_some(boxes);
    let expected = "an npz file for each image";
    let files = Files::list(&[dir.join(FEATURES)], "npz", expected)?;
    Ok(files.into_dump(move |path| read(path, boxes.as_deref())))
}

fn read(path: &Path, boxes: Option<&Path>) -> Result<DumpImage> {
    let id = id(path);
    let location = ImageLocation::file(path);
    let (features, regions) = Archive::open(path)?.features(None)?;
    let boxes = boxes.map(|folder| {
        let path = folder.join(format!("{id}.npy"));
        let boxes = corners(read_f32(&path)?, "boxes", regions);
        boxes.map_err(|problem| problem.at(ImageLocation::file(&path)))
    });
    Ok(DumpImage {
        location,
        regions,
        entry: Entry {
            id,
            boxes: boxes.transpose()?,
            features,
            ..Entry::default()
        },
    })
}
