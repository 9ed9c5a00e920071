//! A cross-attention layer with a threshold, for models of one's own: projections, attention, values.

use candle_core::{DType, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear, linear_no_bias};
use serde::{Deserialize, Serialize};
use uard_core::fragments::validity;
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

impl CrossAttentionConfig {
    /// Words attend to regions under the default rule; attended vectors are as wide as the joint space.
    ///
    /// The layer has one head, because the threshold is on one cosine. For several heads make several
    /// layers, each with a learner of its own, and concatenate their vectors.
    pub fn new(region_width: usize, word_width: usize, joint_width: usize) -> Self {
        Self {
            region_width,
            word_width,
            joint_width,
            output_width: joint_width,
            queries: QuerySide::Words,
            matcher: MatcherConfig::default(),
        }
    }
}

/// Which rows of a batch are valid; without a mask all are. Valid rows may stand anywhere.
///
/// The opposite of PyTorch's `key_padding_mask`, which is true for padding, and not additive.
#[derive(Debug, Clone, Default)]
pub struct Masks {
    /// 1 where a region is valid and 0 where it is padding, [B, R], of any dtype.
    pub regions: Option<Tensor>,
    /// 1 where a word is valid and 0 where it is padding, [B, W], of any dtype.
    pub words: Option<Tensor>,
}

impl Masks {
    /// The first rows of each entry are valid, as many as its count says.
    ///
    /// # Errors
    /// When a count is above the padded length.
    pub fn from_counts(
        region_counts: &[usize],
        regions: usize,
        word_counts: &[usize],
        words: usize,
    ) -> Result<Self> {
        Ok(Self {
            regions: Some(mask("regions", region_counts, regions)?),
            words: Some(mask("words", word_counts, words)?),
        })
    }
}

fn mask(tensor: &'static str, counts: &[usize], longest: usize) -> Result<Tensor> {
    match counts.iter().position(|&count| count > longest) {
        None => Ok(validity(counts, longest)?.to_dtype(DType::U8)?),
        Some(index) => Err(Error::Core(uard_core::Error::CountOutOfRange {
            tensor,
            index,
            count: counts[index],
            longest,
        })),
    }
}

/// Masked cross-attention between the regions and the words of the same entry of a batch.
///
/// Both sides are projected into a joint space. Relevance is the cosine there; a query attends to
/// what is above the threshold, and to nothing (a zero vector) where nothing is. It replaces
/// `softmax(q kᵀ) v` of a model.
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
    /// `regions` [B, R, region width], `words` [B, W, word width], both in the dtype of the
    /// parameters, f32 or f64. With Q queries and X rows of the other side: vectors [B, Q, output
    /// width], weights [B, Q, X], answers [B, Q]. `threshold` is a cosine: a constant, or that of a
    /// learner. No gradient flows through it, nor from a query with nothing above it, so
    /// training begins with a low one.
    ///
    /// Padding may hold any numbers. Padding queries have zero vectors; a mean over all rows counts
    /// them.
    ///
    /// # Errors
    /// When dtypes or shapes do not fit, a mask holds other numbers than 0 and 1, an entry has no
    /// valid row, or the threshold is not finite.
    pub fn forward(
        &self,
        regions: &Tensor,
        words: &Tensor,
        masks: &Masks,
        threshold: f64,
    ) -> Result<Attended> {
        MatcherConfig::check_threshold(threshold)?;
        let [regions, words] = self.project(regions, words, masks)?;
        let (queries, context) = match self.config.queries {
            QuerySide::Words => (words, regions),
            QuerySide::Regions => (regions, words),
        };
        let values = self.values.forward(&context.features)?;
        let queries = queries.over(&context)?;
        let (matcher, side) = (&self.config.matcher, self.config.queries);
        let found = attended(&queries, &values, matcher, side, threshold)?;
        Ok(Attended {
            vectors: found.vectors.squeeze(1)?,
            weights: found.weights.squeeze(1)?,
            answers: found.answers.squeeze(1)?,
        })
    }

    /// Moves a learner's threshold by a batch in which words b describe regions b. Samples are of
    /// words, whichever side attends: a word's highest relevance over the regions of its own entry is
    /// relevant, over those of another entry irrelevant. Call it once a step, and pass
    /// [`ThresholdLearner::threshold`] to [`CrossAttention::forward`].
    ///
    /// Pass one entry of each image: of two entries with the same image, the words of one would be
    /// irrelevant samples for the other. The default sampling (`easiest`) takes the least similar entry
    /// of each, so that few samples are affected. In a model that does not rank entries by their
    /// similarity set `captions` to [`CaptionRule::All`](uard_relevance::CaptionRule::All).
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
        let [regions, words] = self.project(&regions.detach(), &words.detach(), masks)?;
        let region_rows = Regions::from_list(&regions.valid_rows()?)?;
        let word_rows = Words::from_list(&words.valid_rows()?)?;
        let threshold = learner.threshold();
        let found = self
            .matcher
            .similarities(&region_rows, &word_rows, threshold)?;
        let owners: Vec<usize> = (0..word_rows.captions()).collect();
        learner.observe(&found, &owners)
    }

    /// Both sides, checked and projected.
    fn project(&self, regions: &Tensor, words: &Tensor, masks: &Masks) -> Result<[Side; 2]> {
        let regions = Side::new("regions", regions, masks.regions.as_ref(), &self.regions)?;
        let words = Side::new("words", words, masks.words.as_ref(), &self.words)?;
        let (expected, found) = (regions.features.dim(0)?, words.features.dim(0)?);
        expect("words".to_owned(), "entries", expected, found)?;
        Ok([regions, words])
    }
}

