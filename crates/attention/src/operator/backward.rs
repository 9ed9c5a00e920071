//! Backward: from the gradient of similarities to those of relevance and Gram matrices.
//!
//! Words asking sum into the Gram matrix of an image, regions asking into that of a caption. So
//! the first pass owns images and the second owns captions; the first leaves its share of the
//! gradient of relevance in blocks that the second picks up.

use rayon::prelude::*;

use super::pair::Worker;
use super::{Inputs, MatcherOperator};
use crate::config::QuerySide;
use crate::side::{BlockGradients, Real};

impl MatcherOperator {
    /// Gradients of words asking: to relevance, in blocks [I, words, R], and to the Gram matrices
    /// of regions. A pair's block is packed as [words, regions].
    pub(super) fn backward_words<T: Real>(
        &self,
        inputs: &Inputs<'_, T>,
        upstream: &[T],
    ) -> (Vec<T>, Vec<T>) {
        let (images, r) = (self.images(), self.question.longest_regions);
        let of_an_image = self.offsets[self.captions()] * r;
        let mut gram = vec![T::zero(); images * r * r];
        if !self.asks(QuerySide::Words) {
            return (Vec::new(), gram);
        }
        let mut relevance = vec![T::zero(); images * of_an_image];
        relevance
            .par_chunks_mut(of_an_image)
            .zip(gram.par_chunks_mut(r * r))
            .enumerate()
            .for_each_init(Worker::default, |worker, (image, (relevance, gram))| {
                for caption in 0..self.captions() {
                    let relevance = &mut relevance[self.block_range(0, caption)];
                    let pair = (image, caption, upstream[image * self.captions() + caption]);
                    let gradients = BlockGradients { relevance, gram };
                    self.backward_pair((inputs, worker), QuerySide::Words, pair, gradients);
                }
            });
        (relevance, gram)
    }

    /// Gradients of both sides to relevance, [words, I R], and of regions asking to the Gram
    /// matrices of words.
    pub(super) fn backward_regions<T: Real>(
        &self,
        inputs: &Inputs<'_, T>,
        upstream: &[T],
        words_ask: &[T],
    ) -> (Vec<T>, Vec<T>) {
        let square = self.question.longest_words * self.question.longest_words;
        let mut relevance = vec![T::zero(); self.offsets[self.captions()] * self.row_length()];
        let mut gram = vec![T::zero(); self.captions() * square];
        self.split_by_caption(&mut relevance)
            .into_par_iter()
            .zip(gram.par_chunks_mut(square))
            .enumerate()
            .for_each_init(Worker::default, |worker, (caption, (relevance, gram))| {
                let mut block = Vec::new();
                for image in 0..self.images() {
                    let pair = (image, caption, upstream[image * self.captions() + caption]);
                    if pair.2 == T::zero() {
                        continue;
                    }
                    if self.asks(QuerySide::Words) {
                        let words_ask = &words_ask[self.block_range(image, caption)];
                        self.add_words((image, caption), words_ask, relevance);
                    }
                    if self.asks(QuerySide::Regions) {
                        block.clear();
                        block.resize(self.cells_of(image, caption), T::zero());
                        let gradients = BlockGradients {
                            relevance: &mut block,
                            gram,
                        };
                        self.backward_pair((inputs, worker), QuerySide::Regions, pair, gradients);
                        self.add_regions((image, caption), &block, relevance);
                    }
                }
            });
        (relevance, gram)
    }

    fn backward_pair<T: Real>(
        &self,
        (inputs, worker): (&Inputs<'_, T>, &mut Worker<T>),
        side: QuerySide,
        (image, caption, upstream): (usize, usize, T),
        mut gradients: BlockGradients<'_, T>,
    ) {
        if upstream == T::zero() {
            return;
        }
        self.gather(inputs, (image, caption), &mut worker.cells);
        let block = self.block(side, inputs, (image, caption), &worker.cells);
        let each = upstream / T::from_f64(block.queries as f64);
        self.side(side)
            .backward(&block, each, &mut gradients, &mut worker.scratch);
    }

    fn cells_of(&self, image: usize, caption: usize) -> usize {
        self.question.region_counts[image] * self.question.word_counts[caption]
    }

    /// Where the words-asking block of a pair lies.
    fn block_range(&self, image: usize, caption: usize) -> std::ops::Range<usize> {
        let r = self.question.longest_regions;
        let start = image * self.offsets[self.captions()] * r;
        start + self.offsets[caption] * r..start + self.offsets[caption + 1] * r
    }

    fn split_by_caption<'a, T>(&self, mut rows: &'a mut [T]) -> Vec<&'a mut [T]> {
        let mut parts = Vec::with_capacity(self.captions());
        for &words in &self.question.word_counts {
            let (part, rest) = rows.split_at_mut(words * self.row_length());
            parts.push(part);
            rows = rest;
        }
        parts
    }

    /// Adds a block [words, regions] to a caption's rows.
    fn add_words<T: Real>(&self, (image, caption): (usize, usize), block: &[T], rows: &mut [T]) {
        let regions = self.question.region_counts[image];
        for word in 0..self.question.word_counts[caption] {
            let start = word * self.row_length() + image * self.question.longest_regions;
            let cells = &mut rows[start..start + regions];
            for (cell, &gradient) in cells.iter_mut().zip(&block[word * regions..]) {
                *cell += gradient;
            }
        }
    }

    /// Adds a block [regions, words] to a caption's rows.
    fn add_regions<T: Real>(&self, (image, caption): (usize, usize), block: &[T], rows: &mut [T]) {
        let words = self.question.word_counts[caption];
        for word in 0..words {
            let start = word * self.row_length() + image * self.question.longest_regions;
            for region in 0..self.question.region_counts[image] {
                rows[start + region] += block[region * words + word];
            }
        }
    }
}
