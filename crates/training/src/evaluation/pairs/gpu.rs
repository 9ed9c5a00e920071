//! All pairs of a split on an NVIDIA GPU.

use std::sync::Arc;

use candle_core::Device;
use uard_attention::kernel::cuda::{
    DeviceRegionsBuilder, DeviceSearch, DeviceWordsBuilder, Half, open,
};
use uard_attention::search::AllPairs;
use uard_attention::{Matcher, Precision};
use uard_core::gpu::Driver;

use crate::Result;
use crate::evaluation::{OnProgress, Stage};

/// Fragments on their way to a GPU.
pub(in crate::evaluation) struct OnGpu {
    machine: Arc<Driver>,
    search: DeviceSearch<Driver>,
    pub regions: DeviceRegionsBuilder,
    pub words: DeviceWordsBuilder,
}

impl OnGpu {
    /// Computes in bf16 where that was asked for, else in f16.
    pub(in crate::evaluation) fn new(
        matcher: &Matcher,
        (precision, threshold): (Precision, f64),
        width: usize,
        device: &Device,
    ) -> Result<Self> {
        let machine = open(device)?;
        let half = match precision {
            Precision::Bf16 => Half::Bf16,
            _ => Half::F16,
        };
        Ok(Self {
            search: DeviceSearch::new(Arc::clone(&machine), matcher, threshold)?,
            regions: DeviceRegionsBuilder::new(width, half)?,
            words: DeviceWordsBuilder::new(width, half)?,
            machine,
        })
    }

    /// The similarity of all that was added.
    pub(in crate::evaluation) fn matched(self, on_progress: OnProgress<'_>) -> Result<AllPairs> {
        let regions = self.regions.finish(&*self.machine)?;
        let words = self.words.finish(&*self.machine)?;
        let mut values = vec![0.0; regions.counts().len() * words.counts().len()];
        let on_pairs = |done, all| on_progress(Stage::Matching, done, all);
        let kept = self
            .search
            .similarities_into((&regions, &words), &mut values, &on_pairs)?;
        Ok(AllPairs { values, kept })
    }
}
