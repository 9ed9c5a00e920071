//! Reads features from one padded array, the layout that SCAN published.

use std::path::Path;

use crate::npy::NpyError;
use crate::npy::{self, MappedArray};
use crate::{Error, Result};

/// `{split}_ims.npy`, with `{split}_counts.npy` if images differ in their number of regions.
///
/// # Shapes
/// `[N, R, F]`
#[derive(Debug)]
pub(super) struct PaddedRows {
    pub(super) array: MappedArray,
    /// The number of valid regions of each row; `None` without a counts file, when all are valid.
    pub(super) counts: Option<Vec<usize>>,
}

impl PaddedRows {
    /// Opens both files.
    ///
    /// # Errors
    /// Those of [`MappedArray::open`]; counts of another number of images, or outside 1 to R.
    pub(super) fn open(dir: &Path, split: &str) -> Result<Self> {
        let path = dir.join(format!("{split}_ims.npy"));
        let array = MappedArray::open(&path, "images, regions, features")?;
        let counts_path = dir.join(format!("{split}_counts.npy"));
        let counts = match counts_path.exists() {
            true => Some(read_counts(&counts_path, &array)?),
            false => None,
        };
        Ok(Self { array, counts })
    }

    /// The number of regions, R.
    pub(super) fn regions(&self) -> usize {
        self.array.shape()[1]
    }

    /// The number of valid regions of a row.
    pub(super) fn count(&self, row: usize) -> Option<usize> {
        self.counts.as_ref()?.get(row).copied()
    }
}

fn read_counts(path: &Path, array: &MappedArray) -> Result<Vec<usize>> {
    let counts = npy::read_i64(path)?;
    let (rows, regions) = (array.shape()[0], array.shape()[1]);
    if counts.shape != [rows] {
        return Err(NpyError::ArrayShape {
            path: path.to_owned(),
            expected: vec![rows],
            found: counts.shape,
            origin: format!("one count for each image of {}", array.path().display()),
        }
        .into());
    }
    let checked = counts.values.iter().enumerate().map(|(image, &count)| {
        let fits = usize::try_from(count).ok();
        fits.filter(|fit| (1..=regions).contains(fit))
            .ok_or_else(|| Error::RegionCount {
                path: path.to_owned(),
                image,
                count,
                regions,
            })
    });
    checked.collect()
}
