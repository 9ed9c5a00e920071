//! Where do the region features of an image come from?
//!
//! From `{split}_ims.npy`, mapped into memory and read an image at a time, with the number of
//! real regions of each image from `{split}_counts.npy` where images differ in it.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::npy::{self, ElementType, MappedArray};
use crate::{Error, Result};

/// Stored equal rows beyond this are a constant file, not an image kept once for each caption.
const MOST_COPIES: usize = 100;

/// The region features of a split on disk.
///
/// An *image* is counted after duplicates are merged ([`merge_copies`](Self::merge_copies)); a
/// *row* is an entry of the file.
///
/// # Shapes
/// `[I, R, F]`, stored as f16, f32 or f64, read as f32.
#[derive(Debug)]
pub struct RegionStore {
    array: MappedArray,
    /// Valid regions of each row of the file; all of them where there is no counts file.
    counts: Option<Vec<usize>>,
    /// How many equal rows in a run hold one image.
    copies: usize,
}

impl RegionStore {
    /// Opens `{split}_ims.npy`, and `{split}_counts.npy` where it exists.
    ///
    /// # Errors
    /// Those of [`MappedArray::open`]; counts of another number of images, or outside 1 to R.
    pub fn open(dir: &Path, split: &str) -> Result<Self> {
        let path = dir.join(format!("{split}_ims.npy"));
        let array = MappedArray::open(&path, "images, regions, features")?;
        let counts_path = dir.join(format!("{split}_counts.npy"));
        let counts = match counts_path.exists() {
            true => Some(read_counts(&counts_path, &array)?),
            false => None,
        };
        Ok(Self {
            array,
            counts,
            copies: 1,
        })
    }

    /// Images, each counted once.
    pub fn images(&self) -> usize {
        self.rows() / self.copies
    }

    /// Stored regions per image, padding included: R.
    pub fn regions(&self) -> usize {
        self.array.shape()[1]
    }

    /// Feature width: F.
    pub fn width(&self) -> usize {
        self.array.shape()[2]
    }

    /// The features file.
    pub fn path(&self) -> &Path {
        self.array.path()
    }

    /// The type of the stored numbers.
    pub fn element(&self) -> ElementType {
        self.array.element()
    }

    /// Rows of the file: images, times the copies of each.
    pub fn rows(&self) -> usize {
        self.array.rows()
    }

    /// How many equal rows in a run hold one image; 1 unless copies were merged.
    pub fn copies(&self) -> usize {
        self.copies
    }

    /// The first row of the file that holds an image.
    pub fn row_of(&self, image: usize) -> usize {
        image * self.copies
    }

    /// Valid regions of an image, 1 to R; R for an image that is not there.
    pub fn count(&self, image: usize) -> usize {
        let counts = self.counts.as_ref();
        let count = counts.and_then(|counts| counts.get(self.row_of(image)));
        count.copied().unwrap_or_else(|| self.regions())
    }

    /// Reads one image; rows beyond its count are zero.
    ///
    /// # Shapes
    /// - `values`: `[R, F]`
    ///
    /// # Errors
    /// An image that is not there; NaN or infinity in a valid region, which names file, image
    /// (as a row of the file) and region; another length of `values`.
    pub fn read(&self, image: usize, values: &mut [f32]) -> Result<()> {
        self.check_image(image)?;
        let size = self.array.row_len();
        if values.len() != size {
            return Err(Error::Core(uard_core::Error::ShapeMismatch {
                tensor: "features of an image".to_owned(),
                axis: "R x F",
                expected: size,
                found: values.len(),
            }));
        }
        let row = self.row_of(image);
        self.array.read_rows(row, values)?;
        let (valid, padding) = values.split_at_mut(self.count(image) * self.width());
        padding.fill(0.0);
        self.check_finite(row, valid)
    }

    /// Reads images side by side on all threads, in the order asked for.
    ///
    /// # Shapes
    /// - returns: `[images.len(), R, F]`, rows beyond an image's count zero
    ///
    /// # Errors
    /// Those of [`read`](Self::read), for the first image that has one.
    pub fn read_batch(&self, images: &[usize]) -> Result<Vec<f32>> {
        let size = self.array.row_len();
        let mut values = vec![0.0; images.len() * size];
        let chunks = values.par_chunks_mut(size).zip(images);
        let outcomes: Vec<Result<()>> = chunks
            .map(|(chunk, &image)| self.read(image, chunk))
            .collect();
        outcomes.into_iter().collect::<Result<()>>()?;
        Ok(values)
    }

