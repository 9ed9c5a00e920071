//! Seeded ragged batches, and the composed form in f64 that judges what kernels make of them.

use candle_core::{DType, Device, Tensor};
use uard_core::random::{Draws, normal};
use uard_core::{Regions, Words};

use super::Extent;
use crate::composed::Batch;
use crate::{Kept, Matcher, MatcherConfig, Result, Sides, WeightRule};

/// What is wanted of the threshold; the middle of two cells near it is taken.
const THRESHOLD: f64 = 0.2;

/// Counts of regions, counts of words, width.
pub(crate) type Counts = (Vec<usize>, Vec<usize>, usize);

pub(crate) fn batches(extent: Extent) -> Vec<Counts> {
    let mut batches = vec![
        (vec![1], vec![1], 1),
        (vec![5, 2, 7], vec![4, 1, 6, 3], 8),
        (
            vec![36, 20, 36, 36, 31],
            vec![8, 20, 13, 9, 30, 11, 12, 25, 14],
            100,
        ),
        (vec![150, 9], vec![3, 40], 70),
    ];
    if extent == Extent::Full {
        let cycle = |count: usize, from: usize, to: usize| -> Vec<usize> {
            (0..count).map(|at| from + at * 7 % (to - from)).collect()
        };
        batches.push((vec![36; 67], cycle(131, 4, 30), 1024));
        batches.push((cycle(40, 10, 101), cycle(60, 1, 78), 256));
        batches.push((vec![196; 9], cycle(33, 5, 40), 768));
    }
    batches
}

pub(crate) fn matchers(rules: &[WeightRule]) -> Result<Vec<Matcher>> {
    let mut matchers = Vec::new();
    for &rule in rules {
        for sides in [Sides::Both, Sides::Words, Sides::Regions] {
            matchers.push(Matcher::new(MatcherConfig {
                rule,
                sides,
                inverse_temperature: None,
            })?);
        }
    }
    Ok(matchers)
}

/// A seeded batch on the CPU.
pub(crate) struct Sample {
    pub regions: Regions,
    pub words: Words,
}

impl Sample {
    pub fn new(seed: u64, (regions, words, width): &Counts) -> Result<Self> {
        let raw = |label: &str, counts: &[usize]| -> Result<Tensor> {
            let longest = counts.iter().copied().max().unwrap_or(1);
            let mut stream = Draws::new(seed).stream(label, &[]);
            let mut numbers = normal(&mut stream, 1.0, counts.len() * longest * width);
            // A direction that all share, so that relevance lies on both sides of the threshold.
            numbers
                .chunks_mut(*width)
                .for_each(|row| row[0] += 0.5 * (*width as f32).sqrt());
            let shape = (counts.len(), longest, *width);
            Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
        };
        Ok(Self {
            regions: Regions::normalized(&raw("regions", regions)?, regions.clone())?,
            words: Words::normalized(&raw("words", words)?, words.clone())?,
        })
    }

    /// Relevance of rows as `round` leaves them and Gram matrices, in f64.
    pub fn batch(&self, round: impl Fn(f32) -> f64) -> Result<Batch> {
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
pub(crate) fn threshold_between(batch: &Batch) -> Result<f64> {
    let mut cells = batch.relevance.flatten_all()?.to_vec1::<f64>()?;
    cells.sort_by(f64::total_cmp);
    let at = cells.partition_point(|&cell| cell <= THRESHOLD);
    // The widest of some gaps around it.
    let gaps = at.saturating_sub(8).max(1)..(at + 8).min(cells.len());
    let widest =
        gaps.max_by(|&a, &b| (cells[a] - cells[a - 1]).total_cmp(&(cells[b] - cells[b - 1])));
    Ok(widest.map_or(THRESHOLD, |at| (cells[at] + cells[at - 1]) / 2.0))
}

pub(crate) fn counted(
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
