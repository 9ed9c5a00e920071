//! Counts of queries and cells above the threshold.

use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

use crate::MatcherConfig;

/// Counts over the pairs of a batch: queries and cells above the threshold, and all of them.
///
/// Both sides are counted, also one that has no queries in the matcher's settings. Under rules
/// without masks everything counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
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

/// Counts over some pairs of what is above the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Above {
    pub word_queries: u64,
    pub region_queries: u64,
    pub cells: u64,
}

impl Kept {
    /// The counts over all pairs of images with these numbers of regions and captions with these
    /// numbers of words. Under a rule without masks `above` is ignored and everything is kept.
    pub(crate) fn new(
        config: &MatcherConfig,
        regions: &[usize],
        words: &[usize],
        above: Above,
    ) -> Self {
        let all_regions = regions.iter().sum::<usize>() as u64;
        let all_words = words.iter().sum::<usize>() as u64;
        let all = Above {
            word_queries: all_words * regions.len() as u64,
            region_queries: all_regions * words.len() as u64,
            cells: all_words * all_regions,
        };
        let kept = if config.has_masks() { above } else { all };
        Self {
            word_queries: kept.word_queries,
            region_queries: kept.region_queries,
            cells: kept.cells,
            all_word_queries: all.word_queries,
            all_region_queries: all.region_queries,
            all_cells: all.cells,
        }
    }
}

impl AddAssign for Above {
    fn add_assign(&mut self, other: Self) {
        self.word_queries += other.word_queries;
        self.region_queries += other.region_queries;
        self.cells += other.cells;
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
