//! Reads the region features of images from disk, in either of two layouts.
//!
//! `{split}_ims.npy` is the padded array that SCAN published, with the number of valid regions of each
//! image in `{split}_counts.npy` if images differ in it. The feature store `{split}_store/` holds images
//! with any number of regions one after the other, in parts that are written, checked and continued one at
//! a time. [`RegionStore`] maps either into memory and reads it image by image.

mod boxes;
mod entry;
mod error;
mod feature_store;
mod manifest;
mod padded;
mod padded_writer;
mod part;
mod part_builder;
mod share;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::npy::ElementType;
use crate::npy::NpyError;
use crate::{Error, Result};
pub use boxes::Boxes;
pub use entry::{Column, Entry, Size};
pub use error::{EntryProblem, StoreError};
pub use feature_store::{FeatureStore, store_path};
pub use manifest::{BOXES, Element, FORMAT_VERSION, Manifest, Provenance, SIZES, Source};
use padded::PaddedRows;
pub use padded_writer::write_padded;
pub use part_builder::Unreadable;
pub use share::{Share, ShareOfList, Shares};
pub use writer::{Finished, StoreWriter};

/// The longest run of equal rows that counts as copies of one image, stored once for each caption.
/// Longer runs are taken for a file of one repeated number.
const MOST_COPIES: usize = 100;

/// The largest difference between nearly equal rows, as a share of their largest number.
const NEAR: f32 = 1e-3;

/// The number of runs that are tested for nearly equal rows.
const TESTED_RUNS: usize = 16;

/// The region features of a split on disk.
///
/// *Images* are counted after copies are merged ([`merge_copies`](Self::merge_copies)); a *row* is an entry
/// of the file or store.
///
/// # Shapes
/// `[I, R, F]`, stored as f16, f32 or f64, read as f32; R is the largest number of regions.
#[derive(Debug)]
pub struct RegionStore {
    rows: Rows,
    /// The number of equal rows that hold one image.
    copies: usize,
}

/// The two layouts.
#[derive(Debug)]
enum Rows {
    Padded(PaddedRows),
    Ragged(Arc<FeatureStore>),
}

/// The path of a split's features: the array if it exists, else the store; `None` if neither exists.
pub fn features_path(dir: &Path, split: &str) -> Option<PathBuf> {
    let array = dir.join(format!("{split}_ims.npy"));
    [array, store_path(dir, split)]
        .into_iter()
        .find(|path| path.exists())
}

impl RegionStore {
    /// Opens `{split}_ims.npy` and, if it exists, `{split}_counts.npy`; without the array,
    /// `{split}_store/`.
    ///
    /// # Errors
    /// Those of [`MappedArray::open`](crate::npy::MappedArray::open); counts of another number of
    /// images, or outside 1 to R; those of [`FeatureStore::open`].
    pub fn open(dir: &Path, split: &str) -> Result<Self> {
        let store = store_path(dir, split);
        let rows = match features_path(dir, split) {
            Some(path) if path == store => Rows::Ragged(Arc::new(FeatureStore::open(dir, split)?)),
            _ => Rows::Padded(PaddedRows::open(dir, split)?),
        };
        Ok(Self { rows, copies: 1 })
    }

    /// The number of images, I.
    pub fn images(&self) -> usize {
        self.rows() / self.copies
    }

    /// The largest number of regions of an image, padding of an array included: R.
    pub fn regions(&self) -> usize {
        match &self.rows {
            Rows::Padded(rows) => rows.regions(),
            Rows::Ragged(store) => store.most_regions(),
        }
    }

    /// Feature width: F.
    pub fn width(&self) -> usize {
        match &self.rows {
            Rows::Padded(rows) => rows.array.shape()[2],
            Rows::Ragged(store) => store.width(),
        }
    }

    /// The features file, or the folder of the store.
    pub fn path(&self) -> &Path {
        match &self.rows {
            Rows::Padded(rows) => rows.array.path(),
            Rows::Ragged(store) => store.path(),
        }
    }

