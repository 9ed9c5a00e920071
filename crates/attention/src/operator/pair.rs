//! One pair's valid cells, cut out of the batch for either side.

use super::{Inputs, MatcherOperator};
use crate::Kept;
use crate::config::QuerySide;
use crate::side::{Block, Real, Scratch};

/// What one thread reuses from pair to pair.
#[derive(Debug, Default)]
pub(super) struct Worker<T> {
    pub cells: PairCells<T>,
    pub scratch: Scratch<T>,
}

/// One pair's relevance in both orders.
#[derive(Debug, Default)]
pub(super) struct PairCells<T> {
    words_by_regions: Vec<T>,
    regions_by_words: Vec<T>,
    words: usize,
    regions: usize,
}

impl<T: Real> PairCells<T> {
    /// Adds the regions with a word above the threshold, and the cells above it.
    pub fn count_above(&self, threshold: T, kept: &mut Kept) {
        for words in self.regions_by_words.chunks_exact(self.words) {
            let above = words.iter().filter(|&&s| s > threshold).count() as u64;
            kept.cells += above;
            kept.region_queries += u64::from(above > 0);
        }
    }
}

impl MatcherOperator {
    /// Copies a pair's cells out of the batch, once for each side.
    pub(super) fn gather<T: Real>(
        &self,
        inputs: &Inputs<'_, T>,
        (image, caption): (usize, usize),
        cells: &mut PairCells<T>,
    ) {
        cells.regions = self.question.region_counts[image];
        cells.words = self.question.word_counts[caption];
        cells.words_by_regions.clear();
        for row in self.offsets[caption]..self.offsets[caption + 1] {
            let start = row * self.row_length() + image * self.question.longest_regions;
            cells
                .words_by_regions
                .extend_from_slice(&inputs.relevance[start..][..cells.regions]);
        }
        cells.regions_by_words.clear();
        for region in 0..cells.regions {
            let column = cells.words_by_regions[region..]
                .iter()
                .step_by(cells.regions);
            cells.regions_by_words.extend(column);
        }
    }

    /// The gathered pair as `side` sees it.
    pub(super) fn block<'a, T: Real>(
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
}
