//! The similarity of a batch by the training kernels: an operator on relevance and both Gram
//! matrices.
//!
//! candle computes the products of both passes; between them our kernels compute similarities from
//! relevance, and the gradient of relevance from that of similarities. Tensors of a CUDA device are
//! read where they are. Those of the host are copied to the GPU and back, so that tests run the
//! kernels on an interpreter of PTX.

use std::sync::Arc;

use bytemuck::Pod;
use candle_core::{
    DType, Device, Error as CandleError, Result as CandleResult, Shape, Tensor, WithDType,
};
use uard_core::gpu::{Argument, Gpu, Launch, Numbers};
#[cfg(feature = "cuda")]
use uard_core::gpu::{
    GpuError,
    tensors::{address, driver},
};
use uard_core::operator::operator;
use uard_core::{Regions, Words};

use super::pairs::{BatchShape, PairPlan, THREADS, side_argument};
#[cfg(feature = "cuda")]
use crate::Error;
use crate::matcher::Products;
use crate::{MatcherConfig, QuerySide, Result};

/// Similarities of a batch with their graph, and by-products.
pub(crate) struct KernelOutput {
    /// [I, C], differentiable.
    pub values: Tensor,
    /// Highest relevance of each word in each image, [C, W, I], detached.
    pub word_maxima: Tensor,
    /// Word queries, region queries and cells above the threshold, i64.
    pub counts: Tensor,
}

/// Whether there are kernels for the rule and dtype, and a pair fits the shared memory of a block.
#[cfg(feature = "cuda")]
pub(crate) fn is_supported(
    config: &MatcherConfig,
    regions: &Regions,
    words: &Words,
) -> Result<bool> {
    if regions.rows().dtype() != DType::F32 || !PairPlan::supports(config.rule) {
        return Ok(false);
    }
    let shared = driver(regions.rows().device())?.shared_bytes();
    match PairPlan::new(config, 0.0, batch_shape(regions, words), shared) {
        Ok(_) => Ok(true),
        Err(Error::Gpu(GpuError::TooLarge { .. })) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Similarities of a batch in f32. Its tensors are in the memory of `gpu`, or of the host.
pub(crate) fn similarities(
    gpu: Arc<dyn Gpu>,
    config: &MatcherConfig,
    threshold: f64,
    regions: &Regions,
    words: &Words,
) -> Result<KernelOutput> {
    let products = Products::new(regions, words)?;
    let device = products.relevance.device();
    let counts = |counts: &[usize]| {
        let counts: Vec<u32> = counts.iter().map(|&count| count as u32).collect();
        KernelBuffer::new(&*gpu, &Tensor::new(counts, device)?)
    };
    let (shape, shared) = (batch_shape(regions, words), gpu.shared_bytes());
    let batch = Batch {
        plan: PairPlan::new(config, threshold, shape, shared)?,
        region_counts: counts(regions.counts())?,
        word_counts: counts(words.counts())?,
        given: products.all().map(Tensor::detach),
        gpu,
    };
    let output = batch.forward()?;
    let values = operator(&output.values, &products.all(), move |upstream| {
        batch.backward(upstream)
    })?;
    Ok(KernelOutput { values, ..output })
}

fn batch_shape(regions: &Regions, words: &Words) -> BatchShape {
    BatchShape {
        images: regions.images(),
        regions: regions.longest(),
        captions: words.captions(),
        words: words.longest(),
    }
}

/// Numbers in the GPU's memory, which the kernels read or write.
enum KernelBuffer<T> {
    /// Copied from a tensor of the host, or to be copied to one.
    Copied(Numbers<T>),
    /// Those of a contiguous tensor of a CUDA device.
    #[cfg(feature = "cuda")]
    OfTensor(Tensor),
}

impl<T: WithDType + Pod> KernelBuffer<T> {
    fn new(gpu: &dyn Gpu, tensor: &Tensor) -> CandleResult<Self> {
        #[cfg(feature = "cuda")]
        if tensor.device().is_cuda() {
            return Ok(Self::OfTensor(tensor.contiguous()?));
        }
        let numbers = tensor.flatten_all()?.to_vec1::<T>()?;
        let numbers = Numbers::copied(gpu, &numbers).map_err(CandleError::wrap)?;
        Ok(Self::Copied(numbers))
    }

    /// Numbers without values yet. A kernel must write every one of them before they are read.
    fn unset(gpu: &dyn Gpu, shape: &Shape, device: &Device) -> CandleResult<Self> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            // SAFETY: a tensor of `empty` must not be read before it is written. Only `forward`
            // makes such buffers, and its kernel writes every number of both before it returns
            // them: tests run it on an interpreter of PTX, which refuses to read a byte that was
            // never written.
            return Ok(Self::OfTensor(unsafe {
                Tensor::empty(shape, T::DTYPE, device)
            }?));
        }
        let _ = device;
        let numbers = Numbers::unset(gpu, shape.elem_count()).map_err(CandleError::wrap)?;
        Ok(Self::Copied(numbers))
    }

    fn argument(&self) -> CandleResult<Argument> {
        match self {
            Self::Copied(numbers) => Ok(numbers.argument()),
            #[cfg(feature = "cuda")]
            Self::OfTensor(tensor) => address(tensor),
        }
    }

    fn tensor(&self, shape: &Shape) -> CandleResult<Tensor> {
        match self {
            Self::Copied(numbers) => {
                let numbers = numbers.read().map_err(CandleError::wrap)?;
                Tensor::from_vec(numbers, shape, &Device::Cpu)
            }
            #[cfg(feature = "cuda")]
            Self::OfTensor(tensor) => Ok(tensor.clone()),
        }
    }
}

