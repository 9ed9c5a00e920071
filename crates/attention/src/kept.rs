//! How much of the attention survives the threshold?

use std::ops::AddAssign;

/// Counts over the pairs of a batch: what is above the threshold, and all there is.
///
/// Both query sides are counted whichever sides ask. Rules without masks keep everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// Word queries with at least one region above the threshold.
    pub word_queries: u64,
    /// Region queries with at least one word above the threshold.
    pub region_queries: u64,
    /// Region-word cells above the threshold.
    pub cells: u64,
    /// Valid words times images.
    pub all_word_queries: u64,
    /// Valid regions times captions.
    pub all_region_queries: u64,
    /// Valid region-word cells.
    pub all_cells: u64,
}

impl Kept {
    /// Everything there is, for fragment counts of images and captions; nothing kept yet.
    pub(crate) fn of_totals(regions: &[usize], words: &[usize]) -> Self {
        let all_regions = regions.iter().sum::<usize>() as u64;
        let all_words = words.iter().sum::<usize>() as u64;
        Self {
            all_word_queries: all_words * regions.len() as u64,
            all_region_queries: all_regions * words.len() as u64,
            all_cells: all_words * all_regions,
            ..Self::default()
        }
    }

    /// The same totals with those word queries, region queries and cells kept.
    pub(crate) fn with_above(self, [word_queries, region_queries, cells]: [u64; 3]) -> Self {
        Self {
            word_queries,
            region_queries,
            cells,
            ..self
        }
    }

    /// The same totals with everything kept.
    pub(crate) fn everything(self) -> Self {
        Self {
            word_queries: self.all_word_queries,
            region_queries: self.all_region_queries,
            cells: self.all_cells,
            ..self
        }
    }
}

impl AddAssign for Kept {
    fn add_assign(&mut self, other: Self) {
        self.word_queries += other.word_queries;
        self.region_queries += other.region_queries;
        self.cells += other.cells;
        self.all_word_queries += other.all_word_queries;
        self.all_region_queries += other.all_region_queries;
        self.all_cells += other.all_cells;
    }
}
