//! How do photos become regions without a detector? Each cell of a feature map is one.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::VisionError;
use super::maps::Maps;
use super::network::Network;
use super::photo::Photo;
use super::preprocessing::{Placement, Preprocessing};
use crate::{Error, Result};

/// Photos that pass through the network together: enough that a kernel read from memory is used
/// often, few enough that maps stay near.
const PHOTOS_AT_ONCE: usize = 4;

/// What the cells of a map become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Cells {
    /// Each is a region.
    All,
    /// The means of a grid of `side` x `side`: 6 gives the 36 regions of this field. Where the side
    /// does not divide the map, neighbours share cells, cut as PyTorch's adaptive pooling cuts:
    /// from `floor(i size / side)` to `ceil((i + 1) size / side)`.
    Grid {
        /// Regions down and across, at most as many as the map has.
        side: usize,
    },
}

/// The regions of a photo.
#[derive(Debug, Clone, PartialEq)]
pub struct GridRegions {
    /// [R, F], row by row of the grid.
    pub features: Vec<f32>,
    /// R boxes (x1, y1, x2, y2) in pixels of the upright photo.
    ///
    /// A cell's box is its share of the pixels that the network was given. What a cell has seen is
    /// larger: windows overlap.
    pub boxes: Vec<[f32; 4]>,
}

/// A frozen network, what photos are made into for it, and what its cells are made into.
///
/// The network is one of convolutions or a vision transformer, whose cells are patches
/// ([`open_vision_folder`](super::open_vision_folder)): regions come out in the same way.
///
/// ```no_run
/// use std::path::Path;
/// use uard_linalg::matmul::Matmul;
/// use uard_features::backbone::{
///     Cells, GridBackbone, InceptionV3, Photo, PhotoLimits, Preprocessing,
/// };
/// use uard_hub::weights::Weights;
/// # fn main() -> uard_features::Result<()> {
/// let weights = Weights::open(Path::new("inception_v3.safetensors"))?;
/// let network = InceptionV3::default().load(&weights, Matmul::F32)?;
/// let backbone = GridBackbone::new(network, Preprocessing::INCEPTION, Cells::Grid { side: 6 })?;
/// let photo = Photo::open(Path::new("photo.jpg"), PhotoLimits::default())?;
/// let regions = &backbone.regions(&[photo])?[0];
/// assert_eq!((regions.boxes.len(), regions.features.len()), (36, 36 * 1280));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct GridBackbone {
    network: Network,
    preprocessing: Preprocessing,
    cells: Cells,
    /// Height, width and channels of the map.
    shape: [usize; 3],
}

impl GridBackbone {
    /// Of the last map of a network.
    ///
    /// # Errors
    /// When photos of the preprocessing's size are too small for the network, or the grid is finer
    /// than the map.
    pub fn new(network: Network, preprocessing: Preprocessing, cells: Cells) -> Result<Self> {
        let shapes = network.shapes(preprocessing.size())?;
        let shape = shapes.last().copied().ok_or(VisionError::NoStage)?;
        if let Cells::Grid { side } = cells
            && (side == 0 || side > shape[0].min(shape[1]))
        {
            return Err(Error::Vision(VisionError::GridSide {
                side,
                height: shape[0],
                width: shape[1],
            }));
        }
        Ok(Self {
            network,
            preprocessing,
            cells,
            shape,
        })
    }

    /// R: regions of every photo.
    pub fn regions_per_photo(&self) -> usize {
        let (rows, columns) = self.sides();
        rows * columns
    }

    /// F: the width of a region's features.
    pub fn width(&self) -> usize {
        self.shape[2]
    }

    /// What photos are made into before the network sees them.
    pub fn preprocessing(&self) -> Preprocessing {
        self.preprocessing
    }

    /// What the cells are made into.
    pub fn cells(&self) -> Cells {
        self.cells
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The regions of each photo, over all threads. They depend on that photo alone, to the last
    /// bit.
    ///
    /// # Shapes
    /// For each photo `features` [R, F] and R `boxes`.
    ///
    /// # Errors
    /// When a photo cannot be resized. No photos have no regions.
    pub fn regions(&self, photos: &[Photo]) -> Result<Vec<GridRegions>> {
        let mut found = Vec::with_capacity(photos.len());
        for photos in photos.chunks(PHOTOS_AT_ONCE) {
            let pixels = self.preprocessing.apply(photos)?;
            let maps = self.network.forward(&pixels)?;
            if let Some(maps) = maps.last() {
                let regions: Vec<GridRegions> = photos
                    .par_iter()
                    .enumerate()
                    .map(|(at, photo)| self.cut(maps, at, photo))
                    .collect();
                found.extend(regions);
            }
        }
        Ok(found)
    }

    /// Regions down and across.
    fn sides(&self) -> (usize, usize) {
        match self.cells {
            Cells::All => (self.shape[0], self.shape[1]),
            Cells::Grid { side } => (side, side),
        }
    }

    fn cut(&self, maps: &Maps<f32>, at: usize, photo: &Photo) -> GridRegions {
        let (rows, columns) = self.sides();
        let [height, width, channels] = self.shape;
        let map = maps.photo(at);
        let placement = self.preprocessing.placement(photo);
        let mut regions = GridRegions {
            features: Vec::with_capacity(rows * columns * channels),
            boxes: Vec::with_capacity(rows * columns),
        };
        for row in 0..rows {
            for column in 0..columns {
                let (down, across) = (span(row, height, rows), span(column, width, columns));
                let cells = down.clone().flat_map(|y| {
                    let cells = across.clone();
                    cells.map(move |x| &map[(y * width + x) * channels..][..channels])
                });
                regions.features.extend(mean(cells, channels));
                regions
                    .boxes
                    .push(self.bounds((down, across), placement, photo));
            }
        }
        regions
    }

    /// Of cells, in pixels of the photo.
    fn bounds(
        &self,
        (down, across): (std::ops::Range<usize>, std::ops::Range<usize>),
        placement: Placement,
        photo: &Photo,
    ) -> [f32; 4] {
        let (height, width) = self.network.covered(self.preprocessing.size());
        let x = |cell: usize| {
            let pixel = cell as f32 * width as f32 / self.shape[1] as f32;
            (placement.offset.0 + pixel * placement.scale.0).min(photo.width() as f32)
        };
        let y = |cell: usize| {
            let pixel = cell as f32 * height as f32 / self.shape[0] as f32;
            (placement.offset.1 + pixel * placement.scale.1).min(photo.height() as f32)
        };
        [x(across.start), y(down.start), x(across.end), y(down.end)]
    }
}

/// The cells of a region along one axis.
fn span(region: usize, size: usize, regions: usize) -> std::ops::Range<usize> {
    region * size / regions..((region + 1) * size).div_ceil(regions)
}

fn mean<'a>(cells: impl Iterator<Item = &'a [f32]>, channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0; channels];
    let mut count = 0.0;
    for cell in cells {
        sums.iter_mut().zip(cell).for_each(|(sum, x)| *sum += x);
        count += 1.0;
    }
    sums.iter_mut().for_each(|sum| *sum /= count);
    sums
}

