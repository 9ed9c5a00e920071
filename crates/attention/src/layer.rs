//! A cross-attention layer with a threshold, for models of one's own: projections, attention, values.

use candle_core::{D, DType, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear, linear_no_bias};
use serde::{Deserialize, Serialize};
use uard_core::normalize::unit_rows;
use uard_core::{Regions, Words};
use uard_relevance::{ThresholdLearner, Update};

use crate::attended::attended;
use crate::composed::SideInputs;
use crate::{Attended, Error, Matcher, MatcherConfig, QuerySide, Result};

/// Sizes and rule of a [`CrossAttention`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossAttentionConfig {
    /// Width of the features of regions.
    pub region_width: usize,
    /// Width of the features of words.
    pub word_width: usize,
    /// Width D of the joint space, in which relevance is the cosine.
    pub joint_width: usize,
    /// Width of the attended vectors.
    pub output_width: usize,
    /// Which side attends to the other.
    pub queries: QuerySide,
    /// How relevance becomes weights; its sides count only in [`CrossAttention::observe`].
    pub matcher: MatcherConfig,
}

/// Which rows of a batch are valid; without a mask all are.
#[derive(Debug, Clone, Default)]
pub struct Masks {
    /// 1 where a region is valid and 0 where it is padding, [B, R], of any dtype.
    pub regions: Option<Tensor>,
    /// 1 where a word is valid and 0 where it is padding, [B, W], of any dtype.
    pub words: Option<Tensor>,
}

/// Masked cross-attention between the regions and the words of the same entry of a batch.
///
/// Both sides are projected into a joint space. Relevance is the cosine there; a query attends to
/// what is above the threshold, and to nothing (a zero vector) where nothing is. It stands where a
/// model has `softmax(q kᵀ) v`.
///
/// ```text
/// s_ij = cos(A q_i, B k_j)        e_ij = 1[s_ij > t] exp(inverse_temperature s_ij)
/// o_i  = sum_j e_ij (V k_j + c) / sum_j e_ij
/// ```
///
/// # Source
/// UARDA puts its threshold into other cross-attention models in this way.
#[derive(Debug, Clone)]
pub struct CrossAttention {
    config: CrossAttentionConfig,
    matcher: Matcher,
    regions: Linear,
    words: Linear,
    values: Linear,
}

impl CrossAttention {
    /// A layer with the parameters `regions.weight` [D, region width], `words.weight` [D, word width],
    /// `values.weight` [output width, width of the attended side] and `values.bias`.
    ///
    /// # Errors
    /// When a setting is out of range, or a parameter is missing or has another shape.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "as the layers of candle-nn take it"
    )]
    pub fn new(config: CrossAttentionConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let context_width = match config.queries {
            QuerySide::Words => config.region_width,
            QuerySide::Regions => config.word_width,
        };
        Ok(Self {
            matcher: Matcher::new(config.matcher)?,
            regions: linear_no_bias(config.region_width, config.joint_width, vb.pp("regions"))?,
            words: linear_no_bias(config.word_width, config.joint_width, vb.pp("words"))?,
            values: linear(context_width, config.output_width, vb.pp("values"))?,
            config,
        })
    }

    /// The settings.
    pub fn config(&self) -> &CrossAttentionConfig {
        &self.config
    }

    /// Attends within each entry of the batch, differentiably.
    ///
    /// # Shapes
    /// `regions` [B, R, region width], `words` [B, W, word width], f32 or f64. With Q queries and X
    /// rows of the other side: vectors [B, Q, output width], weights [B, Q, X], answers [B, Q].
    /// `threshold` is a cosine: a constant, or that of a learner. No gradient flows through it.
    ///
    /// # Errors
    /// When shapes do not fit, an entry has no valid row, or the threshold is not finite.
    pub fn forward(
        &self,
        regions: &Tensor,
        words: &Tensor,
        masks: &Masks,
        threshold: f64,
    ) -> Result<Attended> {
        MatcherConfig::check_threshold(threshold)?;
        let region_side = Side {
            rows: unit_rows(&self.regions.forward(regions)?)?,
            validity: validity("regions", regions, masks.regions.as_ref())?,
        };
        let word_side = Side {
            rows: unit_rows(&self.words.forward(words)?)?,
            validity: validity("words", words, masks.words.as_ref())?,
        };
        let (queries, context, attended_features) = match self.config.queries {
            QuerySide::Words => (word_side, region_side, regions),
            QuerySide::Regions => (region_side, word_side, words),
        };
        let queries = queries.over(&context)?;
        let values = self.values.forward(attended_features)?;
        let (matcher, side) = (&self.config.matcher, self.config.queries);
        let found = attended(&queries, &values, matcher, side, threshold)?;
        Ok(Attended {
            vectors: found.vectors.squeeze(1)?,
            weights: found.weights.squeeze(1)?,
            answers: found.answers.squeeze(1)?,
        })
    }

    /// Moves a learner's threshold by a batch in which words b describe regions b: words with the
    /// regions of their own entry are relevant samples, with those of other entries irrelevant ones.
    /// Call it once a step, and pass [`ThresholdLearner::threshold`] to [`CrossAttention::forward`].
    ///
    /// # Shapes
    /// As [`CrossAttention::forward`]. Costs one similarity of all B² pairs, without gradients.
    ///
    /// # Errors
    /// As [`CrossAttention::forward`].
    pub fn observe(
        &self,
        regions: &Tensor,
        words: &Tensor,
        masks: &Masks,
        learner: &mut ThresholdLearner,
    ) -> Result<Update> {
        let region_rows = self.regions.forward(&regions.detach())?.detach();
        let word_rows = self.words.forward(&words.detach())?.detach();
        let region_rows = valid_rows("regions", &region_rows, masks.regions.as_ref())?;
        let word_rows = valid_rows("words", &word_rows, masks.words.as_ref())?;
        let region_rows = Regions::from_list(&region_rows)?;
        let word_rows = Words::from_list(&word_rows)?;
        let threshold = learner.threshold();
        let found = self
            .matcher
            .similarities(&region_rows, &word_rows, threshold)?;
        let owners: Vec<usize> = (0..word_rows.captions()).collect();
        learner.observe(&found, &owners)
    }
}

