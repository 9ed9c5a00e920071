//! Reads numpy arrays of other programs as samples, similarities, regions and words.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context;
use candle_core::{Device, Tensor};
use uard_core::normalize::rounded_row;
use uard_data::npy::{ElementType, MappedArray, read_f32, read_i64};
use uard_eval::SimilarityMatrix;

use crate::exit::wrong;

/// All numbers of an array, whatever its shape.
pub fn samples(path: &Path) -> anyhow::Result<Vec<f32>> {
    Ok(read_f32(path)?.values)
}

/// Reads a similarity matrix [images, captions] as f64, without rounding.
pub fn similarities(path: &Path) -> anyhow::Result<SimilarityMatrix> {
    let array = MappedArray::open(path, "images, captions")?;
    let mut values = vec![0.0f64; array.rows() * array.row_len()];
    array.read_rows(0, &mut values)?;
    SimilarityMatrix::new(values, array.rows(), array.row_len())
        .with_context(|| path.display().to_string())
}

/// The names of an array's axes in error messages.
#[derive(Debug, Clone, Copy)]
pub struct AxisNames {
    /// All three axes: `images, regions, width`.
    pub axes: &'static str,
    /// One entry of the first axis: `image`.
    pub entry: &'static str,
    /// One entry of the second axis: `region`.
    pub fragment: &'static str,
}

/// An array [entries, fragments, D] in a file, of which each entry has its own number of valid
/// fragments. Read in blocks of entries.
#[derive(Debug)]
pub struct RaggedArray {
    path: PathBuf,
    array: MappedArray,
    counts: Vec<usize>,
    names: AxisNames,
}

/// Some entries of a [`RaggedArray`], not yet normalised.
#[derive(Debug)]
pub struct RaggedBlock {
    /// [entries, fragments, D], f32; padding is zero, whatever the file holds there.
    pub rows: Tensor,
    /// Number of valid fragments of each entry.
    pub counts: Vec<usize>,
}

impl RaggedArray {
    /// Maps the array and reads the file of counts; without one all fragments are valid.
    pub fn open(path: &Path, counts: Option<&Path>, names: AxisNames) -> anyhow::Result<Self> {
        let array = MappedArray::open(path, names.axes)?;
        let [entries, fragments] = [0, 1].map(|axis| array.shape()[axis]);
        let counts = match counts {
            Some(counts) => read_counts(counts, path, [entries, fragments], names)?,
            None => vec![fragments; entries],
        };
        Ok(Self {
            path: path.to_owned(),
            array,
            counts,
            names,
        })
    }

    /// The number of images or captions.
    pub fn entries(&self) -> usize {
        self.counts.len()
    }

    /// Width of a fragment.
    pub fn width(&self) -> usize {
        self.array.shape()[2]
    }

    /// Reads some entries.
    ///
    /// NaN and infinity are refused in valid fragments; padding may hold anything.
    pub fn block(&self, entries: Range<usize>) -> anyhow::Result<RaggedBlock> {
        let (fragments, width) = (self.array.shape()[1], self.width());
        let mut values = vec![0.0f32; entries.len() * fragments * width];
        self.read(entries.start, &mut values)?;
        let counts = &self.counts[entries.clone()];
        for (at, row) in values.chunks_mut(fragments * width).enumerate() {
            let (valid, padding) = row.split_at_mut(counts[at] * width);
            padding.fill(0.0);
            if let Some(index) = valid.iter().position(|value| !value.is_finite()) {
                return Err(wrong(format!(
                    "{}: {} {}, {} {}, number {} is {}: expected a finite number",
                    self.path.display(),
                    self.names.entry,
                    entries.start + at,
                    self.names.fragment,
                    index / width,
                    index % width,
                    valid[index]
                )));
            }
        }
        let rows = Tensor::from_vec(values, (entries.len(), fragments, width), &Device::Cpu)?;
        let counts = counts.to_vec();
        Ok(RaggedBlock { rows, counts })
    }

    /// Reads entries from `first` on into `values`. A fragment in f64 whose length f32 cannot hold keeps
    /// its direction.
    fn read(&self, first: usize, values: &mut [f32]) -> anyhow::Result<()> {
        if self.array.element() != ElementType::F64 {
            return Ok(self.array.read_rows(first, values)?);
        }
        let mut doubles = vec![0.0f64; values.len()];
        self.array.read_rows(first, &mut doubles)?;
        let width = self.width();
        for (row, rounded) in doubles.chunks(width).zip(values.chunks_mut(width)) {
            rounded_row(row, rounded);
        }
        Ok(())
    }
}

fn read_counts(
    path: &Path,
    rows: &Path,
    [entries, fragments]: [usize; 2],
    names: AxisNames,
) -> anyhow::Result<Vec<usize>> {
    let array = read_i64(path)?;
    if array.shape != [entries] {
        return Err(wrong(format!(
            "{}: expected shape ({entries},), a count for each {} of {}, found {:?}",
            path.display(),
            names.entry,
            rows.display(),
            array.shape
        )));
    }
    let checked = array.values.iter().enumerate().map(|(entry, &count)| {
        let fits = usize::try_from(count)
            .ok()
            .filter(|count| (1..=fragments).contains(count));
        fits.ok_or_else(|| {
            wrong(format!(
                "{}: {} {entry} has a count of {count} {}s, expected 1 to {fragments}",
                path.display(),
                names.entry,
                names.fragment
            ))
        })
    });
    checked.collect()
}
