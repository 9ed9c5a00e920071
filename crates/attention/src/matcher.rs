//! The similarity of a batch: the one function that training, evaluation and scoring share.

use std::sync::{Arc, OnceLock};

use candle_core::{Device, Tensor};
use uard_core::{Regions, Words};

use crate::composed::{self, Batch};
use crate::config::MatcherConfig;
use crate::operator::{ByProducts, MatcherOperator, Question};
use crate::{Error, Kept, Result};

/// Matches images with captions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matcher {
    config: MatcherConfig,
}

/// What matching a batch gives.
#[derive(Debug, Clone)]
pub struct Similarities {
    /// Similarity of every pair, [I, C], differentiable, in the dtype of the fragments.
    pub values: Tensor,
    /// Highest relevance of each word over the regions of each image, [C, W, I] f32, detached;
    /// zero for padding words.
    pub word_maxima: Tensor,
    /// How much was above the threshold.
    pub kept: Kept,
}

impl Matcher {
    /// A matcher of the given settings.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn new(config: MatcherConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { config })
    }

    /// The settings.
    pub fn config(&self) -> &MatcherConfig {
        &self.config
    }

    /// The similarity of every pair of a batch.
    ///
    /// ```text
    /// S(U,V) = 1/m sum_i Mask_q( R(S^V_i, u_i) ) + 1/n sum_j Mask_q( R(S^U_j, v_j) )
    /// R(S^V_i, u_i) = (sum_j e_ij s_ij) / sqrt(e_i^T G e_i)
    /// e_ij = 1[s_ij > t] exp(inverse_temperature (s_ij - max_j s_ij))      G = V V^T
    /// ```
    ///
    /// # Shapes
    /// `regions` [I, R, D], `words` [C, W, D], both ragged, on one device, f32 or f64; `threshold`
    /// a cosine. On the CPU the operator of this crate runs, elsewhere the composed form.
    ///
    /// A pair without any relevance above the threshold has similarity exactly 0. No gradient
    /// flows through the threshold. The zero rule ignores `threshold`; scan and maxsim have none.
    ///
    /// # Errors
    /// When the widths differ or the device fails.
    ///
    /// # Source
    /// UARDA's S(U,V); the Gram form is this project's (`docs/method.md`).
    pub fn similarities(
        &self,
        regions: &Regions,
        words: &Words,
        threshold: f64,
    ) -> Result<Similarities> {
        let batch = self.batch(regions, words)?;
        if regions.rows().device().is_cpu() {
            self.by_operator(&batch, regions, words, threshold)
        } else {
            self.by_composition(&batch, (regions, words), threshold)
        }
    }

    /// The same by candle's own operations, whatever the device: what the operator is tested
    /// against.
    ///
    /// # Errors
    /// As [`Matcher::similarities`].
    pub fn composed_similarities(
        &self,
        regions: &Regions,
        words: &Words,
        threshold: f64,
    ) -> Result<Similarities> {
        self.by_composition(&self.batch(regions, words)?, (regions, words), threshold)
    }

    /// The two products as wide as the joint space: everything after them is narrow.
    fn batch(&self, regions: &Regions, words: &Words) -> Result<Batch> {
        if regions.width() != words.width() {
            return Err(Error::WidthMismatch {
                regions: regions.width(),
                words: words.width(),
            });
        }
        let (i, r, d) = regions.rows().dims3()?;
        let (c, w, _) = words.rows().dims3()?;
        let region_rows = regions.rows().reshape((i * r, d))?;
        let word_rows = words.rows().reshape((c * w, d))?;
        let relevance = word_rows.matmul(&region_rows.t()?)?.reshape((c, w, i, r))?;
        Ok(Batch {
            relevance,
            region_gram: regions.rows().matmul(&regions.rows().t()?)?,
            word_gram: words.rows().matmul(&words.rows().t()?)?,
            region_validity: regions.validity()?,
            word_validity: words.validity()?,
        })
    }

    fn by_operator(
        &self,
        batch: &Batch,
        regions: &Regions,
        words: &Words,
        threshold: f64,
    ) -> Result<Similarities> {
        let by_products = Arc::new(OnceLock::new());
        let operator = MatcherOperator {
            question: Question {
                config: self.config,
                threshold,
                region_counts: regions.counts().to_vec(),
                longest_regions: regions.longest(),
                word_counts: words.counts().to_vec(),
                longest_words: words.longest(),
            },
            by_products: Arc::clone(&by_products),
        };
        let values = batch
            .relevance
            .apply_op3(&batch.region_gram, &batch.word_gram, operator)?;
        let ByProducts { word_maxima, kept } = by_products
            .get()
            .map(|found| ByProducts {
                word_maxima: found.word_maxima.clone(),
                kept: found.kept,
            })
            .ok_or_else(|| candle_core::Error::Msg("the operator did not run".to_owned()))?;
        let shape = (words.captions(), words.longest(), regions.images());
        let word_maxima = Tensor::from_vec(word_maxima, shape, &Device::Cpu)?;
        Ok(Similarities {
            values,
            word_maxima,
            kept,
        })
    }

    fn by_composition(
        &self,
        batch: &Batch,
        (regions, words): (&Regions, &Words),
        threshold: f64,
    ) -> Result<Similarities> {
        let totals = Kept::of_totals(regions.counts(), words.counts());
        let kept = if self.config.has_masks() {
            let [word_queries, region_queries, cells] =
                batch.count_above(self.config.threshold(threshold))?;
            Kept {
                word_queries,
                region_queries,
                cells,
                ..totals
            }
        } else {
            totals.everything()
        };
        Ok(Similarities {
            values: composed::similarities(batch, &self.config, threshold)?,
            word_maxima: batch.word_maxima()?,
            kept,
        })
    }
}