/// Relevance [C W, I R] and both Gram matrices of a batch, and the plan of the kernels on them.
struct Batch {
    gpu: Arc<dyn Gpu>,
    plan: PairPlan,
    /// Relevance, Gram matrices of regions and of words.
    given: [Tensor; 3],
    region_counts: KernelBuffer<u32>,
    word_counts: KernelBuffer<u32>,
}

impl Batch {
    fn buffers(&self, tensors: &[Tensor; 3]) -> CandleResult<[KernelBuffer<f32>; 3]> {
        let [a, b, c] = tensors
            .each_ref()
            .map(|tensor| KernelBuffer::new(&*self.gpu, tensor));
        Ok([a?, b?, c?])
    }

    fn forward(&self) -> CandleResult<KernelOutput> {
        let (gpu, device, plan) = (&*self.gpu, self.given[0].device(), &self.plan);
        let shape = plan.shape;
        let pairs = Shape::from((shape.images, shape.captions));
        let maxima = Shape::from((shape.captions, shape.words, shape.images));
        let values = KernelBuffer::<f32>::unset(gpu, &pairs, device)?;
        let word_maxima = KernelBuffer::<f32>::unset(gpu, &maxima, device)?;
        // The kernel adds the numbers of word queries, region queries and cells above the threshold.
        let counts = KernelBuffer::<i64>::new(gpu, &Tensor::zeros(3, DType::I64, device)?)?;
        let given = self.buffers(&self.given)?;
        let [images, regions, captions, words] = shape.arguments();
        let arguments = [
            given[0].argument()?,
            given[1].argument()?,
            given[2].argument()?,
            self.region_counts.argument()?,
            self.word_counts.argument()?,
            values.argument()?,
            word_maxima.argument()?,
            counts.argument()?,
            images,
            regions,
            captions,
            words,
            Argument::U32(plan.warps as u32),
            Argument::F32(plan.threshold),
            side_argument(&plan.config, QuerySide::Words),
            side_argument(&plan.config, QuerySide::Regions),
        ];
        let launch = Launch {
            program: &plan.program,
            kernel: "pairs_forward",
            blocks: (shape.images * shape.captions).div_ceil(plan.warps) as u32,
            threads: THREADS,
            shared_bytes: (plan.warps * shape.forward_bytes()) as u32,
            arguments: &arguments,
        };
        // SAFETY: `arguments` has the types and order of the parameters of `pairs_forward`, and each
        // address the shape and type that it reads or writes. The outputs were made above for
        // `shape`; relevance and Gram matrices are products of the regions and words that `shape`
        // was read from; `Regions` and `Words` check each count when they are made. The products are
        // f32: `is_supported` refuses others on CUDA, and copies of others fail. A block gets shared
        // memory for the cells of as many pairs as it has warps. Copies live to the end of this
        // function, which reads the outputs and so waits for the kernel. Tensors of CUDA are freed
        // on candle's stream, on which the kernel runs: not before it has run.
        unsafe { gpu.launch(&launch) }.map_err(CandleError::wrap)?;
        Ok(KernelOutput {
            values: values.tensor(&pairs)?,
            word_maxima: word_maxima.tensor(&maxima)?,
            counts: counts.tensor(&Shape::from(3))?,
        })
    }

    /// The gradients of relevance and of both Gram matrices; `upstream` [I, C].
    fn backward(&self, upstream: &Tensor) -> CandleResult<Vec<Tensor>> {
        let (gpu, plan) = (&*self.gpu, &self.plan);
        let [a, b, c] = self.given.each_ref().map(Tensor::zeros_like);
        let (from, to) = (self.buffers(&self.given)?, self.buffers(&[a?, b?, c?])?);
        let upstream = KernelBuffer::<f32>::new(gpu, upstream)?;
        let [images, regions, captions, words] = plan.shape.arguments();
        for &side in plan.config.sides.asking() {
            let words_ask = side == QuerySide::Words;
            // A block for each entry of the context, whose Gram matrices are `given[context]`.
            let (context, blocks) = match words_ask {
                true => (1, plan.shape.images),
                false => (2, plan.shape.captions),
            };
            let arguments = [
                from[0].argument()?,
                from[context].argument()?,
                self.region_counts.argument()?,
                self.word_counts.argument()?,
                upstream.argument()?,
                to[0].argument()?,
                to[context].argument()?,
                images,
                regions,
                captions,
                words,
                Argument::U32(u32::from(words_ask)),
                Argument::F32(plan.threshold),
                Argument::F32(plan.config.inverse_temperature(side) as f32),
            ];
            let launch = Launch {
                program: &plan.program,
                kernel: "pairs_backward",
                blocks: blocks as u32,
                threads: THREADS,
                shared_bytes: plan.shape.backward_bytes() as u32,
                arguments: &arguments,
            };
            // SAFETY: as in the forward pass: `arguments` has the types and order of the parameters
            // of `pairs_backward`, the gradients have the shapes of the inputs and are zero, and
            // upstream has that of the similarities. `PairPlan::new` has checked that the shared
            // memory fits a block. Copies live to the end of this function, which reads the
            // gradients and so waits for the kernels.
            unsafe { gpu.launch(&launch) }.map_err(CandleError::wrap)?;
        }
        let given = to.iter().zip(&self.given);
        given.map(|(to, like)| to.tensor(like.shape())).collect()
    }
}
