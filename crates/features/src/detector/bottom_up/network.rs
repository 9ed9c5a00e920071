//! The forward pass of bottom-up attention: map, proposals, pooled features, regions.

use super::STRIDE;
use super::limits::RegionLimits;
use super::predictor::Predictor;
use crate::Result;
use crate::backbone::trunk::Trunk;
use crate::backbone::{Buffers, Maps, Number};
use crate::detector::anchors::over_cells;
use crate::detector::frozen::{DetectedRegions, DetectorLayers};
use crate::detector::proposals::ProposalNetwork;
use crate::detector::roi_pool::RoiPool;
use crate::detector::scaling::ScaledPhoto;

/// The number of regions that stage C5 computes at once: few enough that their maps stay small (25
/// MB in f32), enough that a kernel read from memory is used often.
const REGIONS_AT_ONCE: usize = 16;

/// The layers of bottom-up attention.
#[derive(Debug)]
pub struct Network<T> {
    pub trunk: Trunk<T>,
    /// The anchors (x1, y1, x2, y2) of a cell at (0, 0).
    pub shapes: Vec<[f32; 4]>,
    pub proposals: ProposalNetwork<T>,
    pub pool: RoiPool,
    pub res5: Trunk<T>,
    pub predictor: Predictor,
    pub limits: RegionLimits,
}

impl<T: Number> DetectorLayers for Network<T> {
    fn width(&self) -> usize {
        self.predictor.width
    }

    #[cfg(test)]
    fn maps(&self, pixels: &Maps<f32>) -> Result<Maps<f32>> {
        Ok(self.trunk.forward_pixels(pixels)?.widened())
    }

    fn regions(&self, photo: &ScaledPhoto) -> Result<DetectedRegions> {
        let map = self.trunk.forward_pixels(&photo.pixels)?;
        let anchors = over_cells(&self.shapes, map.size(), STRIDE);
        let proposals = self.proposals.propose(&map, &anchors, photo.size)?;
        let features = self.features(&map, &proposals);
        self.predictor
            .regions(&proposals, &features, photo.size, &self.limits)
    }
}

impl<T: Number> Network<T> {
    /// The features of each box: the mean over its cells of stage C5, [R, F] in f32.
    fn features(&self, map: &Maps<T>, boxes: &[[f32; 4]]) -> Vec<f32> {
        let mut buffers = Buffers::new();
        let mut features = Vec::with_capacity(boxes.len() * self.width());
        for boxes in boxes.chunks(REGIONS_AT_ONCE) {
            let pooled = self.pool.forward(map, boxes);
            let maps = self.res5.forward(pooled, &mut buffers);
            for region in 0..boxes.len() {
                features.extend(mean(maps.photo(region), maps.channels()));
            }
            buffers.give(maps);
        }
        features
    }
}

/// The mean of a map [H, W, F] over its cells, `[F]`.
fn mean<T: Number>(map: &[T], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0; channels];
    for cell in map.chunks_exact(channels) {
        for (sum, number) in sums.iter_mut().zip(cell) {
            *sum += number.to_f32();
        }
    }
    let cells = (map.len() / channels) as f32;
    sums.iter_mut().for_each(|sum| *sum /= cells);
    sums
}
