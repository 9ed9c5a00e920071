//! Reads the boxes of regions from an array or a feature store.

use std::path::PathBuf;
use std::sync::Arc;

use super::feature_store::FeatureStore;
use super::manifest::BOXES;
use super::{RegionStore, Rows};
use crate::Result;
use crate::npy::MappedArray;
use crate::npy::NpyError;

/// The boxes of the regions, in pixels of their image.
///
/// # Shapes
/// `[I, R, 4]`: x1, y1, x2, y2.
#[derive(Debug)]
pub struct Boxes {
    source: Source,
    copies: usize,
}

#[derive(Debug)]
enum Source {
    Array(MappedArray),
    Store(Arc<FeatureStore>),
}

impl Boxes {
    /// Opens a boxes file, which must have one entry for each row of the features file, or for each image
    /// after copies were merged.
    ///
    /// # Errors
    /// Those of [`MappedArray::open`]; a shape that does not fit the features.
    pub fn open(path: PathBuf, regions: &RegionStore) -> Result<Self> {
        let array = MappedArray::open(&path, "images, regions, 4 corners")?;
        let expected = vec![regions.images(), regions.regions(), 4];
        let copies = match array.rows() == regions.rows() {
            true => regions.copies(),
            false => 1,
        };
        if array.rows() != expected[0] * copies || array.shape()[1..] != expected[1..] {
            return Err(NpyError::ArrayShape {
                path,
                expected,
                found: array.shape().to_vec(),
                origin: format!(
                    "four corners for each region of {}",
                    regions.path().display()
                ),
            }
            .into());
        }
        let source = Source::Array(array);
        Ok(Self { source, copies })
    }

    /// The boxes of a feature store; `None` if it has none, and for an array of features.
    pub fn stored(regions: &RegionStore) -> Option<Self> {
        let Rows::Ragged(store) = &regions.rows else {
            return None;
        };
        let has_boxes = store.manifest().columns.contains(BOXES);
        has_boxes.then(|| Self {
            source: Source::Store(Arc::clone(store)),
            copies: regions.copies(),
        })
    }

    /// The boxes of an image's valid regions; those of an array are followed by its padding.
    ///
    /// # Errors
    /// An image that does not exist.
    pub fn read(&self, image: usize) -> Result<Vec<[f32; 4]>> {
        let row = image * self.copies;
        match &self.source {
            Source::Array(array) => {
                let mut values = vec![0.0; array.row_len()];
                array.read_rows(row, &mut values)?;
                let (corners, _) = values.as_chunks::<4>();
                Ok(corners.to_vec())
            }
            Source::Store(store) => Ok(store.boxes(row)?.unwrap_or_default()),
        }
    }
}
