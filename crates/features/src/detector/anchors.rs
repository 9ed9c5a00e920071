//! Which boxes does a proposal network start from? Anchors: boxes of fixed sizes and ratios around
//! each cell of a map.

use serde::Serialize;

/// The shapes of the anchors of a map.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnchorShapes {
    /// Square roots of areas, in pixels of the network.
    pub sizes: Vec<f32>,
    /// Heights for each width.
    pub ratios: Vec<f32>,
}

impl AnchorShapes {
    /// Anchors of each cell.
    pub(super) fn count(&self) -> usize {
        self.sizes.len() * self.ratios.len()
    }

    /// Around (0, 0), all ratios of the first size first, from height = ratio width and height width
    /// = size squared.
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

/// Shapes around every cell of a map: row by row, cell by cell, shape by shape. Cell (0, 0) is at
/// (0, 0).
///
/// `stride`: pixels of the network between cells, down and across.
pub fn over_cells(
    shapes: &[[f32; 4]],
    (height, width): (usize, usize),
    stride: (usize, usize),
) -> Vec<[f32; 4]> {
    let cells = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
    let anchors = cells.flat_map(|(row, column)| {
        let (y, x) = ((row * stride.0) as f32, (column * stride.1) as f32);
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
    fn anchors_go_along_rows_and_then_along_shapes() {
        let shapes = [[-1.0, -1.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0]];
        let anchors = over_cells(&shapes, (2, 3), (16, 8));
        assert_eq!(anchors.len(), 12);
        assert_eq!(anchors[1], shapes[1]);
        assert_eq!(anchors[2], [7.0, -1.0, 9.0, 1.0]);
        assert_eq!(anchors[11], [16.0, 16.0, 18.0, 18.0]);
    }
}
