//! Anchors: boxes of fixed sizes and ratios of sides around each cell of a map, which a proposal
//! network corrects.

use serde::Serialize;

use crate::backbone::Size;

/// The shapes of a cell's anchors: every size with every ratio.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnchorShapes {
    /// The sizes: square roots of the boxes' areas, in pixels of the scaled photo.
    pub sizes: Vec<f32>,
    /// The ratios of sides: height divided by width.
    pub ratios: Vec<f32>,
}

impl AnchorShapes {
    /// The number of anchors of a cell.
    pub(super) fn count(&self) -> usize {
        self.sizes.len() * self.ratios.len()
    }

    /// The anchors (x1, y1, x2, y2) of a cell at (0, 0), with all ratios of the first size first.
    /// Their sides follow from height = ratio × width and height × width = size².
    pub(super) fn around_zero(&self) -> Vec<[f32; 4]> {
        let shapes = self.sizes.iter().flat_map(|size| {
            self.ratios.iter().map(|ratio| {
                let (size, ratio) = (f64::from(*size), f64::from(*ratio));
                let width = (size * size / ratio).sqrt();
                let (x, y) = ((width / 2.0) as f32, (ratio * width / 2.0) as f32);
                [-x, -y, x, y]
            })
        });
        shapes.collect()
    }
}

/// The anchors of all cells of a map: row by row, cell by cell, shape by shape. The first cell lies
/// at (0, 0); `stride` is the distance between cells, in pixels of the scaled photo.
pub fn over_cells(shapes: &[[f32; 4]], map: Size, stride: usize) -> Vec<[f32; 4]> {
    let cells = (0..map.height).flat_map(|row| (0..map.width).map(move |column| (row, column)));
    let anchors = cells.flat_map(|(row, column)| {
        let (y, x) = ((row * stride) as f32, (column * stride) as f32);
        let moved = shapes.iter();
        moved.map(move |[x1, y1, x2, y2]| [x1 + x, y1 + y, x2 + x, y2 + y])
    });
    anchors.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_their_area_and_ratio() {
        let shapes = AnchorShapes {
            sizes: vec![8.0, 16.0],
            ratios: vec![0.25, 1.0],
        };
        assert_eq!(shapes.count(), 4);
        let expected = [
            [-8.0, -2.0, 8.0, 2.0],
            [-4.0, -4.0, 4.0, 4.0],
            [-16.0, -4.0, 16.0, 4.0],
            [-8.0, -8.0, 8.0, 8.0],
        ];
        assert_eq!(shapes.around_zero(), expected);
    }

    #[test]
    fn anchors_are_ordered_by_row_column_and_shape() {
        let shapes = [[-1.0, -1.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0]];
        let anchors = over_cells(&shapes, Size::new(2, 3), 8);
        assert_eq!(anchors.len(), 12);
        assert_eq!(anchors[1], shapes[1]);
        assert_eq!(anchors[2], [7.0, -1.0, 9.0, 1.0]);
        assert_eq!(anchors[11], [16.0, 8.0, 18.0, 10.0]);
    }
}
