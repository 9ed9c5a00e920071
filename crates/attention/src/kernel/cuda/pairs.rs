//! Launches of `pair.cu`: the similarities of a training batch from its relevance and Gram
//! matrices, and their gradients.

use uard_core::gpu::{Argument, Gpu, GpuError, GpuResult, Launch, Program};

use crate::config::{MatcherConfig, QuerySide};
use crate::{Error, Result, WeightRule};

/// Threads of a block.
const THREADS: u32 = 256;

/// The most pairs of a block; each has a warp.
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

/// Addresses of a batch in a GPU's memory: f32, and counts in u32.
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

/// Addresses that the forward pass writes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchAnswers {
    /// [I, C], f32.
    pub similarities: Argument,
    /// [C, W, I], f32: the highest relevance of each word, zero for padding.
    pub word_maxima: Argument,
    /// Three u64, to which word queries, region queries and cells above the threshold are added.
    pub counts: Argument,
}

/// Addresses of f32 that the backward pass adds to; all must be zero before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchGradients {
    /// [C, W, I, R].
    pub relevance: Argument,
    /// [I, R, R].
    pub region_grams: Argument,
    /// [C, W, W].
    pub word_grams: Argument,
}

/// The kernels for one rule, threshold and padded shape.
#[derive(Debug, Clone)]
pub(crate) struct PairKernels {
    program: Program,
    config: MatcherConfig,
    threshold: f32,
    shape: BatchShape,
    /// Pairs of a block in the forward pass.
    warps: usize,
}

impl PairKernels {
    /// Whether there are kernels for the rule.
    pub(crate) fn supports(rule: WeightRule) -> bool {
        rule != WeightRule::Scan
    }

    /// The kernels for a GPU with `shared` bytes of shared memory for a block.
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

    /// Computes similarities, word maxima and counts.
    ///
    /// # Safety
    /// Each address must point to memory of `gpu` that has the shape and type given at its
    /// field, for the shape of these kernels, and that is not freed before the kernel has run. Each
    /// region count must be from 1 to R, each word count from 1 to W.
    ///
    /// # Errors
    /// When the GPU refuses the launch.
    pub unsafe fn forward(
        &self,
        gpu: &dyn Gpu,
        inputs: &BatchInputs,
        answers: &BatchAnswers,
    ) -> GpuResult<()> {
        let shape = &self.shape;
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
            side_argument(&self.config, QuerySide::Words),
            side_argument(&self.config, QuerySide::Regions),
        ];
        let pairs = shape.images * shape.captions;
        // SAFETY: `arguments` has the types and order of the parameters of `pairs_forward`. The
        // shape and lifetime of the memory are this function's own obligations, which its caller
        // meets. A block gets shared memory for the cells of as many pairs as it has warps.
        unsafe {
            gpu.launch(&Launch {
                program: &self.program,
                kernel: "pairs_forward",
                blocks: pairs.div_ceil(self.warps) as u32,
                threads: THREADS,
                shared_bytes: (self.warps * shape.cells() * size_of::<f32>()) as u32,
                arguments: &arguments,
            })
        }
    }

    /// Adds the gradients of relevance and of both Gram matrices; `upstream` [I, C] f32 is the
    /// gradient of the loss with respect to the similarities.
    ///
    /// # Safety
    /// As for [`PairKernels::forward`]; `upstream` is one of the addresses.
    ///
    /// # Errors
    /// When the GPU refuses the launch.
    pub unsafe fn backward(
        &self,
        gpu: &dyn Gpu,
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
            // SAFETY: `arguments` has the types and order of the parameters of `pairs_backward`.
            // The shape and lifetime of the memory are this function's own obligations, which its
            // caller meets. `new` has checked that the shared memory fits a block.
            unsafe {
                gpu.launch(&Launch {
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
    /// Room for the cells of a pair in shared memory, where the length of a row is odd.
    fn cells(&self) -> usize {
        self.words * (self.regions | 1)
    }

    /// Shared memory of the backward pass: cells, their gradient, weights, and a factor for each
    /// query.
    fn backward_bytes(&self) -> usize {
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
