//! The similarity of a batch on the CPU: one operator with an analytic gradient.
//!
//! It reads relevance and the two Gram matrices and never sees the joint space. Pairs whose
//! upstream gradient is zero (all but the hardest negatives) cost nothing in the backward pass.
//! Work is split by caption or by image and summed in a fixed order within: the same bytes for
//! any number of threads.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::Kept;
use crate::config::{MatcherConfig, QuerySide};
use crate::side::{Block, BlockGradients, Real, Scratch, Side};

/// What is asked of a batch, beside its tensors.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub config: MatcherConfig,
    pub threshold: f64,
    /// Valid regions of each image, and the padded length R.
    pub region_counts: Vec<usize>,
    pub longest_regions: usize,
    /// Valid words of each caption, and the padded length W.
    pub word_counts: Vec<usize>,
    pub longest_words: usize,
}

/// What the forward pass knows for free.
#[derive(Debug)]
pub(crate) struct ByProducts {
    /// Highest relevance of each word in each image, [C, W, I].
    pub word_maxima: Vec<f32>,
    /// What is above the threshold.
    pub kept: Kept,
}

/// Relevance [C W, I R], G [I, R, R] and H [C, W, W] to similarity [I, C].
#[derive(Debug)]
pub(crate) struct MatcherOperator {
    pub question: Question,
    pub by_products: Arc<OnceLock<ByProducts>>,
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
        let shape = Shape::from((
            self.question.region_counts.len(),
            self.question.word_counts.len(),
        ));
        let storage = match s1 {
            CpuStorage::F64(_) => {
                CpuStorage::F64(self.forward(&Inputs::<f64>::new([(s1, l1), (s2, l2), (s3, l3)])?))
            }
            _ => {
                CpuStorage::F32(self.forward(&Inputs::<f32>::new([(s1, l1), (s2, l2), (s3, l3)])?))
            }
        };
        Ok((storage, shape))
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
        let gradients = match relevance.dtype() {
            candle_core::DType::F64 => self.backward::<f64>(inputs, upstream)?,
            _ => self.backward::<f32>(inputs, upstream)?,
        };
        let [relevance, region_gram, word_gram] = gradients;
        Ok((Some(relevance), Some(region_gram), Some(word_gram)))
    }
}

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

/// Forward results of one caption against every image.
struct CaptionForward<T> {
    similarities: Vec<T>,
    word_maxima: Vec<f32>,
    kept: Kept,
}

impl MatcherOperator {
    fn forward<T: Real>(&self, inputs: &Inputs<'_, T>) -> Vec<T> {
        let images = self.question.region_counts.len();
        let captions = self.question.word_counts.len();
        let rows: Vec<CaptionForward<T>> = (0..captions)
            .into_par_iter()
            .map_init(Worker::default, |worker, caption| {
                self.forward_caption(inputs, caption, worker)
            })
            .collect();
        let mut similarities = vec![T::zero(); images * captions];
        let mut word_maxima = Vec::with_capacity(captions * self.question.longest_words * images);
        let mut kept = Kept::of_totals(&self.question.region_counts, &self.question.word_counts);
        for (caption, row) in rows.into_iter().enumerate() {
            for (image, similarity) in row.similarities.into_iter().enumerate() {
                similarities[image * captions + caption] = similarity;
            }
            word_maxima.extend(row.word_maxima);
            kept += row.kept;
        }
        if !self.question.config.has_masks() {
            kept = kept.everything();
        }
        // A second forward of the same operator would find the same by-products.
        let _ = self.by_products.set(ByProducts { word_maxima, kept });
        similarities
    }

