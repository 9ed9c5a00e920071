//! Seeded ragged batches, and the matchers that they are checked with.

use candle_core::{Device, Tensor};
use uard_core::random::{Draws, normal};
use uard_core::{Regions, Words};

use super::Extent;
use crate::{Matcher, MatcherConfig, Result, Sides, WeightRule};

/// Counts of regions, counts of words, width.
pub(crate) type Counts = (Vec<usize>, Vec<usize>, usize);

/// Their numbers name them and are their seeds.
pub(crate) fn batches(extent: Extent) -> Vec<(u64, Counts)> {
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
    let mut batches: Vec<_> = (0..).zip(batches).collect();
    if extent == Extent::Smallest {
        // Several tiles on either side.
        batches = vec![batches.swap_remove(2)];
    }
    batches
}

/// Those rules with each side; in the smallest extent with both, and without the rules that are the
/// masked rule but for a comparison.
pub(crate) fn matchers(rules: &[WeightRule], extent: Extent) -> Result<Vec<Matcher>> {
    let mut matchers = Vec::new();
    let is_small = extent == Extent::Smallest;
    let sides = match is_small {
        true => &[Sides::Both][..],
        false => &[Sides::Both, Sides::Words, Sides::Regions],
    };
    for &rule in rules {
        if is_small && matches!(rule, WeightRule::Nearest | WeightRule::Zero) {
            continue;
        }
        for &sides in sides {
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
}
