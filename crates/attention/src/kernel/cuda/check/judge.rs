//! The composed form in f64 that judges what kernels make of a sample.

use candle_core::{DType, Device, Tensor};

use crate::composed::Batch;
use crate::kernel::check::sample::Sample;
use crate::{Kept, Matcher, Result};

/// What is wanted of the threshold; the middle of two cells near it is taken.
const THRESHOLD: f64 = 0.2;

impl Sample {
    /// Relevance of rows as `round` leaves them and Gram matrices, in f64.
    pub(super) fn batch(&self, round: impl Fn(f32) -> f64) -> Result<Batch> {
        let rounded = |rows: &Tensor| -> Result<Tensor> {
            let numbers = rows.flatten_all()?.to_vec1::<f32>()?;
            let numbers: Vec<f64> = numbers.into_iter().map(&round).collect();
            let (entries, longest, width) = rows.dims3()?;
            Ok(Tensor::from_vec(
                numbers,
                (entries * longest, width),
                &Device::Cpu,
            )?)
        };
        let (i, r, _) = self.regions.rows().dims3()?;
        let (c, w, _) = self.words.rows().dims3()?;
        let relevance = rounded(self.words.rows())?.matmul(&rounded(self.regions.rows())?.t()?)?;
        let gram = |rows: &Tensor| -> Result<Tensor> {
            let rows = rows.to_dtype(DType::F64)?;
            Ok(rows.matmul(&rows.t()?)?)
        };
        Ok(Batch {
            relevance: relevance.reshape((c, w, i, r))?,
            region_gram: gram(self.regions.rows())?,
            word_gram: gram(self.words.rows())?,
            region_validity: self.regions.validity()?.to_dtype(DType::F64)?,
            word_validity: self.words.validity()?.to_dtype(DType::F64)?,
        })
    }
}

/// The middle of the two cells between which the wanted threshold lies: no rounding moves a cell
/// over it.
pub(super) fn threshold_between(batch: &Batch) -> Result<f64> {
    let mut cells = batch.relevance.flatten_all()?.to_vec1::<f64>()?;
    cells.sort_by(f64::total_cmp);
    let at = cells.partition_point(|&cell| cell <= THRESHOLD);
    // The widest of some gaps around it.
    let gaps = at.saturating_sub(8).max(1)..(at + 8).min(cells.len());
    let widest =
        gaps.max_by(|&a, &b| (cells[a] - cells[a - 1]).total_cmp(&(cells[b] - cells[b - 1])));
    Ok(widest.map_or(THRESHOLD, |at| (cells[at] + cells[at - 1]) / 2.0))
}

pub(super) fn counted(
    batch: &Batch,
    matcher: &Matcher,
    (sample, threshold): (&Sample, f64),
) -> Result<Kept> {
    let totals = Kept::of_totals(sample.regions.counts(), sample.words.counts());
    if !matcher.config().has_masks() {
        return Ok(totals.everything());
    }
    let threshold = matcher.config().threshold(threshold);
    let [word_queries, region_queries, cells] = batch.count_above(threshold)?;
    Ok(Kept {
        word_queries,
        region_queries,
        cells,
        ..totals
    })
}