/// One side of a batch.
struct Side {
    /// Features with zeros as padding, [B, L, E].
    features: Tensor,
    /// The features in the joint space, of any length, [B, L, D].
    projected: Tensor,
    /// 1 or 0, [B, L].
    validity: Tensor,
}

impl Side {
    fn new(
        tensor: &'static str,
        features: &Tensor,
        mask: Option<&Tensor>,
        projection: &Linear,
    ) -> Result<Self> {
        let weight = projection.weight();
        if features.dtype() != weight.dtype() {
            return Err(Error::Core(uard_core::Error::Dtype {
                tensor,
                expected: weight.dtype().as_str(),
                found: features.dtype(),
            }));
        }
        let &[entries, longest, width] = features.dims() else {
            return Err(Error::Core(uard_core::Error::Rank {
                tensor: tensor.to_owned(),
                expected: "3, [entries, rows, width]",
                found: features.dims().to_vec(),
            }));
        };
        expect(tensor.to_owned(), "width", weight.dim(1)?, width)?;
        let (features, validity) = match mask {
            None => {
                let shape = (entries, longest);
                let ones = Tensor::ones(shape, features.dtype(), features.device())?;
                (features.clone(), ones)
            }
            Some(mask) => {
                check_mask(tensor, mask, entries, longest)?;
                let is_valid = mask.to_device(features.device())?.ne(0f64)?;
                let is_kept = is_valid.unsqueeze(2)?.broadcast_as(features.shape())?;
                // Not multiplied by zero: padding may hold NaN.
                let kept = is_kept.where_cond(features, &features.zeros_like()?)?;
                (kept, is_valid.to_dtype(features.dtype())?)
            }
        };
        Ok(Self {
            projected: projection.forward(&features)?,
            features,
            validity,
        })
    }

    /// The queries of this side over the context of the same entry.
    fn over(&self, context: &Self) -> Result<SideInputs> {
        let (queries, context_rows) = (unit_rows(&self.projected)?, unit_rows(&context.projected)?);
        let transposed = context_rows.t()?;
        Ok(SideInputs {
            relevance: queries.matmul(&transposed)?.unsqueeze(1)?,
            gram: context_rows.matmul(&transposed)?,
            context_validity: context.validity.unsqueeze(1)?.unsqueeze(1)?,
            query_validity: self.validity.unsqueeze(1)?,
        })
    }

    /// The valid projected rows of each entry, [L, D], detached.
    fn valid_rows(&self) -> Result<Vec<Tensor>> {
        let rows = self.projected.detach();
        let validity = self.validity.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let entries = validity.iter().enumerate();
        entries
            .map(|(entry, validity)| {
                let valid = (0u32..).zip(validity).filter(|(_, valid)| **valid != 0.0);
                let valid: Vec<u32> = valid.map(|(row, _)| row).collect();
                let count = valid.len();
                let valid = Tensor::from_vec(valid, count, rows.device())?;
                Ok(rows.get(entry)?.index_select(&valid, 0)?)
            })
            .collect()
    }
}

/// A mask of one side: [entries, longest], 0 or 1, with a valid row in each entry.
fn check_mask(tensor: &'static str, mask: &Tensor, entries: usize, longest: usize) -> Result<()> {
    let (rows, columns) = mask.dims2()?;
    expect(format!("mask of {tensor}"), "entries", entries, rows)?;
    expect(format!("mask of {tensor}"), "rows", longest, columns)?;
    let mask = mask.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    for (index, mask) in mask.iter().enumerate() {
        if let Some(found) = mask.iter().find(|valid| ![0.0, 1.0].contains(*valid)) {
            return Err(Error::Setting {
                setting: "masks",
                found: format!("{found} for {tensor}, entry {index}"),
                expected: "1 for a valid row and 0 for padding",
            });
        }
        if !mask.contains(&1.0) {
            return Err(Error::Core(uard_core::Error::CountOutOfRange {
                tensor,
                index,
                count: 0,
                longest,
            }));
        }
    }
    Ok(())
}

fn expect(tensor: String, axis: &'static str, expected: usize, found: usize) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(Error::Core(uard_core::Error::ShapeMismatch {
            tensor,
            axis,
            expected,
            found,
        })),
    }
}
