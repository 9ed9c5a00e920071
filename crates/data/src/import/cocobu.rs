//! Reads the cocobu format: `cocobu_att/{id}.npz` and, if the folder exists, `cocobu_box/{id}.npy`.

use std::path::{Path, PathBuf};

use super::error::ImageLocation;
use super::folder::{Files, id};
use super::npz::{Archive, corners};
use super::{Dump, DumpImage};
use crate::Result;
use crate::npy::read_f32;
use crate::store::{Entry, Source};

const FEATURES: &str = "cocobu_att";
const BOXES: &str = "cocobu_box";

/// A file of features for each image, and optionally one of boxes.
#[derive(Debug)]
pub(super) struct CocobuDump {
    boxes: Option<PathBuf>,
    files: Files,
}

impl CocobuDump {
    /// Lists the features.
    ///
    /// # Errors
    /// A missing folder of features, or one without npz files.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let boxes = dir.join(BOXES);
        let boxes = boxes.exists().then_some(boxes);
        let expected = "an npz file for each image";
        let files = Files::list(&[dir.join(FEATURES)], "npz", expected)?;
        Ok(Self { boxes, files })
    }

    fn read(&self, path: &Path) -> Result<DumpImage> {
        let id = id(path);
        let location = ImageLocation::file(path);
        let (features, regions) = Archive::open(path)?.features(None)?;
        let boxes = self.boxes.as_ref().map(|folder| {
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
}

impl Dump for CocobuDump {
    fn next_image(&mut self) -> Result<Option<DumpImage>> {
        match self.files.next() {
            Some(path) => self.read(&path).map(Some),
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
