//! What a GPU in 16 bits finds of what the processor finds in f32: similarities and lists.

use std::sync::Arc;

use uard_core::gpu::Machine;

use super::judge::threshold_keeping;
use super::{exactly, precisions, rounded};
use crate::composed::Batch;
use crate::kernel::Kernel;
use crate::kernel::check::sample::{Counts, Sample, matchers};
use crate::kernel::check::{Check, Extent, OnCheck};
use crate::kernel::cuda::{DeviceRegions, DeviceSearch, DeviceWords, Half};
use crate::search::{Ranked, Search};
use crate::{Matcher, Precision, Result, WeightRule};

/// Similarities in bf16 against f32, where both see the same mask.
const SIMILARITY_LIMIT: f64 = 2e-3;

/// An order of two that lie nearer is no error: each may be off by the limit above.
const TIE_LIMIT: f64 = 2.0 * SIMILARITY_LIMIT;

/// The longest list that recall asks for.
const LISTED: usize = 10;

/// The share of cells above the threshold, as a learned one leaves it: few lie near it.
const KEPT_CELLS: f64 = 0.025;

/// Sums in another order move a cell by less.
const SUMS: f64 = 1e-5;

/// Of all pairs so many must be left to compare.
const LEAST_SHARE: f64 = 0.5;

/// Checks the matching kernels in bf16 and f16 against [`Search`] in f32: similarities, and lists of
/// ten. Pairs with a cell that rounding moves across the threshold are left out. The smallest extent
/// has none of it: [`matching`](super::matching) launches the same kernels.
///
/// # Errors
/// When the machine fails; a wrong number is a [`Check`] that has not passed.
pub fn precision<M: Machine>(
    machine: &Arc<M>,
    extent: Extent,
    on_check: OnCheck<'_>,
) -> Result<()> {
    if extent == Extent::Smallest {
        return Ok(());
    }
    let rules = [
        WeightRule::Masked,
        WeightRule::Nearest,
        WeightRule::Scan,
        WeightRule::MaxSim,
    ];
    for (at, counts) in batches(extent).iter().enumerate() {
        let sample = Sample::new(100 + at as u64, counts)?;
        let exact = sample.batch(f64::from)?;
        let cells = exact.relevance.flatten_all()?.to_vec1()?;
        let threshold = threshold_keeping(KEPT_CELLS, &cells);
        let mut halves = Vec::new();
        for &half in precisions(extent) {
            let near = moved(&exact, &sample.batch(rounded(half))?, threshold)?;
            halves.push((half, near));
        }
        for matcher in matchers(&rules, extent)? {
            let processor = Processor::new(&sample, &matcher, threshold)?;
            for (half, near) in &halves {
                let what = format!(
                    "precision {} {:?}, batch {at}, {half:?}",
                    matcher.config().rule,
                    matcher.config().sides
                );
                let near = match matcher.config().has_masks() {
                    true => near,
                    false => &vec![false; near.len()],
                };
                let gpu = Gpu::new(machine, &sample, (&matcher, threshold, *half))?;
                let compared = gpu.compared(&processor, near, &what);
                compared.into_iter().for_each(&mut *on_check);
            }
        }
    }
    Ok(())
}

/// More images and captions than a list is long, as wide as models are.
fn batches(extent: Extent) -> Vec<Counts> {
    let cycle = |count: usize, from: usize, to: usize| -> Vec<usize> {
        (0..count).map(|at| from + at * 7 % (to - from)).collect()
    };
    let mut batches = vec![(cycle(12, 3, 9), cycle(14, 2, 11), 256)];
    if extent == Extent::Full {
        batches.push((vec![36; 40], cycle(90, 8, 21), 1024));
    }
    batches
}

/// What the processor finds.
struct Processor {
    /// Similarities [I, C].
    values: Vec<f32>,
    images: usize,
    captions: usize,
}

impl Processor {
    fn new(sample: &Sample, matcher: &Matcher, threshold: f64) -> Result<Self> {
        let search = Search::new(matcher, threshold, Kernel::Auto, Precision::F32)?;
        let found = search.all_pairs(&sample.regions, &sample.words, &|_, _| ())?;
        Ok(Self {
            values: found.values,
            images: sample.regions.images(),
            captions: sample.words.captions(),
        })
    }
}

/// What the kernels find.
struct Gpu {
    values: Vec<f32>,
    captions_of_images: Vec<Vec<Ranked>>,
    images_of_captions: Vec<Vec<Ranked>>,
}

