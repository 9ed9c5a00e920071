//! Attention over a batch in candle's own operations, on any device, with gradients by its graph.
//!
//! The same formulas as [`crate::operator`], from the same relevance and Gram matrices. It builds
//! tensors of [I, C, W, R], and runs on devices for which there is no kernel of ours.

use candle_core::{D, DType, Tensor};
use uard_core::softmax::masked_softmax;

use crate::Result;
use crate::config::{MatcherConfig, QuerySide, WeightRule};
use crate::kept::Above;
use crate::side::{SCAN_EPSILON, SCAN_SLOPE, SMALLEST_SQUARED_LENGTH};

/// Relevance, Gram matrices and validity of a batch.
#[derive(Debug)]
pub(crate) struct Batch {
    /// [C, W, I, R].
    pub relevance: Tensor,
    /// [I, R, R].
    pub region_gram: Tensor,
    /// [C, W, W].
    pub word_gram: Tensor,
    /// [I, R], 1 or 0.
    pub region_validity: Tensor,
    /// [C, W], 1 or 0.
    pub word_validity: Tensor,
}

/// The inputs of one side. A entries of X fragments are the context, B entries of Q fragments are
/// the queries: A counts images and B captions where words are the queries, and the other way round
/// where regions are.
pub(crate) struct SideInputs {
    /// [A, B, Q, X].
    pub relevance: Tensor,
    /// [A, X, X].
    pub gram: Tensor,
    /// 1 or 0, [A, 1, 1, X].
    pub context_validity: Tensor,
    /// 1 or 0, [1 or A, B, Q].
    pub query_validity: Tensor,
}

/// The similarity of every pair, [I, C].
pub(crate) fn similarities(
    batch: &Batch,
    config: &MatcherConfig,
    threshold: f64,
) -> Result<Tensor> {
    let mut total: Option<Tensor> = None;
    for &side in config.sides.asking() {
        let inputs = batch.side_inputs(side)?;
        let mean = inputs.mean_over_queries(config, side, threshold)?;
        let mean = match side {
            QuerySide::Words => mean,
            QuerySide::Regions => mean.t()?,
        };
        total = Some(match total {
            Some(other) => (other + mean)?,
            None => mean,
        });
    }
    let total = total.ok_or_else(|| crate::Error::Setting {
        setting: "sides",
        found: "none".to_owned(),
        expected: "both, words or regions",
    })?;
    // Masks and maxima would hide a fragment that is not finite, so its pairs and their gradients
    // are made NaN here.
    let finite = batch.one_or_nan()?.sum(1)?.affine(0.0, 1.0)?.t()?;
    Ok((total * finite)?.contiguous()?)
}

impl Batch {
    pub(crate) fn side_inputs(&self, side: QuerySide) -> Result<SideInputs> {
        let (relevance, gram, context, queries) = match side {
            QuerySide::Words => (
                self.relevance.permute((2, 0, 1, 3))?,
                &self.region_gram,
                &self.region_validity,
                &self.word_validity,
            ),
            QuerySide::Regions => (
                self.relevance.permute((0, 2, 3, 1))?,
                &self.word_gram,
                &self.word_validity,
                &self.region_validity,
            ),
        };
        Ok(SideInputs {
            relevance: relevance.contiguous()?,
            gram: gram.clone(),
            context_validity: context.unsqueeze(1)?.unsqueeze(1)?,
            query_validity: queries.unsqueeze(0)?,
        })
    }

    /// Validity of cells, [C, W, I, R].
    fn cell_validity(&self) -> Result<Tensor> {
        let words = self.word_validity.unsqueeze(2)?.unsqueeze(3)?;
        let regions = self.region_validity.unsqueeze(0)?.unsqueeze(0)?;
        Ok(words.broadcast_mul(&regions)?)
    }

    /// Counts of word queries, region queries and cells above the threshold.
    pub(crate) fn count_above(&self, threshold: f64) -> Result<Above> {
        let above = self
            .relevance
            .detach()
            .gt(threshold)?
            .to_dtype(self.relevance.dtype())?;
        let above = (above * self.cell_validity()?)?;
        let count = |tensor: &Tensor| -> Result<u64> {
            // Each row is counted in u32, and the counts are summed in u64: exact at any size that
            // fits memory.
            let rows = tensor
                .flatten_to(D::Minus2)?
                .to_dtype(DType::U32)?
                .sum(D::Minus1)?;
            Ok(rows
                .flatten_all()?
                .to_vec1::<u32>()?
                .into_iter()
                .map(u64::from)
                .sum())
        };
        let words = above.max(3)?;
        let (c, w, i, r) = above.dims4()?;
        let regions = above.max(1)?;
        Ok(Above {
            word_queries: count(&words.reshape((c * w, i))?)?,
            region_queries: count(&regions.reshape((c, i * r))?)?,
            cells: count(&above.reshape((c * w, i * r))?)?,
        })
    }

    /// Highest relevance of each word in each image, [C, W, I], detached, f32.
    pub(crate) fn word_maxima(&self) -> Result<Tensor> {
        let blocked = self.region_validity.affine(LOWEST, -LOWEST)?;
        let relevance = self.relevance.detach().broadcast_add(&blocked)?;
        let maxima = relevance.max(3)?;
        let maxima = (maxima * self.one_or_nan()?)?;
        let validity = self.word_validity.unsqueeze(2)?.gt(0f64)?;
        let is_valid = validity.broadcast_as(maxima.shape())?;
        Ok(is_valid
            .where_cond(&maxima, &maxima.zeros_like()?)?
            .to_dtype(DType::F32)?)
    }

