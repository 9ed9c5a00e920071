//! The similarity of a batch on a CUDA device: an operator on relevance and both Gram matrices.
//!
//! candle multiplies, in the forward and in the backward pass; between its products our kernels
//! turn relevance into similarities, and back.

use std::sync::Arc;

use candle_core::{
    CpuStorage, CudaStorage, CustomOp3, DType, Error as CandleError, Layout,
    Result as CandleResult, Shape, Tensor,
};
use uard_core::gpu::tensors::{address, address_of, driver};
use uard_core::gpu::{Driver, GpuError, Machine};
use uard_core::{Regions, Words};

use super::pairs::{BatchAnswers, BatchGradients, BatchInputs, BatchPairs, BatchShape};
use crate::{Error, MatcherConfig, Result};

const NAME: &str = "uard-matcher-cuda";

/// What the kernels find.
pub(crate) struct Found {
    /// [I, C], differentiable.
    pub values: Tensor,
    /// [C, W, I], detached.
    pub word_maxima: Tensor,
    /// Word queries, region queries and cells above the threshold, i64.
    pub counts: Tensor,
}

/// Whether the kernels know the rule and numbers, and a multiprocessor holds a pair.
pub(crate) fn reaches(
    config: &MatcherConfig,
    (regions, words): (&Regions, &Words),
) -> Result<bool> {
    if regions.rows().dtype() != DType::F32 || !BatchPairs::knows(config.rule) {
        return Ok(false);
    }
    let shared = driver(regions.rows().device())?.shared_bytes();
    match BatchPairs::new(config, 0.0, batch_shape(regions, words), shared) {
        Ok(_) => Ok(true),
        Err(Error::Gpu(GpuError::TooLarge { .. })) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Similarities from `relevance` [C W, I R] and the Gram matrices of regions and words.
pub(crate) fn similarities(
    (config, threshold): (&MatcherConfig, f64),
    (regions, words): (&Regions, &Words),
    relevance: &Tensor,
    (region_grams, word_grams): &(Tensor, Tensor),
) -> Result<Found> {
    let device = relevance.device();
    let driver = driver(device)?;
    let shape = batch_shape(regions, words);
    let counts = |counts: &[usize]| {
        let counts: Vec<u32> = counts.iter().map(|&count| count as u32).collect();
        Tensor::new(counts, device)
    };
    let maxima = (shape.captions, shape.words, shape.images);
    // SAFETY: the forward pass writes every number, padding words included, before anybody reads;
    // the interpreter of PTX refuses a byte that nobody wrote.
    let word_maxima = unsafe { Tensor::empty(maxima, DType::F32, device) }?;
    let found = Tensor::zeros(3, DType::I64, device)?;
    let operator = Operator {
        pairs: BatchPairs::new(config, threshold, shape, driver.shared_bytes())?,
        shape,
        region_counts: counts(regions.counts())?,
        word_counts: counts(words.counts())?,
        word_maxima: word_maxima.clone(),
        counts: found.clone(),
        driver,
    };
    Ok(Found {
        values: relevance.apply_op3(region_grams, word_grams, operator)?,
        word_maxima,
        counts: found,
    })
}

fn batch_shape(regions: &Regions, words: &Words) -> BatchShape {
    BatchShape {
        images: regions.images(),
        regions: regions.longest(),
        captions: words.captions(),
        words: words.longest(),
    }
}

struct Operator {
    driver: Arc<Driver>,
    pairs: BatchPairs,
    shape: BatchShape,
    region_counts: Tensor,
    word_counts: Tensor,
    /// By-products of the forward pass.
    word_maxima: Tensor,
    counts: Tensor,
}

impl CustomOp3 for Operator {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        Err(CandleError::Msg(format!("{NAME}: its tensors must be on a CUDA device")).bt())
    }

    fn cuda_fwd(
        &self,
        relevance: &CudaStorage,
        relevance_layout: &Layout,
        region_grams: &CudaStorage,
        region_layout: &Layout,
        word_grams: &CudaStorage,
        word_layout: &Layout,
    ) -> CandleResult<(CudaStorage, Shape)> {
        let shape = Shape::from((self.shape.images, self.shape.captions));
        let device = relevance.device.clone();
        // SAFETY: the forward pass writes the similarity of every pair before anybody reads one.
        let values = unsafe { device.alloc::<f32>(shape.elem_count()) }?;
        let values = CudaStorage::wrap_cuda_slice(values, device);
        let inputs = BatchInputs {
            relevance: address_of(relevance, relevance_layout)?,
            region_grams: address_of(region_grams, region_layout)?,
            word_grams: address_of(word_grams, word_layout)?,
            region_counts: address(&self.region_counts)?,
            word_counts: address(&self.word_counts)?,
        };
        let answers = BatchAnswers {
            similarities: address_of(&values, &Layout::contiguous(&shape))?,
            word_maxima: address(&self.word_maxima)?,
            counts: address(&self.counts)?,
        };
        // SAFETY: all tensors have the sizes of the shape and live on candle's stream, which gives
        // memory back after the kernels before it.
        unsafe { self.pairs.forward(&*self.driver, &inputs, &answers) }
            .map_err(CandleError::wrap)?;
        Ok((values, shape))
    }

    fn bwd(
        &self,
        relevance: &Tensor,
        region_grams: &Tensor,
        word_grams: &Tensor,
        _similarities: &Tensor,
        upstream: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let upstream = upstream.contiguous()?;
        let gradients = [relevance, region_grams, word_grams]
            .map(|tensor| Tensor::zeros(tensor.shape(), tensor.dtype(), tensor.device()));
        let [to_relevance, to_region_grams, to_word_grams] = gradients;
        let (to_relevance, to_region_grams, to_word_grams) =
            (to_relevance?, to_region_grams?, to_word_grams?);
        let inputs = BatchInputs {
            relevance: address(relevance)?,
            region_grams: address(region_grams)?,
            word_grams: address(word_grams)?,
            region_counts: address(&self.region_counts)?,
            word_counts: address(&self.word_counts)?,
        };
        let gradients = BatchGradients {
            relevance: address(&to_relevance)?,
            region_grams: address(&to_region_grams)?,
            word_grams: address(&to_word_grams)?,
        };
        let upstream = address(&upstream)?;
        // SAFETY: as in the forward pass; the gradients are zero.
        unsafe {
            self.pairs
                .backward(&*self.driver, &inputs, upstream, &gradients)
        }
        .map_err(CandleError::wrap)?;
        Ok((
            Some(to_relevance),
            Some(to_region_grams),
            Some(to_word_grams),
        ))
    }
}
