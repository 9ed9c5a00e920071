//! The differentiable similarity of a batch of images with a batch of captions.

#[cfg(feature = "cuda-kernels")]
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
#[cfg(feature = "cuda-kernels")]
use uard_core::gpu::Gpu;
use uard_core::{Regions, Words};
use uard_linalg::matmul::Matmul;

use crate::composed::{self, Batch};
use crate::config::MatcherConfig;
use crate::kept::Above;
use crate::operator::{self, ByProducts, OperatorOptions};
use crate::{Error, Kept, Result};

/// Matches images with captions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matcher {
    config: MatcherConfig,
    matmul: Matmul,
}

/// What matching a batch gives.
#[derive(Debug, Clone)]
pub struct Similarities {
    /// Similarity of every pair, [I, C], differentiable, in the dtype of the fragments.
    pub values: Tensor,
    /// Highest relevance of each word over the regions of each image, [C, W, I] f32, detached;
    /// zero for padding words.
    pub word_maxima: Tensor,
    /// Words of each caption, padding left out.
    pub(crate) word_counts: Vec<usize>,
    pub(crate) kept: KeptCount,
}

/// How much was above the threshold, in host memory or on the device that counted it.
#[derive(Debug, Clone)]
pub(crate) enum KeptCount {
    OnHost(Kept),
    /// Word queries, region queries and cells, `[3]` i64.
    #[cfg(feature = "cuda-kernels")]
    OnDevice {
        counts: Tensor,
        totals: Kept,
    },
}

impl Similarities {
    /// The same numbers, cut from the graph that made them.
    pub fn detach(&self) -> Self {
        Self {
            values: self.values.detach(),
            ..self.clone()
        }
    }

    /// How much was above the threshold; waits for the device if that did the counting.
    ///
    /// # Errors
    /// When the device failed.
    pub fn kept(&self) -> Result<Kept> {
        match &self.kept {
            KeptCount::OnHost(kept) => Ok(*kept),
            #[cfg(feature = "cuda-kernels")]
            KeptCount::OnDevice { counts, totals } => {
                let counts = counts.to_vec1::<i64>()?;
                Ok(Kept {
                    word_queries: counts[0] as u64,
                    region_queries: counts[1] as u64,
                    cells: counts[2] as u64,
                    ..*totals
                })
            }
        }
    }
}