    fn forward_caption<T: Real>(
        &self,
        inputs: &Inputs<'_, T>,
        caption: usize,
        worker: &mut Worker<T>,
    ) -> CaptionForward<T> {
        let images = self.question.region_counts.len();
        let mut similarities = Vec::with_capacity(images);
        let mut word_maxima = vec![0.0; self.question.longest_words * images];
        let mut kept = Kept::default();
        let threshold = T::from_f64(self.question.config.threshold(self.question.threshold));
        for image in 0..images {
            self.gather(inputs, (image, caption), &mut worker.cells);
            let mut similarity = T::zero();
            for &side in self.question.config.sides.asking() {
                let attention = self.side(side);
                let block = self.block(side, inputs, (image, caption), &worker.cells);
                let sum = attention.forward(&block, &mut worker.scratch);
                similarity += sum / T::from_f64(block.queries as f64);
            }
            similarities.push(similarity);
            let block = self.block(QuerySide::Words, inputs, (image, caption), &worker.cells);
            for word in 0..block.queries {
                word_maxima[word * images + image] = block.best(word).1.to_f64() as f32;
            }
            if self.question.config.has_masks() {
                worker.cells.count_above(threshold, &mut kept);
            }
        }
        CaptionForward {
            similarities,
            word_maxima,
            kept,
        }
    }

