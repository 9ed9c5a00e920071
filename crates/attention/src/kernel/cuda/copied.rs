//! The training kernels on tensors of the host, which are copied to a machine and back: for checks,
//! where there is no CUDA under candle, or no GPU.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{
    CpuStorage, CustomOp3, Device, Error as CandleError, Layout, Result as CandleResult, Shape,
    Tensor,
};
use uard_core::gpu::{Argument, GpuResult, Machine, Numbers};

use super::pairs::{BatchAnswers, BatchGradients, BatchInputs, BatchPairs, BatchShape};

/// By-products of the forward pass.
#[derive(Debug, Clone)]
pub(crate) struct Aside {
    /// [C, W, I].
    pub word_maxima: Vec<f32>,
    /// Word queries, region queries and cells above the threshold.
    pub above: [u64; 3],
}

/// Similarities [I, C] from relevance and the Gram matrices of regions and words, all f32.
pub(crate) struct OnMachine {
    pub machine: Arc<dyn Machine>,
    pub pairs: BatchPairs,
    pub shape: BatchShape,
    pub region_counts: Vec<u32>,
    pub word_counts: Vec<u32>,
    pub aside: Arc<Mutex<Option<Aside>>>,
}

/// Inputs in the machine's memory.
struct Given {
    numbers: [Numbers<f32>; 3],
    counts: [Numbers<u32>; 2],
}

impl Given {
    fn inputs(&self) -> BatchInputs {
        let [relevance, region_grams, word_grams] = self.numbers.each_ref().map(Numbers::argument);
        let [region_counts, word_counts] = self.counts.each_ref().map(Numbers::argument);
        BatchInputs {
            relevance,
            region_grams,
            word_grams,
            region_counts,
            word_counts,
        }
    }
}

impl OnMachine {
    fn given(&self, [relevance, region_grams, word_grams]: [&[f32]; 3]) -> GpuResult<Given> {
        let machine = &*self.machine;
        Ok(Given {
            numbers: [
                Numbers::copied(machine, relevance)?,
                Numbers::copied(machine, region_grams)?,
                Numbers::copied(machine, word_grams)?,
            ],
            counts: [
                Numbers::copied(machine, &self.region_counts)?,
                Numbers::copied(machine, &self.word_counts)?,
            ],
        })
    }

    fn forward(&self, numbers: [&[f32]; 3]) -> GpuResult<(Vec<f32>, Aside)> {
        let (machine, shape) = (&*self.machine, &self.shape);
        let given = self.given(numbers)?;
        let similarities = Numbers::<f32>::unset(machine, shape.images * shape.captions)?;
        let maxima = shape.captions * shape.words * shape.images;
        let word_maxima = Numbers::<f32>::unset(machine, maxima)?;
        let above = Numbers::<u64>::zeros(machine, 3)?;
        let answers = BatchAnswers {
            similarities: similarities.argument(),
            word_maxima: word_maxima.argument(),
            counts: above.argument(),
        };
        // SAFETY: all buffers have the sizes of the shape and live until they are read below.
        unsafe { self.pairs.forward(machine, &given.inputs(), &answers) }?;
        let above = above.read()?;
        let aside = Aside {
            word_maxima: word_maxima.read()?,
            above: [above[0], above[1], above[2]],
        };
        Ok((similarities.read()?, aside))
    }

    /// The gradients of relevance and of both Gram matrices.
    fn backward(&self, numbers: [&[f32]; 3], upstream: &[f32]) -> GpuResult<[Vec<f32>; 3]> {
        let machine = &*self.machine;
        let given = self.given(numbers)?;
        let upstream = Numbers::copied(machine, upstream)?;
        let [relevance, region_grams, word_grams] = given
            .numbers
            .each_ref()
            .map(|numbers| Numbers::<f32>::zeros(machine, numbers.len()));
        let to = [relevance?, region_grams?, word_grams?];
        let address = |at: usize| -> Argument { to[at].argument() };
        let gradients = BatchGradients {
            relevance: address(0),
            region_grams: address(1),
            word_grams: address(2),
        };
        let (inputs, from) = (given.inputs(), upstream.argument());
        // SAFETY: as in the forward pass; the gradients are zero.
        unsafe { self.pairs.backward(machine, &inputs, from, &gradients) }?;
        Ok([to[0].read()?, to[1].read()?, to[2].read()?])
    }
}

impl CustomOp3 for OnMachine {
    fn name(&self) -> &'static str {
        "uard-matcher-on-machine"
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
        let (similarities, aside) = self
            .forward([
                numbers(relevance, relevance_layout)?,
                numbers(region_grams, region_layout)?,
                numbers(word_grams, word_layout)?,
            ])
            .map_err(CandleError::wrap)?;
        *self.aside.lock().unwrap_or_else(PoisonError::into_inner) = Some(aside);
        let shape = Shape::from((self.shape.images, self.shape.captions));
        Ok((CpuStorage::F32(similarities), shape))
    }

    fn bwd(
        &self,
        relevance: &Tensor,
        region_grams: &Tensor,
        word_grams: &Tensor,
        _similarities: &Tensor,
        upstream: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        let given = [flat(relevance)?, flat(region_grams)?, flat(word_grams)?];
        let [to_relevance, to_region_grams, to_word_grams] = self
            .backward(given.each_ref().map(Vec::as_slice), &flat(upstream)?)
            .map_err(CandleError::wrap)?;
        let as_tensor =
            |numbers, like: &Tensor| Tensor::from_vec(numbers, like.shape(), &Device::Cpu);
        Ok((
            Some(as_tensor(to_relevance, relevance)?),
            Some(as_tensor(to_region_grams, region_grams)?),
            Some(as_tensor(to_word_grams, word_grams)?),
        ))
    }
}

fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> CandleResult<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => Err(CandleError::RequiresContiguous { op: "on-machine" }.bt()),
    }
}
