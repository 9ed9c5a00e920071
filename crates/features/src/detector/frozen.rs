//! A frozen detector: photos in, regions with features, boxes and labels out.

use std::fmt;

use uard_linalg::matmul::Matmul;

use super::bottom_up::BottomUpAttention;
use super::scaling::ScaledPhoto;
use crate::Result;
use crate::backbone::Photo;

/// A class or attribute that a detector predicts for a region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label {
    /// The index in the detector's list of classes or attributes.
    pub id: usize,
    /// The softmax of its logit, from 0 to 1.
    pub confidence: f32,
}

/// The regions of a photo, the most confident first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DetectedRegions {
    /// The features of the regions, [R, F].
    pub features: Vec<f32>,
    /// R boxes (x1, y1, x2, y2) in pixels of the upright photo.
    pub boxes: Vec<[f32; 4]>,
    /// R classes: the kind of object of each region.
    pub classes: Vec<Label>,
    /// R attributes, such as the colour or material of each region.
    pub attributes: Vec<Label>,
}

/// The layers of a detector, in f32 or bf16.
pub(super) trait DetectorLayers: fmt::Debug + Send + Sync {
    /// F, the width of a region's features.
    fn width(&self) -> usize;

    /// The map that regions are pooled from.
    #[cfg(test)]
    fn maps(&self, pixels: &crate::backbone::Maps<f32>) -> Result<crate::backbone::Maps<f32>>;

    /// Regions, with boxes in pixels of the scaled photo.
    fn regions(&self, photo: &ScaledPhoto) -> Result<DetectedRegions>;
}

/// A frozen detector on the CPU with its weights: a [`BottomUpAttention`].
#[derive(Debug)]
pub struct Detector {
    layers: Box<dyn DetectorLayers>,
    settings: BottomUpAttention,
    matmul: Matmul,
}

impl Detector {
    pub(super) fn new(
        layers: impl DetectorLayers + 'static,
        settings: BottomUpAttention,
        matmul: Matmul,
    ) -> Self {
        Self {
            layers: Box::new(layers),
            settings,
            matmul,
        }
    }

    /// F, the width of a region's features.
    pub fn width(&self) -> usize {
        self.layers.width()
    }

    /// The settings with which the detector was loaded.
    pub fn settings(&self) -> &BottomUpAttention {
        &self.settings
    }

    /// The number type of the convolutions; numbers that are compared or returned are f32 in any
    /// case.
    pub fn matmul(&self) -> Matmul {
        self.matmul
    }

    /// The map [1, H, W, F] of a photo that regions are pooled from.
    #[cfg(test)]
    pub(super) fn maps(&self, photo: &Photo) -> Result<crate::backbone::Maps<f32>> {
        let scaled = self.settings.scaling.apply(photo);
        self.layers.maps(&scaled.pixels)
    }

    /// The regions of each photo, computed on all threads. Photos differ in size, so each is a
    /// batch of its own; its regions depend on that photo only, to the last bit.
    ///
    /// # Shapes
    /// For each photo `features` [R, F], R `boxes`, `classes` and `attributes`; R differs
    /// between photos.
    ///
    /// # Errors
    /// When a scaled photo is smaller than a window of the network, or when results are NaN or
    /// infinite. For an empty slice the result is empty.
    pub fn regions(&self, photos: &[Photo]) -> Result<Vec<DetectedRegions>> {
        let regions = photos.iter().map(|photo| {
            let scaled = self.settings.scaling.apply(photo);
            let mut found = self.layers.regions(&scaled)?;
            for corners in &mut found.boxes {
                *corners = scaled.box_in_original(*corners);
            }
            Ok(found)
        });
        regions.collect()
    }
}
