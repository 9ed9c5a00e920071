//! How are `cocobu_att/{id}.npz` and `cocobu_box/{id}.npy` read? Side by side.

use std::path::{Path, PathBuf};

use super::error::{Place, Problem};
use super::folder::{Files, id};
use super::npz::{Archive, corners};
use super::{Dump, Found};
use crate::npy::read_f32;
use crate::store::{Entry, Source};
use crate::{Error, Result};

const FEATURES: &str = "cocobu_att";
const BOXES: &str = "cocobu_box";

/// Two files for each image.
#[derive(Debug)]
pub(super) struct CocobuDump {
    boxes: PathBuf,
    files: Files,
}

impl CocobuDump {
    /// Lists the features.
    ///
    /// # Errors
    /// A folder that lacks one of the two; features without npz files.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let boxes = dir.join(BOXES);
        // Without this, each image would say that its file is missing.
        std::fs::metadata(&boxes).map_err(Error::io(&boxes, "open"))?;
        let expected = "an npz file for each image";
        let files = Files::list(&[dir.join(FEATURES)], "npz", expected)?;
        Ok(Self { boxes, files })
    }

    fn read(&self, path: &Path) -> Result<Found> {
        let id = id(path);
        let place = Place::file(path);
        let features = Archive::open(path)?.reals("feat")?;
        let regions = match features.shape[..] {
            [regions, _] if regions > 0 => regions,
            _ => {
                return Err(Problem::Shape {
                    array: "feat",
                    expected: "(n, F), at least one region".to_owned(),
                    found: features.shape,
                }
                .at(place));
            }
        };
        let boxes_path = self.boxes.join(format!("{id}.npy"));
        let boxes = read_f32(&boxes_path)?;
        let boxes = corners(boxes, "boxes", regions);
        let boxes = boxes.map_err(|problem| problem.at(Place::file(&boxes_path)))?;
        Ok(Found {
            place,
            regions,
            entry: Entry {
                id,
                boxes: Some(boxes),
                features: features.values,
                ..Entry::default()
            },
        })
    }
}

impl Dump for CocobuDump {
    fn next_image(&mut self) -> Result<Option<Found>> {
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
