//! Forward: similarity, word maxima and counts, each caption against every image.

use rayon::prelude::*;

use super::pair::Worker;
use super::{ByProducts, Inputs, MatcherOperator};
use crate::Kept;
use crate::config::QuerySide;
use crate::side::Real;

/// One caption against every image.
struct CaptionForward<T> {
    similarities: Vec<T>,
    word_maxima: Vec<f32>,
    kept: Kept,
}

impl MatcherOperator {
    pub(super) fn forward<T: Real>(&self, inputs: &Inputs<'_, T>) -> Vec<T> {
        let (images, captions) = (self.images(), self.captions());
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
        let images = self.images();
        let mut similarities = Vec::with_capacity(images);
        let mut word_maxima = vec![0.0; self.question.longest_words * images];
        let mut kept = Kept::default();
        let threshold = T::from_f64(self.question.config.threshold(self.question.threshold));
        for image in 0..images {
            self.gather(inputs, (image, caption), &mut worker.cells);
            let mut similarity = T::zero();
            for &side in self.question.config.sides.asking() {
                let block = self.block(side, inputs, (image, caption), &worker.cells);
                let sum = self.side(side).forward(&block, &mut worker.scratch);
                similarity += sum / T::from_f64(block.queries as f64);
            }
            similarities.push(similarity);
            let block = self.block(QuerySide::Words, inputs, (image, caption), &worker.cells);
            for word in 0..block.queries {
                let (_, best) = block.best(word);
                word_maxima[word * images + image] = best.to_f64() as f32;
                kept.word_queries += u64::from(best > threshold);
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
}
