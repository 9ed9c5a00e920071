//! What does a pair reach? Theorem 1 of `docs/exactness.md` as loops in f64 that judge the fast ones.

use super::{slack, visible_above};
use crate::QuerySide;

/// One pair as bf16 shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    /// Relevance in bf16, row-major [words, stride].
    pub relevance: &'a [f32],
    pub stride: usize,
    pub words: usize,
    pub regions: usize,
    /// Lemma 1's for this pair.
    pub bound: f32,
    /// Lemma 3's of the words and of the regions.
    pub stretches: [&'a [f32]; 2],
}

impl Pair<'_> {
    /// Theorem 1: what the masked similarity in f32 does not exceed, for the sides that ask.
    pub(crate) fn reach(&self, threshold: f32, sides: &[QuerySide]) -> f64 {
        let lowest = visible_above(threshold, self.bound);
        let means = sides.iter().map(|side| match side {
            QuerySide::Words => {
                let answers = (0..self.words).map(|i| {
                    let row = (0..self.regions).map(|j| self.relevance[i * self.stride + j]);
                    self.answer(row, lowest, self.stretches[1])
                });
                answers.sum::<f64>() / self.words as f64
            }
            QuerySide::Regions => {
                let answers = (0..self.regions).map(|j| {
                    let column = (0..self.words).map(|i| self.relevance[i * self.stride + j]);
                    self.answer(column, lowest, self.stretches[0])
                });
                answers.sum::<f64>() / self.regions as f64
            }
        });
        means.sum::<f64>() * slack(self.words, self.regions)
    }

    /// Lemma 4: `R <= stretch[p] sqrt(sum_j max(0, s^_j + bound)^2)` over the p visible cells.
    fn answer(&self, cells: impl Iterator<Item = f32>, lowest: f32, stretches: &[f32]) -> f64 {
        let visible = cells.filter(|&s| s > lowest);
        let highest: Vec<f64> = visible
            .map(|s| (f64::from(s) + f64::from(self.bound)).max(0.0))
            .collect();
        let length = highest.iter().map(|s| s * s).sum::<f64>().sqrt();
        // Nothing visible, or nothing above zero: R is not above zero either.
        if length == 0.0 {
            return 0.0;
        }
        f64::from(stretches[highest.len()]) * length
    }
}
