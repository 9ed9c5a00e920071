//! The similarity of a batch by the training kernels: an operator on relevance and both Gram matrices.
//!
//! candle multiplies, in the forward and in the backward pass; between its products our kernels
//! turn relevance into similarities, and back. Tensors of a CUDA device are read where they lie; those
//! of the host are copied to the machine and back, so that the kernels can be checked where there is
//! no CUDA under candle.

use std::sync::Arc;

use bytemuck::Pod;
use candle_core::{
    DType, Device, Error as CandleError, Result as CandleResult, Shape, Tensor, WithDType,
};
use uard_core::gpu::{Argument, Machine, Numbers};
#[cfg(feature = "cuda")]
use uard_core::gpu::{
    GpuError,
    tensors::{address, driver},
};
use uard_core::operator::operator;
use uard_core::{Regions, Words};

use super::pairs::{BatchAnswers, BatchGradients, BatchInputs, BatchPairs, BatchShape};
#[cfg(feature = "cuda")]
use crate::Error;
use crate::matcher::Products;
use crate::{MatcherConfig, Result};

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
#[cfg(feature = "cuda")]
pub(crate) fn reaches(config: &MatcherConfig, regions: &Regions, words: &Words) -> Result<bool> {
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

/// A batch whose similarities are asked for.
pub(crate) struct Question<'a> {
    pub config: &'a MatcherConfig,
    pub threshold: f64,
    pub regions: &'a Regions,
    pub words: &'a Words,
    pub products: &'a Products,
}

/// Similarities of a batch in f32, on the machine whose memory its tensors lie in or on any other.
pub(crate) fn similarities(machine: Arc<dyn Machine>, question: &Question<'_>) -> Result<Found> {
    let Question {
        regions,
        words,
        products,
        ..
    } = question;
    let device = products.relevance.device();
    let shape = batch_shape(regions, words);
    let counts = |counts: &[usize]| {
        let counts: Vec<u32> = counts.iter().map(|&count| count as u32).collect();
        Placed::new(&*machine, &Tensor::new(counts, device)?)
    };
    let shared = machine.shared_bytes();
    let batch = Batch {
        pairs: BatchPairs::new(question.config, question.threshold, shape, shared)?,
        region_counts: counts(regions.counts())?,
        word_counts: counts(words.counts())?,
        given: products.all().map(Tensor::detach),
        machine,
    };
    let found = batch.forward(shape)?;
    let values = operator(&found.values, &products.all(), move |upstream| {
        batch.backward(upstream)
    })?;
    Ok(Found { values, ..found })
}

fn batch_shape(regions: &Regions, words: &Words) -> BatchShape {
    BatchShape {
        images: regions.images(),
        regions: regions.longest(),
        captions: words.captions(),
        words: words.longest(),
    }
}

/// Numbers where the kernels read and write them.
enum Placed<T> {
    /// In memory that they were copied to.
    Copied(Numbers<T>),
    /// Where a tensor of a CUDA device has them.
    #[cfg(feature = "cuda")]
    There(Tensor),
}

impl<T: WithDType + Pod> Placed<T> {
    fn new(machine: &dyn Machine, tensor: &Tensor) -> CandleResult<Self> {
        #[cfg(feature = "cuda")]
        if tensor.device().is_cuda() {
            return Ok(Self::There(tensor.contiguous()?));
        }
        let numbers = tensor.flatten_all()?.to_vec1::<T>()?;
        let numbers = Numbers::copied(machine, &numbers).map_err(CandleError::wrap)?;
        Ok(Self::Copied(numbers))
    }