    /// The feature store, with ids, sizes and extras; `None` for an array.
    pub fn feature_store(&self) -> Option<&FeatureStore> {
        match &self.rows {
            Rows::Padded(_) => None,
            Rows::Ragged(store) => Some(store),
        }
    }

    /// The type of the stored numbers.
    pub fn element(&self) -> ElementType {
        match &self.rows {
            Rows::Padded(rows) => rows.array.element(),
            Rows::Ragged(store) => store.element(),
        }
    }

    /// The number of rows: images times copies.
    pub fn rows(&self) -> usize {
        match &self.rows {
            Rows::Padded(rows) => rows.array.rows(),
            Rows::Ragged(store) => store.images(),
        }
    }

    /// The number of equal rows that hold one image; 1 unless copies were merged.
    pub fn copies(&self) -> usize {
        self.copies
    }

    /// The first row of the file that holds an image.
    pub fn row_of(&self, image: usize) -> usize {
        image * self.copies
    }

    /// The number of valid regions of an image, 1 to R; R for an image that does not exist.
    pub fn count(&self, image: usize) -> usize {
        let row = self.row_of(image);
        let count = match &self.rows {
            Rows::Padded(rows) => rows.count(row),
            Rows::Ragged(store) => store.count(row).ok(),
        };
        count.unwrap_or_else(|| self.regions())
    }

    /// Reads one image; rows beyond its count are zero.
    ///
    /// # Shapes
    /// - `values`: `[R, F]`
    ///
    /// # Errors
    /// An image that does not exist; NaN or infinity in a valid region, with file, image (as a row of the
    /// file) and region; another length of `values`.
    pub fn read(&self, image: usize, values: &mut [f32]) -> Result<()> {
        self.check_image(image)?;
        let size = self.regions() * self.width();
        if values.len() != size {
            return Err(NpyError::BufferLength {
                path: self.path().to_owned(),
                expected: size,
                found: values.len(),
            }
            .into());
        }
        let row = self.row_of(image);
        let (valid, padding) = values.split_at_mut(self.count(image) * self.width());
        self.element().convert(self.row_bytes(row)?, valid);
        padding.fill(0.0);
        self.check_finite(row, valid)
    }

    /// Reads images in parallel; they are returned in the order of `images`.
    ///
    /// # Shapes
    /// - returns: `[images.len(), R, F]`, rows beyond an image's count zero
    ///
    /// # Errors
    /// Those of [`read`](Self::read), for the first image that has one.
    pub fn read_batch(&self, images: &[usize]) -> Result<Vec<f32>> {
        let mut values = vec![0.0; images.len() * self.regions() * self.width()];
        self.read_batch_into(images, &mut values)?;
        Ok(values)
    }

    /// [`read_batch`](Self::read_batch) into a given buffer, of which every number is overwritten.
    ///
    /// # Errors
    /// As [`read_batch`](Self::read_batch), and another length of `values`.
    pub fn read_batch_into(&self, images: &[usize], values: &mut [f32]) -> Result<()> {
        let size = self.regions() * self.width();
        if values.len() != images.len() * size {
            return Err(NpyError::BufferLength {
                path: self.path().to_owned(),
                expected: images.len() * size,
                found: values.len(),
            }
            .into());
        }
        let chunks = values.par_chunks_mut(size).zip(images);
        let outcomes: Vec<Result<()>> = chunks
            .map(|(chunk, &image)| self.read(image, chunk))
            .collect();
        outcomes.into_iter().collect()
    }

    /// The stored bytes of an image, for hashing: in an array with padding, in a store without.
    ///
    /// # Errors
    /// An image that does not exist.
    pub fn image_bytes(&self, image: usize) -> Result<&[u8]> {
        self.check_image(image)?;
        self.row_bytes(self.row_of(image))
    }

