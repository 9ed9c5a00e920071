//! The similarity of a training batch from its relevance, and the gradients of both: launches of
//! `pair.cu`.

use uard_core::gpu::{Argument, GpuError, GpuResult, Launch, Machine, Program};

use crate::config::{MatcherConfig, QuerySide};
use crate::{Error, Result, WeightRule};

/// Threads of a block.
const THREADS: u32 = 256;

/// Pairs of a block at most: a warp each.
const MOST_WARPS: usize = 8;

/// Padded sizes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchShape {
    /// Images I.
    pub images: usize,
    /// Regions R of each, padded.
    pub regions: usize,
    /// Captions C.
    pub captions: usize,
    /// Words W of each, padded.
    pub words: usize,
}

/// Where a batch lies in a machine's memory: f32, and counts in u32.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchInputs {
    /// [C, W, I, R].
    pub relevance: Argument,
    /// [I, R, R].
    pub region_grams: Argument,
    /// [C, W, W].
    pub word_grams: Argument,
    /// Valid regions of each image.
    pub region_counts: Argument,
    /// Valid words of each caption.
    pub word_counts: Argument,
}

/// Where the forward pass writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchAnswers {
    /// [I, C], f32.
    pub similarities: Argument,
    /// [C, W, I], f32: the highest relevance of each word, zero for padding.
    pub word_maxima: Argument,
    /// Word queries, region queries and cells above the threshold are added to these u64.
    pub counts: Argument,
}

/// Where the backward pass adds; everything zero before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchGradients {
    /// [C, W, I, R].
    pub relevance: Argument,
    /// [I, R, R].
    pub region_grams: Argument,
    /// [C, W, W].
    pub word_grams: Argument,
}

/// The rule of a batch, for padded sizes that fit a multiprocessor.
#[derive(Debug, Clone)]
pub(crate) struct BatchPairs {
    program: Program,
    config: MatcherConfig,
    threshold: f32,
    shape: BatchShape,
    /// Pairs of a block of the forward pass.
    warps: usize,
}

impl BatchPairs {
    /// Whether the kernels know the rule, on any machine.
    pub(crate) fn knows(rule: WeightRule) -> bool {
        rule != WeightRule::Scan
    }

    /// For a machine with `shared` bytes for a block.
    ///
    /// # Errors
    /// When the rule is scan, which has no kernel here, the threshold is not finite, or a
    /// pair is larger than a multiprocessor holds.
    pub fn new(
        config: &MatcherConfig,
        threshold: f64,
        shape: BatchShape,
        shared: u32,
    ) -> Result<Self> {
        if !Self::knows(config.rule) {
            return Err(Error::Setting {
                setting: "rule of the CUDA training kernels",
                found: config.rule.to_string(),
                expected: "masked, nearest, zero or maxsim",
            });
        }
        MatcherConfig::check_threshold(threshold)?;
        let pair = shape.cells() * size_of::<f32>();
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
            warps: (shared as usize / pair).clamp(1, MOST_WARPS),
        })
    }

    /// Similarities, maxima and counts.
    ///
    /// # Safety
    /// The addresses must be those of the shape's numbers, in memory of this machine that lives
    /// until the kernel has run.
    ///
    /// # Errors
    /// When the machine refuses.
    pub unsafe fn forward(
        &self,
        machine: &dyn Machine,
        inputs: &BatchInputs,
        answers: &BatchAnswers,
    ) -> GpuResult<()> {
        let shape = &self.shape;
        let asks = |side| match self.config.sides.asking().contains(&side) {
            true => self.config.inverse_temperature(side) * std::f64::consts::LOG2_E,
            false => -1.0,
        };
        let arguments = [
            inputs.relevance,
            inputs.region_grams,
            inputs.word_grams,
            inputs.region_counts,
            inputs.word_counts,
            answers.similarities,
            answers.word_maxima,
            answers.counts,
            Argument::U32(shape.images as u32),
            Argument::U32(shape.regions as u32),
            Argument::U32(shape.captions as u32),
            Argument::U32(shape.words as u32),
            Argument::U32(self.warps as u32),
            Argument::F32(self.threshold),
            Argument::F32(asks(QuerySide::Words) as f32),
            Argument::F32(asks(QuerySide::Regions) as f32),
        ];
        let pairs = shape.images * shape.captions;
        // SAFETY: the caller's promise; the arguments are those of the kernel.
        unsafe {
            machine.launch(&Launch {
                program: &self.program,
                kernel: "pairs_forward",
                blocks: pairs.div_ceil(self.warps) as u32,
                threads: THREADS,
                shared_bytes: (self.warps * shape.cells() * size_of::<f32>()) as u32,
                arguments: &arguments,
            })
        }
    }

    /// Adds the gradients of relevance and of both Gram matrices; `upstream` [I, C] f32 is that of
    /// similarities.
    ///
    /// # Safety
    /// As [`BatchPairs::forward`].
    ///
    /// # Errors
    /// When the machine refuses.
    pub unsafe fn backward(
        &self,
        machine: &dyn Machine,
        inputs: &BatchInputs,
        upstream: Argument,
        gradients: &BatchGradients,
    ) -> GpuResult<()> {
        let shape = &self.shape;
        for &side in self.config.sides.asking() {
            let words_ask = side == QuerySide::Words;
            let (owners, grams, to_grams) = match words_ask {
                true => (shape.images, inputs.region_grams, gradients.region_grams),
                false => (shape.captions, inputs.word_grams, gradients.word_grams),
            };
            let arguments = [
                inputs.relevance,
                grams,
                inputs.region_counts,
                inputs.word_counts,
                upstream,
                gradients.relevance,
                to_grams,
                Argument::U32(shape.images as u32),
                Argument::U32(shape.regions as u32),
                Argument::U32(shape.captions as u32),
                Argument::U32(shape.words as u32),
                Argument::U32(u32::from(words_ask)),
                Argument::F32(self.threshold),
                Argument::F32(self.config.inverse_temperature(side) as f32),
            ];
            // SAFETY: the caller's promise; the arguments are those of the kernel.
            unsafe {
                machine.launch(&Launch {
                    program: &self.program,
                    kernel: "pairs_backward",
                    blocks: owners as u32,
                    threads: THREADS,
                    shared_bytes: shape.backward_bytes() as u32,
                    arguments: &arguments,
                })
            }?;
        }
        Ok(())
    }
}

impl BatchShape {
    /// Cells of a pair as they lie in shared memory: an odd number from row to row.
    fn cells(&self) -> usize {
        self.words * (self.regions | 1)
    }

    /// Cells, their gradient, weights, and a factor a query.
    fn backward_bytes(&self) -> usize {
        (3 * self.cells() + self.words.max(self.regions)) * size_of::<f32>()
    }
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