    /// Numbers that a kernel writes, every one, before anybody reads.
    fn unset(machine: &dyn Machine, shape: &Shape, device: &Device) -> CandleResult<Self> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            // SAFETY: every number is written before anybody reads; the interpreter of PTX refuses a
            // byte that nobody wrote.
            return Ok(Self::There(unsafe {
                Tensor::empty(shape, T::DTYPE, device)
            }?));
        }
        let _ = device;
        let numbers = Numbers::unset(machine, shape.elem_count()).map_err(CandleError::wrap)?;
        Ok(Self::Copied(numbers))
    }

    fn argument(&self) -> CandleResult<Argument> {
        match self {
            Self::Copied(numbers) => Ok(numbers.argument()),
            #[cfg(feature = "cuda")]
            Self::There(tensor) => address(tensor),
        }
    }

    fn tensor(&self, shape: &Shape) -> CandleResult<Tensor> {
        match self {
            Self::Copied(numbers) => {
                let numbers = numbers.read().map_err(CandleError::wrap)?;
                Tensor::from_vec(numbers, shape, &Device::Cpu)
            }
            #[cfg(feature = "cuda")]
            Self::There(tensor) => Ok(tensor.clone()),
        }
    }
}

/// Relevance [C W, I R] and both Gram matrices of a batch, and the kernels on them.
struct Batch {
    machine: Arc<dyn Machine>,
    pairs: BatchPairs,
    given: [Tensor; 3],
    region_counts: Placed<u32>,
    word_counts: Placed<u32>,
}

impl Batch {
    fn placed(&self, tensors: &[Tensor; 3]) -> CandleResult<[Placed<f32>; 3]> {
        let [a, b, c] = tensors
            .each_ref()
            .map(|tensor| Placed::new(&*self.machine, tensor));
        Ok([a?, b?, c?])
    }

    fn inputs(&self, given: &[Placed<f32>; 3]) -> CandleResult<BatchInputs> {
        let [relevance, region_grams, word_grams] = given;
        Ok(BatchInputs {
            relevance: relevance.argument()?,
            region_grams: region_grams.argument()?,
            word_grams: word_grams.argument()?,
            region_counts: self.region_counts.argument()?,
            word_counts: self.word_counts.argument()?,
        })
    }

    fn forward(&self, shape: BatchShape) -> CandleResult<Found> {
        let (machine, device) = (&*self.machine, self.given[0].device());
        let pairs = Shape::from((shape.images, shape.captions));
        let maxima = Shape::from((shape.captions, shape.words, shape.images));
        let values = Placed::<f32>::unset(machine, &pairs, device)?;
        let word_maxima = Placed::<f32>::unset(machine, &maxima, device)?;
        let counts = Placed::<i64>::new(machine, &Tensor::zeros(3, DType::I64, device)?)?;
        let given = self.placed(&self.given)?;
        let inputs = self.inputs(&given)?;
        let answers = BatchAnswers {
            similarities: values.argument()?,
            word_maxima: word_maxima.argument()?,
            counts: counts.argument()?,
        };
        // SAFETY: all numbers have the sizes of the shape. Tensors live on candle's stream, which
        // gives memory back after the kernels before it; copies until they were read below.
        unsafe { self.pairs.forward(machine, &inputs, &answers) }.map_err(CandleError::wrap)?;
        Ok(Found {
            values: values.tensor(&pairs)?,
            word_maxima: word_maxima.tensor(&maxima)?,
            counts: counts.tensor(&Shape::from(3))?,
        })
    }

    /// The gradients of relevance and of both Gram matrices.
    fn backward(&self, upstream: &Tensor) -> CandleResult<Vec<Tensor>> {
        let machine = &*self.machine;
        let [a, b, c] = self.given.each_ref().map(Tensor::zeros_like);
        let (from, to) = (self.placed(&self.given)?, self.placed(&[a?, b?, c?])?);
        let upstream = Placed::<f32>::new(machine, upstream)?;
        let gradients = BatchGradients {
            relevance: to[0].argument()?,
            region_grams: to[1].argument()?,
            word_grams: to[2].argument()?,
        };
        let (inputs, upstream_at) = (self.inputs(&from)?, upstream.argument()?);
        // SAFETY: as in the forward pass; the gradients are zero.
        unsafe {
            self.pairs
                .backward(machine, &inputs, upstream_at, &gradients)
        }
        .map_err(CandleError::wrap)?;
        let given = to.iter().zip(&self.given);
        given.map(|(to, like)| to.tensor(like.shape())).collect()
    }
}
