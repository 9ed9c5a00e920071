//! Reads a split of a SCAN directory as a dump.

use std::path::Path;

use super::error::ImageLocation;
use super::{Dump, DumpImage, ids, name};
use crate::captions::CaptionFiles;
use crate::dataset::Split;
use crate::store::{Boxes, Entry, RegionStore, Source};
use crate::{Error, Result};

/// `{split}_ims.npy`, with counts, ids and boxes if they exist.
#[derive(Debug)]
pub(super) struct ScanDump {
    regions: RegionStore,
    ids: Vec<String>,
    boxes: Option<Boxes>,
    next: usize,
}

impl ScanDump {
    /// Opens a split. If it has captions, copies of an image for each caption are merged, as in training;
    /// without captions every row is an image.
    ///
    /// # Errors
    /// With captions, the errors of [`Split::open`]; without, those of the files that are read.
    pub(super) fn open(dir: &Path, split: &str) -> Result<Self> {
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
            return Ok(Self {
                regions: split.regions,
                ids: split.ids,
                boxes: split.boxes,
                next: 0,
            });
        }
        let regions = RegionStore::open(dir, split)?;
        let boxes = dir.join(format!("{split}_boxes.npy"));
        let boxes = boxes.exists().then(|| Boxes::open(boxes, &regions));
        Ok(Self {
            ids: ids(&dir.join(format!("{split}_ids.txt")), regions.images())?,
            boxes: boxes.transpose()?,
            regions,
            next: 0,
        })
    }

    fn read(&self, image: usize) -> Result<DumpImage> {
        let (regions, width) = (self.regions.count(image), self.regions.width());
        let mut features = self.regions.read_batch(&[image])?;
        features.truncate(regions * width);
        let boxes = self.boxes.as_ref().map(|boxes| boxes.read(image));
        let boxes = boxes.transpose()?.map(|mut boxes| {
            boxes.truncate(regions);
            boxes
        });
        let row = self.regions.row_of(image);
        Ok(DumpImage {
            location: ImageLocation::image(self.regions.path(), row),
            regions,
            entry: Entry {
                id: self.ids[image].clone(),
                boxes,
                features,
                ..Entry::default()
            },
        })
    }
}

impl Dump for ScanDump {
    fn next_image(&mut self) -> Result<Option<DumpImage>> {
        let image = self.next;
        if image == self.regions.images() {
            return Ok(None);
        }
        self.next += 1;
        self.read(image).map(Some)
    }

    fn sources(&self) -> Vec<Source> {
        let path = self.regions.path();
        let row = self.regions.regions() * self.regions.width() * self.regions.element().size();
        vec![Source {
            name: name(path),
            bytes: (self.regions.rows() * row) as u64,
            files: 1,
        }]
    }

    fn progress(&self) -> (u64, u64) {
        (self.next as u64, self.regions.images() as u64)
    }
}
