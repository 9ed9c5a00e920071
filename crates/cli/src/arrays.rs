//! How do arrays of other programs become samples, similarities, regions and words?

use std::path::Path;

use anyhow::Context;
use candle_core::{Device, Tensor};
use uard_eval::SimilarityMatrix;
use uard_features::npy::{MappedArray, read_f32, read_i64};

use crate::exit::wrong;

/// All numbers of an array, whatever its shape.
pub fn samples(path: &Path) -> anyhow::Result<Vec<f32>> {
    Ok(read_f32(path)?.values)
}

/// A similarity matrix [images, captions].
pub fn similarities(path: &Path) -> anyhow::Result<SimilarityMatrix> {
    let array = MappedArray::open(path, "images, captions")?;
    let mut values = vec![0.0; array.rows() * array.row_len()];
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

/// Fragments of ragged entries, not yet normalised.
#[derive(Debug)]
pub struct Ragged {
    /// [entries, fragments, D]; padding is zero, whatever the file has there.
    pub rows: Tensor,
    /// Valid fragments of each entry.
    pub counts: Vec<usize>,
}

/// Reads fragments and, where given, how many each entry has; all of them without.
///
/// NaN and infinity are refused where a fragment is valid; padding may hold anything.
pub fn ragged(path: &Path, counts: Option<&Path>, named: Named) -> anyhow::Result<Ragged> {
    let array = MappedArray::open(path, named.axes)?;
    let [entries, fragments, width] = [0, 1, 2].map(|axis| array.shape()[axis]);
    let counts = match counts {
        Some(counts) => read_counts(counts, path, [entries, fragments], named)?,
        None => vec![fragments; entries],
    };
    let mut values = vec![0.0; entries * fragments * width];
    array.read_rows(0, &mut values)?;
    for (entry, row) in values.chunks_mut(fragments * width).enumerate() {
        let (valid, padding) = row.split_at_mut(counts[entry] * width);
        padding.fill(0.0);
        if let Some(place) = valid.iter().position(|value| !value.is_finite()) {
            return Err(wrong(format!(
                "{}: {} {entry}, {} {}, number {} is {}: expected a finite number",
                path.display(),
                named.entry,
                named.fragment,
                place / width,
                place % width,
                valid[place]
            )));
        }
    }
    let rows = Tensor::from_vec(values, (entries, fragments, width), &Device::Cpu)?;
    Ok(Ragged { rows, counts })
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
