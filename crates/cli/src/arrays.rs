//! Arrays of other programs as samples, similarities, regions and words.

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

/// A similarity matrix [images, captions], unrounded.
pub fn similarities(path: &Path) -> anyhow::Result<SimilarityMatrix> {
    let array = MappedArray::open(path, "images, captions")?;
    let mut values = vec![0.0f64; array.rows() * array.row_len()];
    array.read_rows(0, &mut values)?;
    SimilarityMatrix::new(values, array.rows(), array.row_len())
        .with_context(|| path.display().to_string())
}

/// What the entries and fragments of an array are called.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// The axes, for errors.
    pub axes: &'static str,
    /// One entry of the first axis.
    pub entry: &'static str,
    /// One entry of the second axis.
    pub fragment: &'static str,
}

/// Fragments of ragged entries in a file, read in blocks.
#[derive(Debug)]
pub struct RaggedArray {
    path: PathBuf,
    array: MappedArray,
    counts: Vec<usize>,
    named: Named,
}

/// Some entries of a [`RaggedArray`], not yet normalised.
#[derive(Debug)]
pub struct Ragged {
    /// [entries, fragments, D]; padding is zero, whatever the file has there.
    pub rows: Tensor,
    /// Valid fragments of each entry.
    pub counts: Vec<usize>,
}

impl RaggedArray {
    /// Maps fragments and reads, where given, how many each entry has; all of them without.
    pub fn open(path: &Path, counts: Option<&Path>, named: Named) -> anyhow::Result<Self> {
        let array = MappedArray::open(path, named.axes)?;
        let [entries, fragments] = [0, 1].map(|axis| array.shape()[axis]);
        let counts = match counts {
            Some(counts) => read_counts(counts, path, [entries, fragments], named)?,
            None => vec![fragments; entries],
        };
        Ok(Self {
            path: path.to_owned(),
            array,
            counts,
            named,
        })
    }

    /// Images or captions.
    pub fn entries(&self) -> usize {
        self.counts.len()
    }

    /// Width of a fragment.
    pub fn width(&self) -> usize {
        self.array.shape()[2]
    }

    /// Some entries.
    ///
    /// NaN and infinity are refused where a fragment is valid; padding may hold anything.
    pub fn block(&self, entries: Range<usize>) -> anyhow::Result<Ragged> {
        let (fragments, width) = (self.array.shape()[1], self.width());
        let mut values = vec![0.0f32; entries.len() * fragments * width];
        self.read(entries.start, &mut values)?;
        let counts = &self.counts[entries.clone()];
        for (at, row) in values.chunks_mut(fragments * width).enumerate() {
            let (valid, padding) = row.split_at_mut(counts[at] * width);
            padding.fill(0.0);
            if let Some(place) = valid.iter().position(|value| !value.is_finite()) {
                return Err(wrong(format!(
                    "{}: {} {}, {} {}, number {} is {}: expected a finite number",
                    self.path.display(),
                    self.named.entry,
                    entries.start + at,
                    self.named.fragment,
                    place / width,
                    place % width,
                    valid[place]
                )));
            }
        }
        let rows = Tensor::from_vec(values, (entries.len(), fragments, width), &Device::Cpu)?;
        let counts = counts.to_vec();
        Ok(Ragged { rows, counts })
    }

    /// Entries from `first` on. Fragments in f64 keep their direction, even where f32 cannot hold
    /// their length.
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
    named: Named,
) -> anyhow::Result<Vec<usize>> {
    let array = read_i64(path)?;
    if array.shape != [entries] {
        return Err(wrong(format!(
            "{}: expected shape ({entries},), a count for each {} of {}, found {:?}",
            path.display(),
            named.entry,
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
                "{}: {} {entry} counts {count} {}s, expected 1 to {fragments}",
                path.display(),
                named.entry,
                named.fragment
            ))
        })
    });
    checked.collect()
}
