//! What engines find of rows of any numbers, which 16 bits do not hold: similarities and lists.

use candle_core::DType;
use uard_attention::search::{Ranked, Search, TopK};
use uard_attention::{Engine, Matcher, Precision, Running, WeightRule};

use super::sample::{Sample, Shape, cycle, matchers};
use super::{Check, Extent, OnCheck, exactly, largest};

/// Similarities in 16 bits against f64, where both see the same mask.
const LIMIT_OF_16_BITS: f64 = 2e-3;

/// The same in f32: sums in another order, amplified by the inverse temperature.
const LIMIT_OF_F32: f64 = 3e-5;

/// The longest list that recall asks for.
const LISTED: usize = 10;

/// The share of cells above the threshold, as a learned one leaves it: few lie near it.
const KEPT_CELLS: f64 = 0.025;

/// Sums in another order move a cell by less.
const SUMS: f64 = 1e-5;

/// Of all pairs so many must be left to compare.
const LEAST_SHARE: f64 = 0.5;

/// Checks engines against the reference on the unrounded rows: similarities, and lists of ten.
/// Pairs with a cell that rounding moves across the threshold are left out. The smallest extent has
/// none of it: [`matching`](super::matching) runs the same kernels.
///
/// # Errors
/// When an engine fails; a wrong number is a [`Check`] that has not passed.
pub fn check(runs: &[Running], extent: Extent, on_check: OnCheck<'_>) -> anyhow::Result<()> {
    if extent == Extent::Smallest {
        return Ok(());
    }
    let rules = [
        WeightRule::Masked,
        WeightRule::Nearest,
        WeightRule::Scan,
        WeightRule::MaxSim,
    ];
    for (at, shape) in batches(extent).iter().enumerate() {
        let sample = Sample::drawn(100 + at as u64, shape, KEPT_CELLS)?;
        let near = runs
            .iter()
            .map(|running| moved(&sample, running.precision()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        for matcher in matchers(&rules, extent)? {
            let judge = Search::new(
                &matcher,
                sample.threshold,
                Engine::Reference,
                Precision::F32,
            )?;
            let judge = judge.all_pairs(&sample.regions, &sample.words, &|_, _| ())?;
            for (running, near) in runs.iter().zip(&near) {
                let what = format!(
                    "rounding {} {} {:?}, batch {at}, {}",
                    running.engine(),
                    matcher.config().rule,
                    matcher.config().sides,
                    running.precision()
                );
                let seen = judge.values.iter().zip(near);
                let has_masks = matcher.config().has_masks();
                let seen = seen.map(|(&value, &near)| (!(near && has_masks)).then_some(value));
                let judged = Judged {
                    values: seen.collect(),
                    captions: shape.words.len(),
                    limit: limit(running.precision()),
                };
                let found = Found::new(&sample, &matcher, running)?;
                let compared = judged.compared(&found, &what);
                compared.into_iter().for_each(&mut *on_check);
            }
        }
    }
    Ok(())
}

fn limit(precision: Precision) -> f64 {
    match precision {
        Precision::Bf16 | Precision::F16 => LIMIT_OF_16_BITS,
        Precision::F32 | Precision::Exact => LIMIT_OF_F32,
    }
}

/// More images and captions than a list is long, as wide as models are.
fn batches(extent: Extent) -> Vec<Shape> {
    let mut batches = vec![Shape::new(cycle(12, 3, 9), cycle(14, 2, 11), 256)];
    if extent == Extent::Full {
        batches.push(Shape::new(vec![36; 40], cycle(90, 8, 21), 1024));
    }
    batches
}

/// What an engine finds.
struct Found {
    values: Vec<f32>,
    lists: TopK,
}

impl Found {
    fn new(sample: &Sample, matcher: &Matcher, running: &Running) -> anyhow::Result<Self> {
        let search = Search::on(matcher, sample.threshold, running)?;
        let mut regions = search.regions(sample.regions.width())?;
        regions.push(&sample.regions)?;
        let mut words = search.words(sample.words.width())?;
        words.push(&sample.words)?;
        let (regions, words) = (regions.finish()?, words.finish()?);
        let mut values = vec![f32::NAN; regions.images() * words.captions()];
        search.similarities_into(&regions, &words, &mut values, &|_, _| ())?;
        let lists = search.top_k(regions, words, LISTED, &|_, _| ())?;
        Ok(Self { values, lists })
    }
}

/// What the reference finds, where rounding moves no cell across the threshold.
struct Judged {
    /// Similarities [I, C].
    values: Vec<Option<f32>>,
    captions: usize,
    limit: f64,
}

impl Judged {
    fn compared(&self, found: &Found, what: &str) -> [Check; 3] {
        let (values, captions) = (&self.values, self.captions);
        let images = values.len() / captions;
        let pairs = found.values.iter().zip(values);
        let differences = pairs.filter_map(|(found, expected)| Some((found - (*expected)?).abs()));
        let left = values.iter().flatten().count();
        let of_images = found.lists.captions_of_images.iter().enumerate();
        let of_images = of_images.map(|(image, list)| {
            let row = &values[image * captions..][..captions];
            displaced(list, captions, |caption| row[caption])
        });
        let of_captions = found.lists.images_of_captions.iter().enumerate();
        let of_captions = of_captions.map(|(caption, list)| {
            displaced(list, images, |image| values[image * captions + caption])
        });
        [
            Check {
                name: format!("{what}: similarities"),
                found: largest(differences.map(f64::from)),
                limit: self.limit,
            },
            // An order of two that lie nearer is no error: each may be off by the limit.
            Check {
                name: format!("{what}: lists"),
                found: largest(of_images.chain(of_captions)),
                limit: 2.0 * self.limit,
            },
            exactly(
                format!("{what}: enough pairs"),
                left as f64 >= LEAST_SHARE * values.len() as f64,
            ),
        ]
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

/// For every pair [I, C], whether a cell of it lies on the other side of the threshold once rows are
/// rounded, or so near that the order of a sum may decide.
fn moved(sample: &Sample, precision: Precision) -> anyhow::Result<Vec<bool>> {
    let rounded = match precision {
        Precision::Bf16 => DType::BF16,
        Precision::F16 => DType::F16,
        Precision::F32 | Precision::Exact => DType::F32,
    };
    let (exact, rounded) = (sample.relevance(DType::F64)?, sample.relevance(rounded)?);
    let (images, captions) = (sample.regions.images(), sample.words.captions());
    let (words, regions) = (sample.words.longest(), sample.regions.longest());
    let threshold = sample.threshold;
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

    #[test]
    fn a_wrong_similarity_shows_in_every_pair_that_is_left() {
        let judged = Judged {
            values: vec![Some(0.5), None, Some(0.25), Some(0.75)],
            captions: 2,
            limit: 1e-3,
        };
        let lists = |rows: [[usize; 2]; 2]| {
            let ranked = |index| Ranked {
                index,
                similarity: 0.0,
            };
            rows.map(|row| row.map(ranked).to_vec()).to_vec()
        };
        let found = |values: [f32; 4]| Found {
            values: values.to_vec(),
            lists: TopK {
                captions_of_images: lists([[0, 1], [1, 0]]),
                images_of_captions: lists([[0, 1], [1, 0]]),
                kept: Default::default(),
                recomputed: 0,
            },
        };
        let passed = |values| {
            let checks = judged.compared(&found(values), "");
            checks.map(|check| check.passed())
        };
        assert_eq!(passed([0.5, 9.0, 0.25, 0.75]), [true, true, true]);
        for wrong in [[0.502, 0.0, 0.25, 0.75], [0.5, 0.0, f32::NAN, 0.75]] {
            assert_eq!(passed(wrong), [false, true, true]);
        }
    }
}
