//! The data of a GPU's matching races: fragments on the host, and in the GPU's memory.

use std::sync::Arc;

use uard_attention::search::{Search, SearchRegions, SearchWords};
use uard_attention::{Matcher, MatcherConfig, Precision, Running};
use uard_core::gpu::Gpu;
use uard_core::random::Draws;
use uard_core::{Regions, Words};

use crate::workload::{self, Content, REGIONS, Shape};

/// The number of entries that are drawn and copied at a time.
const BATCH: usize = 500;

/// The number of images and of captions from which the threshold is computed.
const SAMPLE: (usize, usize) = (50, 100);

/// The approximate share of cells above the learned threshold on photographs.
pub const KEPT_CELLS: f64 = 0.026;

/// Fragments on the host, for peers.
pub struct Fragments {
    /// The regions of every image.
    pub regions: Regions,
    /// The words of every caption.
    pub words: Words,
    /// The threshold above which the share [`KEPT_CELLS`] of all cells lies.
    pub threshold: f64,
}

impl Fragments {
    /// Draws random directions; the threshold keeps as many cells as on photographs.
    ///
    /// # Errors
    /// If candle fails.
    pub fn draw(shape: Shape) -> anyhow::Result<Self> {
        let draws = Draws::new(0);
        let regions = workload::regions(shape, &draws)?;
        let words = workload::words(shape, Content::Random, &draws)?;
        let threshold = threshold_keeping_cells(KEPT_CELLS, &regions, &words)?;
        Ok(Self {
            regions,
            words,
            threshold,
        })
    }

    /// The first images and captions.
    ///
    /// # Errors
    /// If candle fails.
    pub fn corner(&self, images: usize, captions: usize) -> anyhow::Result<Self> {
        Ok(Self {
            regions: self.regions.narrow(0, images.min(self.regions.images()))?,
            words: self.words.narrow(0, captions.min(self.words.captions()))?,
            threshold: self.threshold,
        })
    }
}

/// The threshold that keeps a share of all cells, computed from a sample of the pairs.
fn threshold_keeping_cells(share: f64, regions: &Regions, words: &Words) -> anyhow::Result<f64> {
    let regions = regions.narrow(0, regions.images().min(SAMPLE.0))?;
    let words = words.narrow(0, words.captions().min(SAMPLE.1))?;
    let relevance = words.valid_rows()?.matmul(&regions.valid_rows()?.t()?)?;
    let mut cells = relevance.flatten_all()?.to_vec1::<f32>()?;
    let at = ((1.0 - share) * cells.len() as f64) as usize;
    let last = cells.len() - 1;
    let (_, cell, _) = cells.select_nth_unstable_by(at.min(last), f32::total_cmp);
    Ok(f64::from(*cell))
}

/// A search by our kernels on a GPU in bf16.
///
/// # Errors
/// If the configuration is invalid.
pub fn search(gpu: &Arc<dyn Gpu>, config: MatcherConfig, threshold: f64) -> anyhow::Result<Search> {
    let running = Running::on_gpu(Arc::clone(gpu), Precision::Bf16)?;
    Ok(Search::on(&Matcher::new(config)?, threshold, &running)?)
}

/// Fragments in a GPU's memory.
pub struct FragmentsOnGpu {
    /// The GPU.
    pub gpu: Arc<dyn Gpu>,
    /// The regions of every image.
    pub regions: SearchRegions,
    /// The words of every caption.
    pub words: SearchWords,
    /// The threshold above which the share [`KEPT_CELLS`] of all cells lies.
    pub threshold: f64,
}

impl FragmentsOnGpu {
    /// Copies fragments in bf16.
    ///
    /// # Errors
    /// If there is too little memory.
    pub fn copied(gpu: &Arc<dyn Gpu>, fragments: &Fragments) -> anyhow::Result<Self> {
        let search = search(gpu, MatcherConfig::default(), fragments.threshold)?;
        let mut regions = search.regions(fragments.regions.width())?;
        regions.push(&fragments.regions)?;
        let mut words = search.words(fragments.words.width())?;
        words.push(&fragments.words)?;
        Ok(Self {
            gpu: Arc::clone(gpu),
            regions: regions.finish()?,
            words: words.finish()?,
            threshold: fragments.threshold,
        })
    }

    /// Draws and copies batch by batch, because all fragments in f32 would take gigabytes.
    ///
    /// # Errors
    /// If there is too little memory.
    pub fn draw(gpu: &Arc<dyn Gpu>, shape: Shape) -> anyhow::Result<Self> {
        let draws = Draws::new(0);
        let content = Content::Random;
        let some_regions = workload::regions_of(0..shape.images.min(SAMPLE.0), shape, &draws)?;
        let some_words =
            workload::words_of(0..shape.captions.min(SAMPLE.1), shape, content, &draws)?;
        let threshold = threshold_keeping_cells(KEPT_CELLS, &some_regions, &some_words)?;
        let search = search(gpu, MatcherConfig::default(), threshold)?;
        let mut regions = search.regions(shape.width)?;
        for at in (0..shape.images).step_by(BATCH) {
            let some = at..shape.images.min(at + BATCH);
            regions.push(&workload::regions_of(some, shape, &draws)?)?;
        }
        let mut words = search.words(shape.width)?;
        for at in (0..shape.captions).step_by(BATCH) {
            let some = at..shape.captions.min(at + BATCH);
            words.push(&workload::words_of(some, shape, content, &draws)?)?;
        }
        Ok(Self {
            gpu: Arc::clone(gpu),
            regions: regions.finish()?,
            words: words.finish()?,
            threshold,
        })
    }

    /// The number of pairs.
    pub fn pairs(&self) -> usize {
        self.regions.images() * self.words.captions()
    }

    /// Multiply-adds of the relevance of all pairs.
    pub fn multiply_adds(&self) -> f64 {
        let words: usize = self.words.counts().iter().sum();
        let regions = self.regions.images() * REGIONS;
        regions as f64 * words as f64 * self.regions.width() as f64
    }

    /// The numbers of images and captions, for titles.
    pub fn size(&self) -> String {
        format!(
            "{} images x {} captions",
            self.regions.images(),
            self.words.captions()
        )
    }
}
