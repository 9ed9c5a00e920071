//! What is a detector to those who use it? Photos in, regions out.

use std::fmt;

use uard_linalg::matmul::Matmul;

use super::bottom_up::BottomUpAttention;
use super::scaling::Scaled;
use crate::Result;
use crate::backbone::{Maps, Photo};

/// What a detector says of a region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label {
    /// In the detector's own list.
    pub id: usize,
    /// From 0 to 1.
    pub confidence: f32,
}

/// The regions of a photo, the most confident first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DetectedRegions {
    /// [R, F]
    pub features: Vec<f32>,
    /// R boxes (x1, y1, x2, y2) in pixels of the upright photo.
    pub boxes: Vec<[f32; 4]>,
    /// What each is, R of them.
    pub classes: Vec<Label>,
    /// How each is, R of them.
    pub attributes: Vec<Label>,
}

/// The layers of a detector, in whatever numbers they compute.
pub(super) trait Layers: fmt::Debug + Send + Sync {
    /// F: the width of a region's features.
    fn width(&self) -> usize;

    /// The maps that boxes are cut from.
    fn maps(&self, pixels: &Maps<f32>) -> Result<Vec<Maps<f32>>>;

    /// Regions, with boxes in pixels of the network.
    fn regions(&self, photo: &Scaled) -> Result<DetectedRegions>;
}

/// A frozen detector on the CPU, of weights that are read: [`BottomUpAttention`].
///
/// ```no_run
/// use std::path::Path;
/// use uard_linalg::matmul::Matmul;
/// use uard_features::backbone::{Photo, PhotoLimits};
/// use uard_features::detector::BottomUpAttention;
/// use uard_hub::weights::Weights;
/// # fn main() -> uard_features::Result<()> {
/// let weights = Weights::open(Path::new("frcnn-vg-finetuned/pytorch_model.bin"))?;
/// let detector = BottomUpAttention::default().load(&weights, Matmul::F32)?;
/// let photo = Photo::open(Path::new("photo.jpg"), PhotoLimits::default())?;
/// let regions = &detector.regions(&[photo])?[0];
/// assert_eq!(regions.features.len(), regions.boxes.len() * 2048);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Detector {
    layers: Box<dyn Layers>,
    settings: BottomUpAttention,
    matmul: Matmul,
}

impl Detector {
    pub(super) fn new(
        layers: impl Layers + 'static,
        settings: BottomUpAttention,
        matmul: Matmul,
    ) -> Self {
        Self {
            layers: Box::new(layers),
            settings,
            matmul,
        }
    }

    /// F: the width of a region's features.
    pub fn width(&self) -> usize {
        self.layers.width()
    }

    /// What it was loaded with.
    pub fn settings(&self) -> &BottomUpAttention {
        &self.settings
    }

    /// The numbers that it multiplies; what is compared or returned is f32 either way.
    pub fn matmul(&self) -> Matmul {
        self.matmul
    }

    /// The maps of a photo that regions are cut from, the largest first.
    ///
    /// # Shapes
    /// Each map is [1, H, W, F], of the photo's own size.
    ///
    /// # Errors
    /// When the scaled photo is smaller than a window of the network.
    pub fn maps(&self, photo: &Photo) -> Result<Vec<Maps<f32>>> {
        let scaled = self.settings.scaling.apply(photo);
        self.layers.maps(&scaled.pixels)
    }

    /// The regions of each photo, over all threads. They depend on that photo alone, to the last
    /// bit: each has a size of its own and passes through the network by itself.
    ///
    /// # Shapes
    /// For each photo `features` [R, F], R `boxes`, `classes` and `attributes`; R differs
    /// between photos.
    ///
    /// # Errors
    /// When a scaled photo is smaller than a window of the network, or the weights give numbers
    /// that are not finite. No photos have no regions.
    pub fn regions(&self, photos: &[Photo]) -> Result<Vec<DetectedRegions>> {
        let regions = photos.iter().map(|photo| {
            let scaled = self.settings.scaling.apply(photo);
            let mut found = self.layers.regions(&scaled)?;
            for corners in &mut found.boxes {
                *corners = super::boxes::scaled(*corners, scaled.ratio);
            }
            Ok(found)
        });
        regions.collect()
    }
}