impl Matcher {
    /// A matcher of the given settings.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn new(config: MatcherConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            config,
            matmul: Matmul::F32,
        })
    }

    /// The same matcher, which on the CPU rounds words and regions as `matmul` says before it
    /// multiplies them with each other. Gram matrices are not rounded.
    #[must_use]
    pub fn with_matmul(self, matmul: Matmul) -> Self {
        Self { matmul, ..self }
    }

    /// The settings.
    pub fn config(&self) -> &MatcherConfig {
        &self.config
    }

    /// The similarity of every pair of a batch.
    ///
    /// ```text
    /// S(U,V) = 1/m sum_i R_i + 1/n sum_j R_j                     m words u_i, n regions v_j
    /// R_i = (sum_j e_ij s_ij) / sqrt(e_i^T G e_i)                s_ij = u_i · v_j,  G = V V^T
    /// e_ij = 1[s_ij > t] exp(inverse_temperature (s_ij - max_j s_ij))
    /// ```
    /// R_i is 0 where no s_ij is above the threshold t. For R_j the sides are exchanged.
    ///
    /// # Shapes
    /// `regions` [I, R, D], `words` [C, W, D], both ragged, on one device, f32 or f64; `threshold`
    /// a cosine. On the CPU the operator of this crate runs; on CUDA its kernels between candle's
    /// products, but for the scan rule and for pairs larger than a multiprocessor holds; elsewhere
    /// the composed form.
    ///
    /// A pair without any relevance above the threshold has similarity exactly 0; under the rule
    /// nearest each of its queries adds its highest relevance instead. No gradient flows through
    /// the threshold. The zero rule ignores `threshold`; scan and maxsim have none.
    ///
    /// A pair with a fragment that is not finite has the similarity NaN, its gradients are NaN, and
    /// so are the maxima of words over such an image.
    ///
    /// # Errors
    /// When the threshold is not finite, the widths differ or the device fails.
    ///
    /// # Source
    /// UARDA's S(U,V); the Gram form is this project's (`docs/method.md`).
    pub fn similarities(
        &self,
        regions: &Regions,
        words: &Words,
        threshold: f64,
    ) -> Result<Similarities> {
        self.check(regions, words, threshold)?;
        match regions.rows().device() {
            Device::Cpu => self.by_operator(regions, words, threshold),
            #[cfg(feature = "cuda")]
            device if device.is_cuda() => {
                use crate::kernel::cuda::operator::is_supported;
                match is_supported(&self.config, regions, words)? {
                    true => {
                        let gpu = uard_core::gpu::tensors::driver(device)?;
                        self.by_kernels(gpu, regions, words, threshold)
                    }
                    false => self.by_composition(regions, words, threshold),
                }
            }
            _ => self.by_composition(regions, words, threshold),
        }
    }

    /// The similarity of every pair of a batch in host memory, by the training kernels of a GPU or
    /// of an interpreter of PTX. candle multiplies on the CPU; the products are copied to the GPU,
    /// and the results back. This is for checks of the kernels: [`Matcher::similarities`] of
    /// tensors on a GPU copies nothing.
    ///
    /// # Errors
    /// As [`Matcher::similarities`], and when the rows are not f32, the rule is scan, which has no
    /// kernel, or a pair is larger than a multiprocessor holds.
    #[cfg(feature = "cuda-kernels")]
    pub fn similarities_on(
        &self,
        gpu: &Arc<dyn Gpu>,
        regions: &Regions,
        words: &Words,
        threshold: f64,
    ) -> Result<Similarities> {
        self.check(regions, words, threshold)?;
        self.by_kernels(Arc::clone(gpu), regions, words, threshold)
    }

    /// The similarities by our CUDA kernels, from products that candle computes.
    #[cfg(feature = "cuda-kernels")]
    fn by_kernels(
        &self,
        gpu: Arc<dyn Gpu>,
        regions: &Regions,
        words: &Words,
        threshold: f64,
    ) -> Result<Similarities> {
        use crate::kernel::cuda::operator::similarities;
        let found = similarities(gpu, &self.config, threshold, regions, words)?;
        let totals = self.kept(regions, words, Above::default());
        let kept = match self.config.has_masks() {
            true => KeptCount::OnDevice {
                counts: found.counts,
                totals,
            },
            false => KeptCount::OnHost(totals),
        };
        Ok(Similarities {
            values: found.values,
            word_maxima: found.word_maxima,
            word_counts: words.counts().to_vec(),
            kept,
        })
    }

    /// [`Matcher::similarities`] in candle's own operations, on any device. Tests compare the
    /// operator with it.
    ///
    /// # Errors
    /// As [`Matcher::similarities`].
    pub fn composed_similarities(
        &self,
        regions: &Regions,
        words: &Words,
        threshold: f64,
    ) -> Result<Similarities> {
        self.check(regions, words, threshold)?;
        self.by_composition(regions, words, threshold)
    }

    pub(crate) fn check(&self, regions: &Regions, words: &Words, threshold: f64) -> Result<()> {
        MatcherConfig::check_threshold(threshold)?;
        if regions.width() == words.width() {
            return Ok(());
        }
        Err(Error::WidthMismatch {
            regions: regions.width(),
            words: words.width(),
        })
    }

    fn by_operator(
        &self,
        regions: &Regions,
        words: &Words,
        threshold: f64,
    ) -> Result<Similarities> {
        let options = OperatorOptions {
            config: self.config,
            matmul: self.matmul,
            threshold,
        };
        let found = match words.rows().dtype() {
            DType::F64 => operator::similarities::<f64>(&options, regions, words)?,
            _ => operator::similarities::<f32>(&options, regions, words)?,
        };
        let shape = (words.captions(), words.longest(), regions.images());
        let ByProducts { word_maxima, above } = found.by_products;
        Ok(Similarities {
            values: found.similarities,
            word_maxima: Tensor::from_vec(word_maxima, shape, &Device::Cpu)?,
            word_counts: words.counts().to_vec(),
            kept: KeptCount::OnHost(self.kept(regions, words, above)),
        })
    }

    fn by_composition(
        &self,
        regions: &Regions,
        words: &Words,
        threshold: f64,
    ) -> Result<Similarities> {
        let batch = Batch::new(regions, words)?;
        let above = batch.count_above(self.config.threshold(threshold))?;
        Ok(Similarities {
            values: composed::similarities(&batch, &self.config, threshold)?,
            word_maxima: batch.word_maxima()?,
            word_counts: words.counts().to_vec(),
            kept: KeptCount::OnHost(self.kept(regions, words, above)),
        })
    }

    fn kept(&self, regions: &Regions, words: &Words, above: Above) -> Kept {
        Kept::new(&self.config, regions.counts(), words.counts(), above)
    }
}

/// The matrix products of a batch, from which attention is computed.
pub(crate) struct Products {
    /// [C W, I R].
    pub relevance: Tensor,
    /// [I, R, R].
    pub region_grams: Tensor,
    /// [C, W, W].
    pub word_grams: Tensor,
}

impl Products {
    pub(crate) fn new(regions: &Regions, words: &Words) -> Result<Self> {
        let (region_rows, word_rows) = (flat_rows(regions.rows())?, flat_rows(words.rows())?);
        Ok(Self {
            relevance: word_rows.matmul(&region_rows.t()?)?,
            region_grams: gram(regions.rows())?,
            word_grams: gram(words.rows())?,
        })
    }

    /// Relevance, and the Gram matrices of regions and of words.
    #[cfg(feature = "cuda-kernels")]
    pub(crate) fn all(&self) -> [&Tensor; 3] {
        [&self.relevance, &self.region_grams, &self.word_grams]
    }
}

impl Batch {
    /// The products of a batch, with the validity of its rows.
    pub(crate) fn new(regions: &Regions, words: &Words) -> Result<Self> {
        let (i, r, _) = regions.rows().dims3()?;
        let (c, w, _) = words.rows().dims3()?;
        let products = Products::new(regions, words)?;
        Ok(Self {
            relevance: products.relevance.reshape((c, w, i, r))?,
            region_gram: products.region_grams,
            word_gram: products.word_grams,
            region_validity: regions.validity()?,
            word_validity: words.validity()?,
        })
    }
}

/// [N, L, D] as [N L, D].
fn flat_rows(rows: &Tensor) -> Result<Tensor> {
    let (entries, longest, width) = rows.dims3()?;
    Ok(rows.reshape((entries * longest, width))?)
}

/// Products of each entry's rows with each other, [N, L, L].
fn gram(rows: &Tensor) -> Result<Tensor> {
    Ok(rows.matmul(&rows.t()?)?)
}
