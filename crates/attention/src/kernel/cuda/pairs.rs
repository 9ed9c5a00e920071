//! The plan of the training kernels (`pair.cu`) for one rule, threshold and padded shape: which
//! program runs, and how much shared memory a block needs.

use uard_core::gpu::{Argument, GpuError, Program};

use crate::config::{MatcherConfig, QuerySide};
use crate::{Error, Result, WeightRule};

/// Threads of a block.
pub(super) const THREADS: u32 = 256;

/// The most pairs of a block; each has a warp.
const MOST_WARPS: usize = 8;

/// Padded sizes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchShape {
    /// Images I.
    pub images: usize,
    /// Regions R of each, padded.
    pub regions: usize,
    /// Captions C.
    pub captions: usize,
    /// Words W of each, padded.
    pub words: usize,
}

/// Which program runs for one rule, threshold and padded shape, and its numbers.
#[derive(Debug, Clone)]
pub(super) struct PairPlan {
    pub program: Program,
    pub config: MatcherConfig,
    /// The threshold that the rule applies.
    pub threshold: f32,
    pub shape: BatchShape,
    /// Pairs of a block in the forward pass.
    pub warps: usize,
}

impl PairPlan {
    /// Whether there are kernels for the rule.
    pub fn supports(rule: WeightRule) -> bool {
        rule != WeightRule::Scan
    }

    /// The plan for a GPU with `shared` bytes of shared memory for a block.
    ///
    /// # Errors
    /// When the rule is scan, which has no kernel here; when the threshold is not finite; when the
    /// backward pass of a pair needs more shared memory.
    pub fn new(
        config: &MatcherConfig,
        threshold: f64,
        shape: BatchShape,
        shared: u32,
    ) -> Result<Self> {
        if !Self::supports(config.rule) {
            return Err(Error::Setting {
                setting: "rule of the CUDA training kernels",
                found: config.rule.to_string(),
                expected: "masked, nearest, zero or maxsim",
            });
        }
        MatcherConfig::check_threshold(threshold)?;
        if shape.backward_bytes() > shared as usize {
            return Err(GpuError::TooLarge {
                what: "cells of a pair in training",
                found: shape.words * shape.regions,
                most: shared as usize / (3 * size_of::<f32>()),
            }
            .into());
        }
        Ok(Self {
            program: pair_program(config.rule),
            config: *config,
            threshold: config.threshold(threshold) as f32,
            shape,
            warps: (shared as usize / shape.forward_bytes()).clamp(1, MOST_WARPS),
        })
    }
}

impl BatchShape {
    /// Images, regions, captions and words, in the order of the kernels' parameters.
    pub fn arguments(&self) -> [Argument; 4] {
        [self.images, self.regions, self.captions, self.words]
            .map(|count| Argument::U32(count as u32))
    }

    /// Room for the cells of a pair in shared memory, where the length of a row is odd.
    fn cells(&self) -> usize {
        self.words * (self.regions | 1)
    }

    /// Bytes of shared memory of a pair in the forward pass: its cells.
    pub fn forward_bytes(&self) -> usize {
        self.cells() * size_of::<f32>()
    }

    /// Bytes of shared memory of a block in the backward pass: cells, their gradient, weights, and a
    /// factor for each query.
    pub fn backward_bytes(&self) -> usize {
        (3 * self.cells() + self.words.max(self.regions)) * size_of::<f32>()
    }
}

/// The inverse temperature of a side over ln 2, for weights as powers of two; -1 where the side has
/// no queries.
pub(super) fn side_argument(config: &MatcherConfig, side: QuerySide) -> Argument {
    let over_ln_2 = |inverse_temperature| inverse_temperature * std::f64::consts::LOG2_E;
    let factor = config.query_temperature(side).map(over_ln_2);
    Argument::F32(factor.unwrap_or(-1.0) as f32)
}

/// The training kernels of one rule.
pub(super) fn pair_program(rule: WeightRule) -> Program {
    Program {
        name: "pair",
        sources: &[include_str!("gram_form.cuh"), include_str!("pair.cu")],
        defines: vec![
            ("RULE", super::programs::rule_number(rule)),
            ("THREADS", THREADS),
        ],
    }
}