    fn backward<T: Real>(&self, inputs: [&Tensor; 3], upstream: &Tensor) -> Result<[Tensor; 3]> {
        let upstream = upstream.flatten_all()?.to_vec1::<T>()?;
        let guards = inputs.map(Tensor::storage_and_layout);
        let cpu = |at: usize| match &*guards[at].0 {
            candle_core::Storage::Cpu(storage) => Ok((storage, guards[at].1)),
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

    /// Gradients of words asking: to relevance, [I, C, W, R], and to the Gram matrices of regions.
    fn backward_words<T: Real>(&self, inputs: &Inputs<'_, T>, upstream: &[T]) -> (Vec<T>, Vec<T>) {
        let question = &self.question;
        let (images, captions) = (question.region_counts.len(), question.word_counts.len());
        let cells = question.longest_words * question.longest_regions;
        let square = question.longest_regions * question.longest_regions;
        let mut relevance = vec![T::zero(); images * captions * cells];
        let mut gram = vec![T::zero(); images * square];
        if !question.config.sides.asking().contains(&QuerySide::Words) {
            return (relevance, gram);
        }
        relevance
            .par_chunks_mut(captions * cells)
            .zip(gram.par_chunks_mut(square))
            .enumerate()
            .for_each_init(Worker::default, |worker, (image, (relevance, gram))| {
                for (caption, relevance) in relevance.chunks_mut(cells).enumerate() {
                    let upstream = upstream[image * captions + caption];
                    let gradients = BlockGradients { relevance, gram };
                    self.backward_pair(
                        (inputs, worker),
                        QuerySide::Words,
                        (image, caption),
                        upstream,
                        gradients,
                    );
                }
            });
        (relevance, gram)
    }

    /// Gradients of regions asking, added to those of words: to relevance, [C W, I R], and to the
    /// Gram matrices of words.
    fn backward_regions<T: Real>(
        &self,
        inputs: &Inputs<'_, T>,
        upstream: &[T],
        by_image: &[T],
    ) -> (Vec<T>, Vec<T>) {
        let question = &self.question;
        let (images, captions) = (question.region_counts.len(), question.word_counts.len());
        let cells = question.longest_words * question.longest_regions;
        let square = question.longest_words * question.longest_words;
        let asks = question.config.sides.asking().contains(&QuerySide::Regions);
        let mut relevance = vec![T::zero(); images * captions * cells];
        let mut gram = vec![T::zero(); captions * square];
        relevance
            .par_chunks_mut(images * cells)
            .zip(gram.par_chunks_mut(square))
            .enumerate()
            .for_each_init(Worker::default, |worker, (caption, (relevance, gram))| {
                let mut transposed = Vec::new();
                for image in 0..images {
                    let upstream = upstream[image * captions + caption];
                    if upstream == T::zero() {
                        continue;
                    }
                    transposed.clear();
                    transposed.resize(cells, T::zero());
                    if asks {
                        let gradients = BlockGradients {
                            relevance: &mut transposed,
                            gram,
                        };
                        self.backward_pair(
                            (inputs, worker),
                            QuerySide::Regions,
                            (image, caption),
                            upstream,
                            gradients,
                        );
                    }
                    let words = &by_image[(image * captions + caption) * cells..][..cells];
                    self.scatter((image, caption), words, &transposed, relevance);
                }
            });
        (relevance, gram)
    }

    fn backward_pair<T: Real>(
        &self,
        (inputs, worker): (&Inputs<'_, T>, &mut Worker<T>),
        side: QuerySide,
        pair: (usize, usize),
        upstream: T,
        mut gradients: BlockGradients<'_, T>,
    ) {
        if upstream == T::zero() {
            return;
        }
        self.gather(inputs, pair, &mut worker.cells);
        let block = self.block(side, inputs, pair, &worker.cells);
        let each = upstream / T::from_f64(block.queries as f64);
        self.side(side)
            .backward(&block, each, &mut gradients, &mut worker.scratch);
    }

    /// Writes a pair's gradient, words asking [words, regions] plus regions asking
    /// [regions, words], into the caption's rows of [W, I R].
    fn scatter<T: Real>(
        &self,
        (image, caption): (usize, usize),
        words_ask: &[T],
        regions_ask: &[T],
        rows: &mut [T],
    ) {
        let regions = self.question.region_counts[image];
        let words = self.question.word_counts[caption];
        let width = self.question.region_counts.len() * self.question.longest_regions;
        for word in 0..words {
            let start = word * width + image * self.question.longest_regions;
            for (region, cell) in rows[start..start + regions].iter_mut().enumerate() {
                *cell = words_ask[word * regions + region] + regions_ask[region * words + word];
            }
        }
    }

    /// Copies a pair's valid cells out of the batch, once for each side.
    fn gather<T: Real>(
        &self,
        inputs: &Inputs<'_, T>,
        (image, caption): (usize, usize),
        cells: &mut PairCells<T>,
    ) {
        let question = &self.question;
        let (regions, words) = (question.region_counts[image], question.word_counts[caption]);
        let width = question.region_counts.len() * question.longest_regions;
        let first = caption * question.longest_words * width + image * question.longest_regions;
        cells.words_by_regions.clear();
        for word in 0..words {
            let start = first + word * width;
            cells
                .words_by_regions
                .extend_from_slice(&inputs.relevance[start..start + regions]);
        }
        cells.regions_by_words.clear();
        for region in 0..regions {
            let column = cells.words_by_regions[region..].iter().step_by(regions);
            cells.regions_by_words.extend(column);
        }
        cells.regions = regions;
        cells.words = words;
    }

    /// The gathered pair as `side` sees it.
    fn block<'a, T: Real>(
        &self,
        side: QuerySide,
        inputs: &'a Inputs<'_, T>,
        (image, caption): (usize, usize),
        cells: &'a PairCells<T>,
    ) -> Block<'a, T> {
        let (r, w) = (self.question.longest_regions, self.question.longest_words);
        match side {
            QuerySide::Words => Block {
                relevance: &cells.words_by_regions,
                queries: cells.words,
                context: cells.regions,
                gram: &inputs.region_gram[image * r * r..][..r * r],
                stride: r,
            },
            QuerySide::Regions => Block {
                relevance: &cells.regions_by_words,
                queries: cells.regions,
                context: cells.words,
                gram: &inputs.word_gram[caption * w * w..][..w * w],
                stride: w,
            },
        }
    }

    fn side<T: Real>(&self, side: QuerySide) -> Side<T> {
        Side::new(&self.question.config, side, self.question.threshold)
    }
}

/// What one thread reuses from pair to pair.
#[derive(Debug, Default)]
struct Worker<T> {
    cells: PairCells<T>,
    scratch: Scratch<T>,
}

/// One pair's relevance in both orders.
#[derive(Debug, Default)]
struct PairCells<T> {
    words_by_regions: Vec<T>,
    regions_by_words: Vec<T>,
    words: usize,
    regions: usize,
}

impl<T: Real> PairCells<T> {
    fn count_above(&self, threshold: T, kept: &mut Kept) {
        let above = |row: &&[T]| row.iter().any(|&s| s > threshold);
        kept.word_queries += self
            .words_by_regions
            .chunks_exact(self.regions)
            .filter(above)
            .count() as u64;
        kept.region_queries += self
            .regions_by_words
            .chunks_exact(self.words)
            .filter(above)
            .count() as u64;
        kept.cells += self
            .words_by_regions
            .iter()
            .filter(|&&s| s > threshold)
            .count() as u64;
    }
}