    /// Merges the copies of images in a file that stores each image once for every caption.
    ///
    /// The published dev and test files hold each image as a run of equal rows. If the whole file
    /// consists of runs of k equal rows, with k from 2 to 100, each run becomes one image. A file of one
    /// repeated number keeps its rows.
    ///
    /// Returns k, or 1 if nothing was merged.
    ///
    /// # Errors
    /// A damaged part of a feature store.
    pub fn merge_copies(&mut self) -> Result<usize> {
        let rows = self.rows();
        let first = self.row_bytes(0)?;
        let mut run = 1;
        while run < rows && run <= MOST_COPIES && self.row_bytes(run)? == first {
            run += 1;
        }
        if run > MOST_COPIES || (run == rows && self.is_constant()) {
            return Ok(1);
        }
        let divides_both = |k: &usize| run.is_multiple_of(*k) && rows.is_multiple_of(*k);
        let mut lengths = (2..=run).rev().filter(divides_both);
        self.copies = lengths.find(|&k| self.in_runs_of(k)).unwrap_or(1);
        Ok(self.copies)
    }

    /// The length of runs of rows that are equal up to rounding: k from 2 to 100 that divides the
    /// number of rows, tested on sixteen evenly spread runs. `None` if the rows do not form such
    /// runs.
    ///
    /// # Errors
    /// A number in one of these rows that is not finite.
    pub fn near_copies(&self) -> Result<Option<usize>> {
        let rows = self.rows();
        let mut values = [(); 2].map(|()| vec![0.0; self.regions() * self.width()]);
        let [first, other] = &mut values;
        let mut is_near = |row: usize, copy: usize| -> Result<bool> {
            self.read(row, first)?;
            self.read(copy, other)?;
            Ok(are_near(first, other))
        };
        let mut run = 1;
        while run < rows && run <= MOST_COPIES && is_near(0, run)? {
            run += 1;
        }
        if run == 1 || run > MOST_COPIES || !rows.is_multiple_of(run) {
            return Ok(None);
        }
        let groups = rows / run;
        for tested in 0..TESTED_RUNS.min(groups) {
            let begin = tested * (groups - 1) / (TESTED_RUNS.min(groups) - 1).max(1) * run;
            for copy in begin + 1..begin + run {
                if !is_near(begin, copy)? {
                    return Ok(None);
                }
            }
        }
        Ok(Some(run))
    }

    fn row_bytes(&self, row: usize) -> Result<&[u8]> {
        match &self.rows {
            Rows::Padded(rows) => rows.array.row_bytes(row),
            Rows::Ragged(store) => store.feature_bytes(row),
        }
    }

    fn is_constant(&self) -> bool {
        let bytes = self.row_bytes(0).unwrap_or_default();
        let size = self.element().size();
        bytes.chunks(size).all(|number| number == &bytes[..size])
    }

    fn in_runs_of(&self, copies: usize) -> bool {
        let row = |row| self.row_bytes(row).ok();
        (0..self.rows() / copies)
            .into_par_iter()
            .map(|group| group * copies)
            .all(|first| (first + 1..first + copies).all(|copy| row(copy) == row(first)))
    }

    fn check_image(&self, image: usize) -> Result<()> {
        if image < self.images() {
            return Ok(());
        }
        Err(NpyError::ImageOutOfRange {
            path: self.path().to_owned(),
            image,
            images: self.images(),
        }
        .into())
    }

    fn check_finite(&self, row: usize, values: &[f32]) -> Result<()> {
        // Without an early exit the compiler vectorises the loop.
        if values
            .iter()
            .fold(true, |all, value| all & value.is_finite())
        {
            return Ok(());
        }
        let position = values.iter().position(|value| !value.is_finite());
        position.map_or(Ok(()), |at| {
            Err(Error::NotFinite {
                path: self.path().to_owned(),
                image: row,
                region: at / self.width(),
                feature: at % self.width(),
                value: values[at],
            })
        })
    }
}

/// Whether all numbers differ by at most [`NEAR`] times the largest number, as after rounding to f16.
fn are_near(first: &[f32], other: &[f32]) -> bool {
    let largest = first.iter().fold(0.0f32, |all, value| all.max(value.abs()));
    let mut pairs = first.iter().zip(other);
    pairs.all(|(a, b)| (a - b).abs() <= NEAR * largest)
}

#[cfg(test)]
mod tests;
