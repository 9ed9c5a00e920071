//! The similarity of a batch on the CPU: one operator with an analytic gradient.
//!
//! It reads relevance and the two Gram matrices and never sees the joint space. Pairs whose
//! upstream gradient is zero (all but the hardest negatives) cost nothing in the backward pass.
//! Work is split by caption or by image and summed in a fixed order within: the same bytes for
//! any number of threads.

mod backward;
mod forward;
mod pair;

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Storage, Tensor};

use crate::Kept;
use crate::config::{MatcherConfig, QuerySide};
use crate::side::{Real, Side};

/// What is asked of a batch, beside its tensors.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub config: MatcherConfig,
    pub threshold: f64,
    /// Valid regions of each image, and the padded length R.
    pub region_counts: Vec<usize>,
    pub longest_regions: usize,
    /// Valid words of each caption, and the padded length W of the Gram matrices.
    pub word_counts: Vec<usize>,
    pub longest_words: usize,
}

/// What the forward pass knows for free.
#[derive(Debug, Clone)]
pub(crate) struct ByProducts {
    /// Highest relevance of each word in each image, [C, W, I].
    pub word_maxima: Vec<f32>,
    /// What is above the threshold.
    pub kept: Kept,
}

/// Relevance [words, I R], G [I, R, R] and H [C, W, W] to similarity [I, C].
///
/// The rows of relevance are the valid words of all captions in order, without padding.
#[derive(Debug)]
pub(crate) struct MatcherOperator {
    question: Question,
    /// The row of each caption's first word, and the number of rows.
    offsets: Vec<usize>,
    by_products: Arc<OnceLock<ByProducts>>,
}

impl MatcherOperator {
    /// The operator, and where its by-products will be after the forward pass.
    pub(crate) fn new(question: Question) -> (Self, Arc<OnceLock<ByProducts>>) {
        let mut offsets = vec![0];
        for &words in &question.word_counts {
            offsets.push(offsets[offsets.len() - 1] + words);
        }
        let by_products = Arc::new(OnceLock::new());
        (
            Self {
                question,
                offsets,
                by_products: Arc::clone(&by_products),
            },
            by_products,
        )
    }

    fn images(&self) -> usize {
        self.question.region_counts.len()
    }

    fn captions(&self) -> usize {
        self.question.word_counts.len()
    }

    /// Length of a row of relevance: I R.
    fn row_length(&self) -> usize {
        self.images() * self.question.longest_regions
    }

    fn asks(&self, side: QuerySide) -> bool {
        self.question.config.sides.asking().contains(&side)
    }

    fn side<T: Real>(&self, side: QuerySide) -> Side<T> {
        Side::new(&self.question.config, side, self.question.threshold)
    }
}

/// The three tensors as slices.
struct Inputs<'a, T> {
    relevance: &'a [T],
    region_gram: &'a [T],
    word_gram: &'a [T],
}

impl<'a, T: Real> Inputs<'a, T> {
    fn new([relevance, region_gram, word_gram]: [(&'a CpuStorage, &Layout); 3]) -> Result<Self> {
        Ok(Self {
            relevance: contiguous(relevance)?,
            region_gram: contiguous(region_gram)?,
            word_gram: contiguous(word_gram)?,
        })
    }
}

fn contiguous<'a, T: Real>((storage, layout): (&'a CpuStorage, &Layout)) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => Err(candle_core::Error::RequiresContiguous { op: "uard-matcher" }.bt()),
    }
}

impl CustomOp3 for MatcherOperator {
    fn name(&self) -> &'static str {
        "uard-matcher"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let inputs = [(s1, l1), (s2, l2), (s3, l3)];
        let storage = match s1 {
            CpuStorage::F64(_) => CpuStorage::F64(self.forward(&Inputs::<f64>::new(inputs)?)),
            _ => CpuStorage::F32(self.forward(&Inputs::<f32>::new(inputs)?)),
        };
        Ok((storage, Shape::from((self.images(), self.captions()))))
    }

    fn bwd(
        &self,
        relevance: &Tensor,
        region_gram: &Tensor,
        word_gram: &Tensor,
        _similarities: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let inputs = [relevance, region_gram, word_gram];
        let [relevance, region_gram, word_gram] = match relevance.dtype() {
            DType::F64 => self.gradients::<f64>(inputs, upstream)?,
            _ => self.gradients::<f32>(inputs, upstream)?,
        };
        Ok((Some(relevance), Some(region_gram), Some(word_gram)))
    }
}

impl MatcherOperator {
    fn gradients<T: Real>(&self, inputs: [&Tensor; 3], upstream: &Tensor) -> Result<[Tensor; 3]> {
        let upstream = upstream.flatten_all()?.to_vec1::<T>()?;
        let guards = inputs.map(Tensor::storage_and_layout);
        let cpu = |at: usize| match &*guards[at].0 {
            Storage::Cpu(storage) => Ok((storage, guards[at].1)),
            _ => Err(candle_core::Error::Msg(
                "uard-matcher runs on the CPU only".to_owned(),
            )),
        };
        let slices = Inputs::<T>::new([cpu(0)?, cpu(1)?, cpu(2)?])?;
        let (by_image, region_gram) = self.backward_words(&slices, &upstream);
        let (relevance, word_gram) = self.backward_regions(&slices, &upstream, &by_image);
        let device = inputs[0].device();
        Ok([
            Tensor::from_vec(relevance, inputs[0].shape(), device)?,
            Tensor::from_vec(region_gram, inputs[1].shape(), device)?,
            Tensor::from_vec(word_gram, inputs[2].shape(), device)?,
        ])
    }
}
