//! All pairs by the formulas as they are written, on one thread: for each query with a cell above
//! the threshold the attended vector of width D is formed, and other queries are skipped.
//!
//! It shows the time that the mask saves if attention, and not the product of relevance, is most of the
//! work.

use uard_core::{Regions, Words};
use uard_linalg::product::{Matrix, Output, product};

/// Valid rows of every image and every caption.
pub struct Rows {
    images: Vec<Vec<f32>>,
    captions: Vec<Vec<f32>>,
    width: usize,
}

/// The parameters of attention.
#[derive(Clone, Copy)]
struct Attention {
    threshold: f32,
    inverse_temperature: f32,
    width: usize,
}

impl Rows {
    /// Copies the rows without padding.
    ///
    /// # Errors
    /// If candle fails.
    pub fn read(regions: &Regions, words: &Words) -> anyhow::Result<Self> {
        Ok(Self {
            images: valid(regions.rows(), regions.counts())?,
            captions: valid(words.rows(), words.counts())?,
            width: regions.width(),
        })
    }

    /// The similarity of every pair by the masked rule, both sides; row-major [I, C].
    pub fn all_pairs(&self, threshold: f64, inverse_temperature: f64) -> Vec<f32> {
        let attention = Attention {
            threshold: threshold as f32,
            inverse_temperature: inverse_temperature as f32,
            width: self.width,
        };
        let pairs = self.images.iter().flat_map(|image| {
            let similarity = move |caption: &Vec<f32>| {
                let words_ask = attention.one_side(caption, image);
                let regions_ask = attention.one_side(image, caption);
                words_ask + regions_ask
            };
            self.captions.iter().map(similarity)
        });
        pairs.collect()
    }
}

impl Attention {
    fn one_side(self, queries: &[f32], context: &[f32]) -> f32 {
        let (rows, columns) = (queries.len() / self.width, context.len() / self.width);
        let mut relevance = vec![0.0; rows * columns];
        let queries_matrix = Matrix::row_major(queries, rows, self.width);
        let context_matrix = Matrix::row_major(context, columns, self.width).transposed();
        product(
            &mut relevance,
            queries_matrix,
            context_matrix,
            Output::Overwrite,
        );
        let mut attended = vec![0.0; self.width];
        let answers = relevance
            .chunks_exact(columns)
            .zip(queries.chunks_exact(self.width))
            .map(|(relevance, query)| self.answer(relevance, query, context, &mut attended));
        answers.sum::<f32>() / rows as f32
    }

    fn answer(
        self,
        relevance: &[f32],
        query: &[f32],
        context: &[f32],
        attended: &mut [f32],
    ) -> f32 {
        let best = relevance.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if best <= self.threshold {
            return 0.0;
        }
        attended.fill(0.0);
        for (&cell, row) in relevance.iter().zip(context.chunks_exact(self.width)) {
            if cell > self.threshold {
                let weight = (self.inverse_temperature * (cell - best)).exp();
                for (sum, x) in attended.iter_mut().zip(row) {
                    *sum += weight * x;
                }
            }
        }
        let dot = |a: &[f32], b: &[f32]| -> f32 {
            let (a, b) = (a.as_chunks::<16>().0, b.as_chunks::<16>().0);
            let mut sums = [0.0f32; 16];
            for (a, b) in a.iter().zip(b) {
                for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
                    *sum += x * y;
                }
            }
            sums.iter().sum()
        };
        dot(attended, query) / (dot(attended, attended) * dot(query, query)).sqrt()
    }
}

fn valid(rows: &candle_core::Tensor, counts: &[usize]) -> anyhow::Result<Vec<Vec<f32>>> {
    let mut entries = Vec::with_capacity(counts.len());
    for (entry, &count) in counts.iter().enumerate() {
        let rows = rows.get(entry)?.narrow(0, 0, count)?;
        entries.push(rows.flatten_all()?.to_vec1()?);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use uard_attention::MatcherConfig;
    use uard_core::random::Draws;

    use super::*;
    use crate::peers::reference::Sample;
    use crate::workload::{self, Content, Shape};

    #[test]
    fn the_literal_form_equals_the_reference() {
        let shape = Shape {
            images: 3,
            captions: 5,
            width: 32,
        };
        let draws = Draws::new(0);
        let regions = workload::regions(shape, &draws).unwrap();
        let words = workload::words(shape, Content::Random, &draws).unwrap();
        let threshold = workload::threshold_keeping(0.5, &regions, &words).unwrap();
        let config = MatcherConfig::default();
        let expected = Sample::compute(&config, &regions, &words, threshold).unwrap();
        let found = Rows::read(&regions, &words)
            .unwrap()
            .all_pairs(threshold, 10.0);
        // Sums of 32 products in f32, divided by lengths above the threshold.
        assert!(expected.differences(&found, 5).all < 1e-5);
    }
}