/// The unit rows of one side in the joint space, [B, L, D], and their validity, [B, L].
struct Side {
    rows: Tensor,
    validity: Tensor,
}

impl Side {
    /// The queries of this side over the context of the same entry.
    fn over(&self, context: &Self) -> Result<SideInputs> {
        let transposed = context.rows.t()?;
        Ok(SideInputs {
            relevance: self.rows.matmul(&transposed)?.unsqueeze(1)?,
            gram: context.rows.matmul(&transposed)?,
            context_validity: context.validity.unsqueeze(1)?.unsqueeze(1)?,
            query_validity: self.validity.unsqueeze(1)?,
        })
    }
}

/// A mask in the dtype of the rows, checked; ones where there is none. [B, L].
fn validity(tensor: &'static str, rows: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let (entries, longest, _) = rows.dims3()?;
    let Some(mask) = mask else {
        return Ok(Tensor::ones(
            (entries, longest),
            rows.dtype(),
            rows.device(),
        )?);
    };
    let found = mask.dims2()?;
    for (axis, expected, found) in [("entries", entries, found.0), ("rows", longest, found.1)] {
        if found != expected {
            return Err(Error::Core(uard_core::Error::ShapeMismatch {
                tensor: format!("mask of {tensor}"),
                axis,
                expected,
                found,
            }));
        }
    }
    let mask = mask.ne(0f64)?.to_dtype(rows.dtype())?;
    let counts = mask
        .to_dtype(DType::F32)?
        .sum(D::Minus1)?
        .to_vec1::<f32>()?;
    match counts.iter().position(|&count| count == 0.0) {
        None => Ok(mask),
        Some(index) => Err(Error::Core(uard_core::Error::CountOutOfRange {
            tensor,
            index,
            count: 0,
            longest,
        })),
    }
}

/// The valid rows of each entry, [L, D].
fn valid_rows(tensor: &'static str, rows: &Tensor, mask: Option<&Tensor>) -> Result<Vec<Tensor>> {
    let mask = validity(tensor, rows, mask)?
        .to_dtype(DType::F32)?
        .to_vec2::<f32>()?;
    let entries = mask.iter().enumerate();
    entries
        .map(|(entry, mask)| {
            let valid = (0u32..).zip(mask).filter(|(_, valid)| **valid != 0.0);
            let valid: Vec<u32> = valid.map(|(row, _)| row).collect();
            let count = valid.len();
            let valid = Tensor::from_vec(valid, count, rows.device())?;
            Ok(rows.get(entry)?.index_select(&valid, 0)?)
        })
        .collect()
}