impl Gpu {
    fn new<M: Machine>(
        machine: &Arc<M>,
        sample: &Sample,
        (matcher, threshold, half): (&Matcher, f64, Half),
    ) -> Result<Self> {
        let regions = DeviceRegions::copied(&**machine, &sample.regions, half)?;
        let words = DeviceWords::copied(&**machine, &sample.words, half)?;
        let search = DeviceSearch::new(Arc::clone(machine), matcher, threshold)?;
        let sides = (&regions, &words);
        let mut values = vec![f32::NAN; sample.regions.images() * sample.words.captions()];
        search.similarities_into(sides, &mut values, &|_, _| ())?;
        let lists = search.top_k(sides, LISTED, &|_, _| ())?;
        Ok(Self {
            values,
            captions_of_images: lists.captions_of_images,
            images_of_captions: lists.images_of_captions,
        })
    }

    fn compared(&self, processor: &Processor, near: &[bool], what: &str) -> Vec<Check> {
        let captions = processor.captions;
        let pairs = self.values.iter().zip(&processor.values).zip(near);
        let differences = pairs
            .filter(|(_, near)| !**near)
            .map(|((&found, &expected), _)| f64::from((found - expected).abs()));
        let left = near.iter().filter(|near| !**near).count();
        let rows = self.captions_of_images.iter().enumerate();
        let of_images = rows.map(|(image, list)| {
            let pair = |caption| image * captions + caption;
            displaced(list, captions, |caption| {
                processor.seen(pair(caption), near)
            })
        });
        let columns = self.images_of_captions.iter().enumerate();
        let of_captions = columns.map(|(caption, list)| {
            let pair = |image| image * captions + caption;
            displaced(list, processor.images, |image| {
                processor.seen(pair(image), near)
            })
        });
        vec![
            Check {
                name: format!("{what}: similarities"),
                found: largest(differences),
                limit: SIMILARITY_LIMIT,
            },
            Check {
                name: format!("{what}: lists"),
                found: largest(of_images.chain(of_captions)),
                limit: TIE_LIMIT,
            },
            exactly(
                format!("{what}: enough pairs"),
                left as f64 >= LEAST_SHARE * near.len() as f64,
            ),
        ]
    }
}

impl Processor {
    /// The similarity of a pair, where rounding moves no cell of it across the threshold.
    fn seen(&self, pair: usize, near: &[bool]) -> Option<f32> {
        (!near[pair]).then_some(self.values[pair])
    }
}

/// By how much, at the most, one that a list leaves out or names later is better than one before it;
/// NaN for a list of the wrong length. Those without a similarity count for nothing.
fn displaced(list: &[Ranked], all: usize, similarity: impl Fn(usize) -> Option<f32>) -> f64 {
    if list.len() != LISTED.min(all) {
        return f64::NAN;
    }
    let mut later = vec![true; all];
    let steps = list.iter().map(|ranked| {
        later[ranked.index] = false;
        let Some(here) = similarity(ranked.index) else {
            return 0.0;
        };
        let rest = (0..all).filter(|&other| later[other]);
        let better = rest
            .filter_map(&similarity)
            .map(|other| f64::from(other - here));
        better.fold(0.0, f64::max)
    });
    largest(steps)
}

/// NaN if one of them is.
fn largest(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.fold(0.0, |largest: f64, number| {
        match largest.is_nan() || number.is_nan() {
            true => f64::NAN,
            false => largest.max(number),
        }
    })
}

/// For every pair [I, C], whether a cell of it lies on the other side of the threshold once rows are
/// rounded, or so near that the order of a sum may decide.
fn moved(exact: &Batch, rounded: &Batch, threshold: f64) -> Result<Vec<bool>> {
    let (captions, words, images, regions) = exact.relevance.dims4()?;
    let cells = |batch: &Batch| batch.relevance.flatten_all()?.to_vec1::<f64>();
    let (exact, rounded) = (cells(exact)?, cells(rounded)?);
    let mut near = vec![false; images * captions];
    for (at, (&exact, &rounded)) in exact.iter().zip(&rounded).enumerate() {
        let (caption, image) = (at / (words * images * regions), at / regions % images);
        near[image * captions + caption] |= (exact > threshold) != (rounded > threshold)
            || (exact - threshold).abs() < SUMS
            || (rounded - threshold).abs() < SUMS;
    }
    Ok(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_off_by_what_it_displaced_and_no_pair_without_similarity_counts() {
        let values = [Some(0.9), Some(0.5), None, Some(0.7)];
        let list = |indices: &[usize]| -> Vec<Ranked> {
            let ranked = |&index| Ranked {
                index,
                similarity: 0.0,
            };
            indices.iter().map(ranked).collect()
        };
        let off = |indices: &[usize]| displaced(&list(indices), 4, |at| values[at]);
        assert_eq!(off(&[0, 3, 1, 2]), 0.0);
        assert_eq!(off(&[2, 0, 3, 1]), 0.0);
        assert!((off(&[0, 1, 3, 2]) - 0.2).abs() < 1e-6);
        assert!((off(&[1, 0, 2, 3]) - 0.4).abs() < 1e-6);
        assert!(off(&[0, 3, 1]).is_nan());
    }
}