    /// The stored bytes of an image, to hash.
    ///
    /// # Errors
    /// An image that is not there.
    pub fn image_bytes(&self, image: usize) -> Result<&[u8]> {
        self.check_image(image)?;
        self.array.row_bytes(self.row_of(image))
    }

    /// Counts each image once in a file that stores it once for every caption.
    ///
    /// The published dev and test files hold each image as a run of equal rows. Where the whole
    /// file consists of runs of k equal rows, k from 2 to 100, each run becomes one image. The
    /// content decides, so k need not be five. A file of one repeated number keeps its rows.
    ///
    /// Returns k, or 1 where nothing was merged.
    ///
    /// # Errors
    /// None on a file that opened.
    pub fn merge_copies(&mut self) -> Result<usize> {
        let rows = self.rows();
        let first = self.array.row_bytes(0)?;
        let mut run = 1;
        while run < rows && run <= MOST_COPIES && self.array.row_bytes(run)? == first {
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

    fn is_constant(&self) -> bool {
        let bytes = self.array.row_bytes(0).unwrap_or_default();
        let size = self.element().size();
        bytes.chunks(size).all(|number| number == &bytes[..size])
    }

    fn in_runs_of(&self, copies: usize) -> bool {
        let row = |row| self.array.row_bytes(row).ok();
        (0..self.rows() / copies)
            .into_par_iter()
            .map(|group| group * copies)
            .all(|first| (first + 1..first + copies).all(|copy| row(copy) == row(first)))
    }

    fn check_image(&self, image: usize) -> Result<()> {
        if image < self.images() {
            return Ok(());
        }
        Err(Error::ImageOutOfRange {
            path: self.path().to_owned(),
            image,
            images: self.images(),
        })
    }

    fn check_finite(&self, row: usize, values: &[f32]) -> Result<()> {
        // Without an early exit the loop runs in vector registers.
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

fn read_counts(path: &Path, array: &MappedArray) -> Result<Vec<usize>> {
    let counts = npy::read_i64(path)?;
    let (rows, regions) = (array.shape()[0], array.shape()[1]);
    if counts.shape != [rows] {
        return Err(Error::ArrayShape {
            path: path.to_owned(),
            expected: vec![rows],
            found: counts.shape,
            origin: format!("one count for each image of {}", array.path().display()),
        });
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

/// The boxes of the regions, in pixels of the image they were found in.
///
/// # Shapes
/// `[I, R, 4]`: x1, y1, x2, y2.
#[derive(Debug)]
pub struct Boxes {
    array: MappedArray,
    copies: usize,
}

impl Boxes {
    /// Opens a boxes file that must fit its features: one entry per row of the features file, or
    /// per image where copies were merged.
    ///
    /// # Errors
    /// Those of [`MappedArray::open`]; another shape than the features ask for.
    pub fn open(path: PathBuf, regions: &RegionStore) -> Result<Self> {
        let array = MappedArray::open(&path, "images, regions, 4 corners")?;
        let expected = vec![regions.images(), regions.regions(), 4];
        let copies = match array.rows() == regions.rows() {
            true => regions.copies(),
            false => 1,
        };
        if array.rows() != expected[0] * copies || array.shape()[1..] != expected[1..] {
            return Err(Error::ArrayShape {
                path,
                expected,
                found: array.shape().to_vec(),
                origin: format!(
                    "four corners for each region of {}",
                    regions.path().display()
                ),
            });
        }
        Ok(Self { array, copies })
    }

    /// The boxes of one image, padding included.
    ///
    /// # Errors
    /// An image that is not there.
    pub fn read(&self, image: usize) -> Result<Vec<[f32; 4]>> {
        let mut values = vec![0.0; self.array.row_len()];
        self.array.read_rows(image * self.copies, &mut values)?;
        let (corners, _) = values.as_chunks::<4>();
        Ok(corners.to_vec())
    }
}

#[cfg(test)]
mod tests;