#[cfg(test)]
mod tests {
    use uard_core::random::Draws;
    use uard_linalg::matmul::Matmul;

    use super::*;
    use crate::backbone::{Fit, ResNet, Stage};
    use uard_hub::weights::Weights;

    fn backbone(fit: Fit, cells: Cells) -> Result<GridBackbone> {
        let config = ResNet {
            width: 8,
            ..ResNet::R18
        };
        let weights = Weights::drawn(Draws::new(2));
        let network = config.load(&weights, &[Stage::C4], Matmul::F32)?;
        let preprocessing = Preprocessing {
            fit,
            ..Preprocessing::IMAGENET
        };
        GridBackbone::new(network, preprocessing, cells)
    }

    const STRETCH: Fit = Fit::Stretch {
        width: 64,
        height: 48,
    };

    fn photo(width: u32, height: u32) -> Photo {
        let count = width * height * 3;
        let pixels = (0..count).map(|at| (at * at / 7 % 251) as u8);
        Photo::new(pixels.collect(), width, height).unwrap()
    }

    #[test]
    fn boxes_of_all_cells_tile_the_photo() {
        let backbone = backbone(STRETCH, Cells::All).unwrap();
        assert_eq!((backbone.regions_per_photo(), backbone.width()), (12, 32));
        let regions = &backbone.regions(&[photo(128, 24)]).unwrap()[0];
        assert_eq!(regions.boxes.len(), 12);
        assert_eq!(regions.boxes[0], [0.0, 0.0, 32.0, 8.0]);
        assert_eq!(regions.boxes[11], [96.0, 16.0, 128.0, 24.0]);
    }

    #[test]
    fn grid_cells_are_means_and_their_boxes_cover_what_was_meant() {
        let photo = [photo(64, 48)];
        let all = backbone(STRETCH, Cells::All).unwrap().regions(&photo);
        let two = backbone(STRETCH, Cells::Grid { side: 2 }).unwrap();
        let (all, two) = (&all.unwrap()[0], &two.regions(&photo).unwrap()[0]);
        // Three rows of cells in two parts share the middle one; four columns do not.
        assert_eq!(two.boxes[0], [0.0, 0.0, 32.0, 32.0]);
        assert_eq!(two.boxes[3], [32.0, 16.0, 64.0, 48.0]);
        for channel in 0..32 {
            let cell = |at: usize| all.features[at * 32 + channel];
            let mean = (cell(0) + cell(1) + cell(4) + cell(5)) / 4.0;
            assert!((two.features[channel] - mean).abs() <= 1e-5 * mean.abs());
        }
    }

    #[test]
    fn boxes_of_a_crop_lie_where_it_was_cut() {
        let crop = Fit::Crop {
            shorter: 40,
            side: 32,
        };
        let backbone = backbone(crop, Cells::All).unwrap();
        let regions = &backbone.regions(&[photo(160, 80)]).unwrap()[0];
        assert_eq!(regions.boxes[0], [48.0, 8.0, 80.0, 40.0]);
        assert_eq!(regions.boxes[3], [80.0, 40.0, 112.0, 72.0]);
    }

    #[test]
    fn a_photo_alone_equals_the_photo_among_others() {
        let backbone = backbone(STRETCH, Cells::Grid { side: 3 }).unwrap();
        let photos: Vec<Photo> = (0..6).map(|at| photo(50 + at, 70 - at)).collect();
        let together = backbone.regions(&photos).unwrap();
        assert_eq!(together.len(), 6);
        for (photo, regions) in photos.iter().zip(&together) {
            assert_eq!(
                &backbone.regions(std::slice::from_ref(photo)).unwrap()[0],
                regions
            );
        }
        assert!(backbone.regions(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_grid_finer_than_the_map_is_refused() {
        let message = backbone(STRETCH, Cells::Grid { side: 4 }).unwrap_err();
        assert!(
            message.to_string().contains("3 x 4 cells; ask for 1 to 3"),
            "{message}"
        );
        assert!(backbone(STRETCH, Cells::Grid { side: 0 }).is_err());
    }
}
