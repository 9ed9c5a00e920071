//! Reads a split of a SCAN directory as a dump.

use std::path::Path;

use super::error::ImageLocation;
use super::{Dump, DumpImage, Indexed, ids, name};
use crate::captions::CaptionFiles;
use crate::dataset::Split;
use crate::store::{Boxes, Entry, RegionStore, Source};
use crate::{Error, Result};

/// Opens a split: `{split}_ims.npy`, with counts, ids and boxes if they exist. If it has captions, copies
/// of an image for each caption are merged, as in training; without captions every row is an image.
///
/// # Errors
/// With captions, the errors of [`Split::open`]; without, those of the files that are read.
pub(super) fn open(dir: &Path, split: &str) -> Result<Box<dyn Dump>> {
    let array = dir.join(format!("{split}_ims.npy"));
    if !array.exists() {
        return Err(Error::MissingFile {
            path: array,
            split: split.to_owned(),
            needed: "region features (images, regions, features)",
        });
    }
    if CaptionFiles::in_directory(dir, split).captions.exists() {
        let split = Split::open(dir, split)?;
        return Ok(dump(split.regions, split.ids, split.boxes));
    }
    let regions = RegionStore::open(dir, split)?;
    let boxes = dir.join(format!("{split}_boxes.npy"));
    let boxes = boxes.exists().then(|| Boxes::open(boxes, &regions));
    let ids = ids(&dir.join(format!("{split}_ids.txt")), regions.images())?;
    Ok(dump(regions, ids, boxes.transpose()?))
}

fn dump(regions: RegionStore, ids: Vec<String>, boxes: Option<Boxes>) -> Box<dyn Dump> {
    let path = regions.path();
    let row = regions.regions() * regions.width() * regions.element().size();
    let source = Source {
        name: name(path),
        bytes: (regions.rows() * row) as u64,
        files: 1,
    };
    Box::new(Indexed {
        sources: vec![source],
        images: regions.images(),
        next: 0,
        read: move |image: usize| {
            let (count, width) = (regions.count(image), regions.width());
            let mut features = regions.read_batch(&[image])?;
            features.truncate(count * width);
            let boxes = boxes.as_ref().map(|boxes| boxes.read(image));
            let boxes = boxes.transpose()?.map(|mut boxes| {
                boxes.truncate(count);
                boxes
            });
            Ok(DumpImage {
                location: ImageLocation::image(regions.path(), regions.row_of(image)),
                regions: count,
                entry: Entry {
                    id: ids[image].clone(),
                    boxes,
                    features,
                    ..Entry::default()
                },
            })
        },
    })
}
