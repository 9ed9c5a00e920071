//! Regions without a detector: the cells of a feature map, or means over a grid of them.

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::VisionError;
use super::maps::Size;
use super::network::Network;
use super::photo::Photo;
use super::preprocessing::{Placement, Preprocessing};
use crate::extract::PhotoRegions;
use crate::{Error, Result};

/// The number of photos in a batch: enough that a kernel read from memory is used often, few enough
/// that maps stay in cache.
const PHOTOS_AT_ONCE: usize = 4;

/// Which regions are made of the cells of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Cells {
    /// Each cell is a region.
    All,
    /// A grid of `side` x `side` regions, each the mean of its cells; 6 gives 36 regions, the usual
    /// number in image-text matching. Region i along an axis of `size` cells has the cells from
    /// `floor(i size / side)` to `ceil((i + 1) size / side)`, as in PyTorch's adaptive pooling:
    /// where the side does not divide the map, neighbouring regions share cells.
    Grid {
        /// Rows and columns of the grid, at most as many as the map has.
        side: usize,
    },
}

/// A frozen network with the preprocessing of its photos and the choice of regions.
///
/// The network consists of convolutions or is a vision transformer, whose cells are patches
/// ([`open_vision_folder`](super::open_vision_folder)).
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
    /// Regions are made of the cells of the network's map.
    ///
    /// # Errors
    /// When photos of the preprocessing's size are too small for the network, or the grid has more
    /// rows or columns than the map.
    pub fn new(network: Network, preprocessing: Preprocessing, cells: Cells) -> Result<Self> {
        let shape = network.shape(preprocessing.size())?;
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

    /// R, the number of regions of every photo.
    pub fn regions_per_photo(&self) -> usize {
        self.grid().area()
    }

    /// F, the width of a region's features.
    pub fn width(&self) -> usize {
        self.shape[2]
    }

    /// The preprocessing of photos.
    pub fn preprocessing(&self) -> Preprocessing {
        self.preprocessing
    }

    /// Which regions are made of the cells.
    pub fn cells(&self) -> Cells {
        self.cells
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The regions of each photo, computed on all threads. They depend on that photo only, to the
    /// last bit.
    ///
    /// A cell's box is its share of the preprocessed photo. Its receptive field is larger, because
    /// windows overlap.
    ///
    /// # Shapes
    /// For each photo `features` [R, F], row by row of the grid, and R `boxes`.
    ///
    /// # Errors
    /// When a photo cannot be resized. For an empty slice the result is empty.
    pub fn regions(&self, photos: &[Photo]) -> Result<Vec<PhotoRegions>> {
        let mut found = Vec::with_capacity(photos.len());
        for photos in photos.chunks(PHOTOS_AT_ONCE) {
            let pixels = self.preprocessing.apply(photos)?;
            let maps = self.network.forward(&pixels)?;
            let photos = photos.par_iter().enumerate();
            found.par_extend(photos.map(|(at, photo)| self.regions_of_map(maps.photo(at), photo)));
        }
        Ok(found)
    }

    /// Rows and columns of regions.
    fn grid(&self) -> Size {
        match self.cells {
            Cells::All => Size::new(self.shape[0], self.shape[1]),
            Cells::Grid { side } => Size::square(side),
        }
    }

    /// Makes the regions of one photo from its map [H, W, F].
    fn regions_of_map(&self, map: &[f32], photo: &Photo) -> PhotoRegions {
        let grid = self.grid();
        let [height, width, channels] = self.shape;
        let placement = self.preprocessing.placement(photo);
        let mut regions = PhotoRegions {
            features: Vec::with_capacity(grid.area() * channels),
            boxes: Vec::with_capacity(grid.area()),
            extras: BTreeMap::new(),
        };
        for row in 0..grid.height {
            for column in 0..grid.width {
                let rows = cells_of_region(row, height, grid.height);
                let columns = cells_of_region(column, width, grid.width);
                let cells = rows.clone().flat_map(|y| {
                    let cells = columns.clone();
                    cells.map(move |x| &map[(y * width + x) * channels..][..channels])
                });
                regions.features.extend(mean(cells, channels));
                regions
                    .boxes
                    .push(self.box_of_cells(rows, columns, placement, photo));
            }
        }
        regions
    }

    /// The box (x1, y1, x2, y2) of some cells, in pixels of the photo.
    fn box_of_cells(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        placement: Placement,
        photo: &Photo,
    ) -> [f32; 4] {
        let covered = self.network.covered_size(self.preprocessing.size());
        let x = |cell: usize| {
            let pixel = cell as f32 * covered.width as f32 / self.shape[1] as f32;
            (placement.x_offset + pixel * placement.x_scale).min(photo.width() as f32)
        };
        let y = |cell: usize| {
            let pixel = cell as f32 * covered.height as f32 / self.shape[0] as f32;
            (placement.y_offset + pixel * placement.y_scale).min(photo.height() as f32)
        };
        [x(columns.start), y(rows.start), x(columns.end), y(rows.end)]
    }
}

/// The cells of a region along an axis of `size` cells and `regions` regions.
fn cells_of_region(region: usize, size: usize, regions: usize) -> Range<usize> {
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
        let network = config.load(&weights, Stage::C4, Matmul::F32)?;
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
    fn regions_of_a_grid_are_means_of_their_cells_and_their_boxes_cover_them() {
        let photo = [photo(64, 48)];
        let all = backbone(STRETCH, Cells::All).unwrap().regions(&photo);
        let two = backbone(STRETCH, Cells::Grid { side: 2 }).unwrap();
        let (all, two) = (&all.unwrap()[0], &two.regions(&photo).unwrap()[0]);
        // Two rows of regions share the middle one of three rows of cells; columns share none of
        // four.
        assert_eq!(two.boxes[0], [0.0, 0.0, 32.0, 32.0]);
        assert_eq!(two.boxes[3], [32.0, 16.0, 64.0, 48.0]);
        for channel in 0..32 {
            let cell = |at: usize| all.features[at * 32 + channel];
            let mean = (cell(0) + cell(1) + cell(4) + cell(5)) / 4.0;
            assert!((two.features[channel] - mean).abs() <= 1e-5 * mean.abs());
        }
    }

    #[test]
    fn boxes_of_a_crop_lie_inside_the_crop() {
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
