//! Attended vectors, attention weights and answers as tensors, for models that build on them.

use candle_core::{D, Tensor};
use uard_core::{Regions, Words};

use crate::composed::{Batch, SideInputs};
use crate::{Matcher, MatcherConfig, QuerySide, Result};

/// What each query attends to. All tensors are differentiable.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Attended {
    /// The weighted mean of the context rows; zero where the query attends to nothing.
    pub vectors: Tensor,
    /// Attention weights over the context; each query's sum to 1, or are all zero.
    pub weights: Tensor,
    /// What each query adds to the similarity: under the masked rules the cosine of the query with its
    /// attended vector. With nothing above the threshold it is exactly zero, under the rule nearest the
    /// query's highest relevance; the weights are all zero in both cases.
    pub answers: Tensor,
}

impl Matcher {
    /// Attended vectors, weights and answers of every image with every caption, for models such as
    /// SCAN, SGRAF and IMRAM that compute with the attended vectors themselves.
    ///
    /// [`Matcher::similarities`] never forms these tensors. Here memory is I·C·Q·D numbers: pass a few
    /// captions at a time (`words.narrow(start, len)`).
    ///
    /// # Shapes
    /// With Q queries (W words or R regions) over X context rows (the other side): vectors
    /// [I, C, Q, D], weights [I, C, Q, X], answers [I, C, Q]. Padding queries attend to nothing.
    ///
    /// # Errors
    /// As [`Matcher::similarities`].
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use uard_attention::{Matcher, MatcherConfig, QuerySide, Regions, Words};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let regions = Tensor::new(&[[[1f32, 0.0], [0.0, 1.0]]], &Device::Cpu)?;
    /// let words = Tensor::new(&[[[0.8f32, 0.6], [-1.0, 0.0]]], &Device::Cpu)?;
    /// let regions = Regions::normalized(&regions, vec![2])?;
    /// let words = Words::normalized(&words, vec![2])?;
    /// let matcher = Matcher::new(MatcherConfig::default())?;
    /// let found = matcher.attend(&regions, &words, QuerySide::Words, 0.7)?;
    /// // The first word attends to the first region alone, the second to none.
    /// let vectors = found.vectors.squeeze(0)?.squeeze(0)?.to_vec2::<f32>()?;
    /// assert_eq!(vectors, [[1.0, 0.0], [0.0, 0.0]]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn attend(
        &self,
        regions: &Regions,
        words: &Words,
        side: QuerySide,
        threshold: f64,
    ) -> Result<Attended> {
        self.check(regions, words, threshold)?;
        let queries = Batch::new(regions, words)?.side_inputs(side)?;
        let context = match side {
            QuerySide::Words => regions.rows(),
            QuerySide::Regions => words.rows(),
        };
        let found = attended(&queries, context, self.config(), side, threshold)?;
        match side {
            QuerySide::Words => Ok(found),
            QuerySide::Regions => Ok(Attended {
                vectors: found.vectors.transpose(0, 1)?,
                weights: found.weights.transpose(0, 1)?,
                answers: found.answers.transpose(0, 1)?,
            }),
        }
    }
}

/// Attends with some queries: their vectors are weighted means of the rows of `values`, one row for
/// each context fragment.
///
/// # Shapes
/// Relevance of the queries [A, B, Q, X] as in [`SideInputs`]; `values` [A, X, V] of any width V;
/// the vectors become [A, B, Q, V].
pub(crate) fn attended(
    queries: &SideInputs,
    values: &Tensor,
    config: &MatcherConfig,
    side: QuerySide,
    threshold: f64,
) -> Result<Attended> {
    let weights = queries.weights(config, side, threshold)?;
    let answers = queries.answers(|| Ok(weights.clone()), config, threshold)?;
    let weights = weights.broadcast_mul(&queries.query_validity.unsqueeze(D::Minus1)?)?;
    let sums = weights.sum_keepdim(D::Minus1)?;
    // The weights of a query that attends to nothing sum to 0: divided by 1 they stay zero.
    let empty = sums.eq(0f64)?.to_dtype(sums.dtype())?;
    let weights = weights.broadcast_div(&(sums + empty)?)?;
    let (a, b, q, x) = weights.dims4()?;
    let vectors = weights.reshape((a, b * q, x))?.matmul(values)?;
    let width = values.dim(D::Minus1)?;
    Ok(Attended {
        vectors: vectors.reshape((a, b, q, width))?,
        weights,
        answers,
    })
}
