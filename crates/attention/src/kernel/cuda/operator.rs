//! The similarity of a batch by the training kernels: an operator on relevance and both Gram matrices.
//!
//! candle multiplies, in the forward and in the backward pass; between its products our kernels
//! turn relevance into similarities, and back. Tensors of a CUDA device are read where they lie; those
//! of the host are copied to the machine and back, so that the kernels can be checked where there is
//! no CUDA under candle.

use std::sync::Arc;

use bytemuck::Pod;
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{
    CpuStorage, CustomOp3, DType, Device, Error as CandleError, Layout, Result as CandleResult,
    Shape, Tensor, WithDType,
};
use uard_core::gpu::{Argument, Machine, Numbers};
#[cfg(feature = "cuda")]
use uard_core::gpu::{
    GpuError,
    tensors::{address, address_of, driver},
};
use uard_core::{Regions, Words};

use super::pairs::{BatchAnswers, BatchGradients, BatchInputs, BatchPairs, BatchShape};
#[cfg(feature = "cuda")]
use crate::Error;
use crate::matcher::Products;
use crate::{MatcherConfig, Result};

const NAME: &str = "uard-matcher-kernels";

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
    let maxima = Shape::from((shape.captions, shape.words, shape.images));
    let zeros = Tensor::zeros(3, DType::I64, device)?;
    let shared = machine.shared_bytes();
    let (word_maxima, counts_above) = (
        Arc::new(Placed::<f32>::unset(&*machine, &maxima, device)?),
        Arc::new(Placed::<i64>::new(&*machine, &zeros)?),
    );
    let operator = Operator {
        pairs: BatchPairs::new(question.config, question.threshold, shape, shared)?,
        shape,
        region_counts: counts(regions.counts())?,
        word_counts: counts(words.counts())?,
        word_maxima: Arc::clone(&word_maxima),
        counts: Arc::clone(&counts_above),
        machine,
    };
    let (region_grams, word_grams) = (&products.region_grams, &products.word_grams);
    let values = products
        .relevance
        .apply_op3(region_grams, word_grams, operator)?;
    Ok(Found {
        values,
        word_maxima: word_maxima.tensor(&maxima)?,
        counts: counts_above.tensor(&Shape::from(3))?,
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

struct Operator {
    machine: Arc<dyn Machine>,
    pairs: BatchPairs,
    shape: BatchShape,
    region_counts: Placed<u32>,
    word_counts: Placed<u32>,
    /// By-products of the forward pass.
    word_maxima: Arc<Placed<f32>>,
    counts: Arc<Placed<i64>>,
}

impl Operator {
    fn inputs(&self, given: [Argument; 3]) -> CandleResult<BatchInputs> {
        let [relevance, region_grams, word_grams] = given;
        Ok(BatchInputs {
            relevance,
            region_grams,
            word_grams,
            region_counts: self.region_counts.argument()?,
            word_counts: self.word_counts.argument()?,
        })
    }

    /// From relevance and both Gram matrices to similarities [I, C], all where the machine reads them.
    fn forward(&self, given: [Argument; 3], similarities: Argument) -> CandleResult<()> {
        let inputs = self.inputs(given)?;
        let answers = BatchAnswers {
            similarities,
            word_maxima: self.word_maxima.argument()?,
            counts: self.counts.argument()?,
        };
        // SAFETY: all numbers have the sizes of the shape. Tensors live on candle's stream, which
        // gives memory back after the kernels before it; the callers' copies until they were read.
        unsafe { self.pairs.forward(&*self.machine, &inputs, &answers) }.map_err(CandleError::wrap)
    }
}

impl CustomOp3 for Operator {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        relevance: &CpuStorage,
        relevance_layout: &Layout,
        region_grams: &CpuStorage,
        region_layout: &Layout,
        word_grams: &CpuStorage,
        word_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let shape = Shape::from((self.shape.images, self.shape.captions));
        let copied = |storage: &CpuStorage, layout: &Layout| match layout.contiguous_offsets() {
            Some((start, end)) => {
                let numbers = &storage.as_slice::<f32>()?[start..end];
                Numbers::copied(&*self.machine, numbers).map_err(CandleError::wrap)
            }
            None => Err(CandleError::RequiresContiguous { op: NAME }.bt()),
        };
        let relevance = copied(relevance, relevance_layout)?;
        let region_grams = copied(region_grams, region_layout)?;
        let word_grams = copied(word_grams, word_layout)?;
        let values = Numbers::<f32>::unset(&*self.machine, shape.elem_count());
        let values = values.map_err(CandleError::wrap)?;
        let given = [&relevance, &region_grams, &word_grams].map(Numbers::argument);
        self.forward(given, values.argument())?;
        let values = values.read().map_err(CandleError::wrap)?;
        Ok((CpuStorage::F32(values), shape))
    }

    #[cfg(feature = "cuda")]
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
        let given = [
            address_of(relevance, relevance_layout)?,
            address_of(region_grams, region_layout)?,
            address_of(word_grams, word_layout)?,
        ];
        self.forward(given, address_of(&values, &Layout::contiguous(&shape))?)?;
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
        let machine = &*self.machine;
        let given = [relevance, region_grams, word_grams];
        let [a, b, c] = given.map(|tensor| Placed::<f32>::new(machine, tensor));
        let from = [a?, b?, c?];
        let [a, b, c] =
            given.map(|tensor| Placed::<f32>::new(machine, &tensor.zeros_like()?.contiguous()?));
        let to = [a?, b?, c?];
        let upstream = Placed::<f32>::new(machine, upstream)?;
        let inputs = self.inputs([
            from[0].argument()?,
            from[1].argument()?,
            from[2].argument()?,
        ])?;
        let gradients = BatchGradients {
            relevance: to[0].argument()?,
            region_grams: to[1].argument()?,
            word_grams: to[2].argument()?,
        };
        let upstream_at = upstream.argument()?;
        // SAFETY: as in the forward pass; the gradients are zero.
        unsafe {
            self.pairs
                .backward(machine, &inputs, upstream_at, &gradients)
        }
        .map_err(CandleError::wrap)?;
        Ok((
            Some(to[0].tensor(relevance.shape())?),
            Some(to[1].tensor(region_grams.shape())?),
            Some(to[2].tensor(word_grams.shape())?),
        ))
    }
}