    /// [C, W, I], detached: 1, or NaN if a cell of the word with the image is not finite.
    fn one_or_nan(&self) -> Result<Tensor> {
        Ok(self.relevance.detach().sum(3)?.affine(0.0, 1.0)?)
    }
}

/// Subtracted from cells of padding, which puts them below any cosine and so out of every maximum.
const LOWEST: f64 = 4.0;

impl SideInputs {
    /// The mean of R over the queries of each pair, [A, B].
    fn mean_over_queries(
        &self,
        config: &MatcherConfig,
        side: QuerySide,
        threshold: f64,
    ) -> Result<Tensor> {
        let weights = || self.weights(config, side, threshold);
        let answers = self.answers(weights, config, threshold)?;
        let counts = self.query_validity.sum(2)?;
        Ok(answers.sum(2)?.broadcast_div(&counts)?)
    }

    /// Weights of each query over the context, [A, B, Q, X], before they are divided by their sum;
    /// zero for padding, and where nothing is above the threshold.
    pub(crate) fn weights(
        &self,
        config: &MatcherConfig,
        side: QuerySide,
        threshold: f64,
    ) -> Result<Tensor> {
        let inverse_temperature = config.inverse_temperature(side);
        match config.rule {
            WeightRule::MaxSim => self.only_the_best(),
            WeightRule::Scan => self.scan(inverse_temperature),
            WeightRule::Masked | WeightRule::Zero | WeightRule::Nearest => {
                self.masked(inverse_temperature, config.threshold(threshold))
            }
        }
    }

    /// What each query adds to the similarity, [A, B, Q]; zero for padding. The rule maxsim needs no
    /// weights.
    pub(crate) fn answers(
        &self,
        weights: impl FnOnce() -> Result<Tensor>,
        config: &MatcherConfig,
        threshold: f64,
    ) -> Result<Tensor> {
        let answers = match config.rule {
            WeightRule::MaxSim => self.best()?,
            WeightRule::Nearest => {
                let best = self.best()?;
                let is_above = best.gt(config.threshold(threshold))?;
                is_above.where_cond(&self.cosine(&weights()?)?, &best)?
            }
            WeightRule::Masked | WeightRule::Zero | WeightRule::Scan => self.cosine(&weights()?)?,
        };
        Ok(answers.broadcast_mul(&self.query_validity)?)
    }

    /// Weights of the masked rule, relative to the query's highest relevance, [A, B, Q, X].
    fn masked(&self, inverse_temperature: f64, threshold: f64) -> Result<Tensor> {
        let above = self
            .relevance
            .gt(threshold)?
            .to_dtype(self.relevance.dtype())?;
        let mask = above.broadcast_mul(&self.context_validity)?;
        let best = self.best()?.unsqueeze(D::Minus1)?.detach();
        let logits = (self.relevance.broadcast_sub(&best)? * inverse_temperature)?;
        Ok((logits.exp()? * mask)?)
    }

    /// Weights of the scan rule, [A, B, Q, X].
    fn scan(&self, inverse_temperature: f64) -> Result<Tensor> {
        let positive = self.relevance.gt(0f64)?.to_dtype(self.relevance.dtype())?;
        let leaky = (&self.relevance * positive.affine(1.0 - SCAN_SLOPE, SCAN_SLOPE)?)?;
        // 1e-30 keeps the gradient of the root finite for padding, whose cells are all zero.
        let norms = leaky.sqr()?.sum_keepdim(2)?.affine(1.0, 1e-30)?.sqrt()?;
        let normalized = leaky.broadcast_div(&norms.affine(1.0, SCAN_EPSILON)?)?;
        let mask = self
            .context_validity
            .broadcast_as(normalized.shape())?
            .contiguous()?;
        Ok(masked_softmax(&(normalized * inverse_temperature)?, &mask)?)
    }

    /// 1 at the first of the highest cells of each query, [A, B, Q, X].
    fn only_the_best(&self) -> Result<Tensor> {
        let best = self.without_padding()?.argmax_keepdim(D::Minus1)?;
        let cells = self.relevance.dim(D::Minus1)? as u32;
        let cells = Tensor::arange(0, cells, best.device())?;
        Ok(best
            .broadcast_eq(&cells.reshape((1, 1, 1, ()))?)?
            .to_dtype(self.relevance.dtype())?)
    }

    /// The cosine of each query with its attended vector, [A, B, Q]; zero where all weights are
    /// zero.
    fn cosine(&self, weights: &Tensor) -> Result<Tensor> {
        let (a, b, q, x) = weights.dims4()?;
        let dots = (weights * &self.relevance)?.sum(3)?;
        let product = weights
            .reshape((a, b * q, x))?
            .matmul(&self.gram)?
            .reshape((a, b, q, x))?;
        let squared = (weights * product)?.sum(3)?;
        let length = squared.maximum(SMALLEST_SQUARED_LENGTH)?.sqrt()?;
        Ok((dots / length)?)
    }

    /// Highest relevance of each query, [A, B, Q].
    fn best(&self) -> Result<Tensor> {
        Ok(self.without_padding()?.max(D::Minus1)?)
    }

    /// Relevance with padding far below every cosine.
    fn without_padding(&self) -> Result<Tensor> {
        let blocked = self.context_validity.affine(LOWEST, -LOWEST)?;
        Ok(self.relevance.broadcast_add(&blocked)?)
    }
}
