//! The data of the kernels' races: fragments as tensors, and packed for every precision.

use uard_attention::search::Search;
use uard_attention::{Engine, Kept, Matcher, MatcherConfig, PackedRegions, PackedWords, Precision};
use uard_core::random::Draws;
use uard_core::{Regions, Words};

use crate::workload::{self, Content, Shape};

/// Images and captions, with the threshold with which they are matched.
pub struct Data {
    /// Regions as a tensor, not packed: for other programs (peers) and for the product alone.
    pub regions: Regions,
    /// Words as a tensor, not packed: for other programs (peers) and for the product alone.
    pub words: Words,
    /// Packed regions for every precision of our kernels.
    pub packed_regions: PackedRegions,
    /// Packed words for every precision of our kernels.
    pub packed_words: PackedWords,
    /// The threshold that keeps the given share of the queries.
    pub threshold: f64,
}

impl Data {
    /// Draws everything and finds the threshold.
    ///
    /// # Errors
    /// If candle fails.
    pub fn draw(shape: Shape, content: Content, kept: f64) -> anyhow::Result<Self> {
        let draws = Draws::new(0);
        let regions = workload::regions(shape, &draws)?;
        let words = workload::words(shape, content, &draws)?;
        let threshold = workload::threshold_keeping(kept, &regions, &words)?;
        Self::pack(regions, words, threshold)
    }

    /// The first images and captions.
    ///
    /// # Errors
    /// If candle fails.
    pub fn slice(&self, images: usize, captions: usize) -> anyhow::Result<Self> {
        let regions = self.regions.narrow(0, images.min(self.images()))?;
        let words = self.words.narrow(0, captions.min(self.captions()))?;
        Self::pack(regions, words, self.threshold)
    }

    fn pack(regions: Regions, words: Words, threshold: f64) -> anyhow::Result<Self> {
        Ok(Self {
            packed_regions: PackedRegions::pack(&regions, Precision::Exact)?,
            packed_words: PackedWords::pack(&words, Precision::Exact)?,
            regions,
            words,
            threshold,
        })
    }

    /// Number of images I.
    pub fn images(&self) -> usize {
        self.regions.images()
    }

    /// Number of captions C.
    pub fn captions(&self) -> usize {
        self.words.captions()
    }

    /// The number of pairs.
    pub fn pairs(&self) -> usize {
        self.images() * self.captions()
    }

    /// Multiply-adds of the relevance of all pairs.
    pub fn multiply_adds(&self) -> f64 {
        let regions: usize = self.regions.counts().iter().sum();
        let words: usize = self.words.counts().iter().sum();
        regions as f64 * words as f64 * self.regions.width() as f64
    }

    /// The numbers of images and captions, for titles.
    pub fn size(&self) -> String {
        format!("{} images x {} captions", self.images(), self.captions())
    }

    /// The shares that the threshold keeps, counted over the first pairs, for titles.
    ///
    /// # Errors
    /// If the search fails.
    pub fn kept(&self) -> anyhow::Result<String> {
        let part = self.slice(100, 100)?;
        let kept = part.kept_of_all()?;
        let percent = |some: u64, all: u64| 100.0 * some as f64 / all as f64;
        Ok(format!(
            "threshold {:.4} keeps {:.0} % of word and {:.0} % of region queries, {:.1} % of cells",
            self.threshold,
            percent(kept.word_queries, kept.all_word_queries),
            percent(kept.region_queries, kept.all_region_queries),
            percent(kept.cells, kept.all_cells),
        ))
    }

    fn kept_of_all(&self) -> anyhow::Result<Kept> {
        let matcher = Matcher::new(MatcherConfig::default())?;
        let search = Search::new(&matcher, self.threshold, Engine::Auto, Precision::F32)?;
        let mut out = vec![0.0; self.pairs()];
        let (regions, words) = (&self.packed_regions, &self.packed_words);
        Ok(search.similarities_into(regions, words, &mut out)?)
    }
}
