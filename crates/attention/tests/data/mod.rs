//! Seeded batches for the tests of this crate, with entries of different lengths.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use candle_core::{DType, Device, Tensor};
use uard_attention::{Matcher, MatcherConfig, Sides, WeightRule};
use uard_core::random::{Draws, normal};
use uard_core::{Regions, Words};

/// The raw rows of images or captions, and how many fragments each has.
#[derive(Debug, Clone)]
pub struct Side {
    pub raw: Tensor,
    pub counts: Vec<usize>,
}

/// Raw fragments of `counts.len()` entries, f64, padded with random numbers that must not matter.
///
/// A direction is added to all fragments, so that cosines spread between zero and one.
pub fn side(seed: u64, label: &str, counts: &[usize], width: usize) -> Side {
    let longest = *counts.iter().max().unwrap();
    let mut stream = Draws::new(seed).stream(label, &[]);
    let mut values = normal(&mut stream, 1.0, counts.len() * longest * width);
    for row in values.chunks_mut(width) {
        row[0] += 0.8;
    }
    let values: Vec<f64> = values.into_iter().map(f64::from).collect();
    let raw = Tensor::from_vec(values, (counts.len(), longest, width), &Device::Cpu).unwrap();
    Side {
        raw,
        counts: counts.to_vec(),
    }
}

impl Side {
    pub fn regions(&self, dtype: DType) -> Regions {
        Regions::normalized(&self.raw.to_dtype(dtype).unwrap(), self.counts.clone()).unwrap()
    }

    pub fn words(&self, dtype: DType) -> Words {
        Words::normalized(&self.raw.to_dtype(dtype).unwrap(), self.counts.clone()).unwrap()
    }
}

/// Every rule with every choice of sides, with the default inverse temperature and another one.
pub fn every_matcher() -> Vec<Matcher> {
    let mut matchers = Vec::new();
    for rule in WeightRule::ALL {
        for sides in [Sides::Both, Sides::Words, Sides::Regions] {
            for inverse_temperature in [None, Some(3.0)] {
                let config = MatcherConfig {
                    rule,
                    sides,
                    inverse_temperature,
                };
                matchers.push(Matcher::new(config).unwrap());
            }
        }
    }
    matchers
}

/// Shapes of batches: counts of regions, counts of words, width. Each found a mistake before.
pub const SHAPES: [(&[usize], &[usize], usize); 5] = [
    (&[1], &[1], 1),
    (&[1, 1], &[3], 4),
    (&[5, 2, 7], &[4, 1, 6, 3], 8),
    (&[9], &[1, 12], 16),
    (&[36, 20], &[8, 20, 13], 32),
];

/// All numbers of a tensor as f64.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor
        .to_dtype(DType::F64)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// Fails unless all numbers differ by at most `tolerance`.
#[track_caller]
pub fn assert_near(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= tolerance,
            "{what}, entry {at}: found {a}, expected {b}"
        );
    }
}
