//! RoI pooling: cuts boxes out of a map and max-pools each to a fixed number of parts.

use std::ops::Range;

use rayon::prelude::*;

use crate::backbone::{Maps, Number, Size};

/// Max pooling of boxes of a map to a fixed number of rows and columns, the parts.
///
/// Corners are rounded to cells (half away from zero); the cells of both corners belong to the box.
/// Neighbouring parts share cells where the number of parts does not divide the box. A part outside
/// of the map is zero.
///
/// # Source
/// Girshick, Fast R-CNN, ICCV 2015, section 2.1; `RoIPool` of torchvision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiPool {
    /// Rows and columns of parts.
    pub size: Size,
    /// Cells of the map for each pixel of the boxes' coordinates.
    pub scale: f32,
}

impl RoiPool {
    /// Pools each of R boxes, on all threads.
    ///
    /// # Shapes
    /// `map` [1, H, W, F]; returns [R, `size.height`, `size.width`, F].
    ///
    /// # Panics
    /// When there are maps of more or fewer photos than one.
    pub fn forward<T: Number>(&self, map: &Maps<T>, boxes: &[[f32; 4]]) -> Maps<T> {
        assert_eq!(map.photos(), 1, "the map of one photo");
        let Size {
            height: down,
            width: across,
        } = self.size;
        let channels = map.channels();
        let shape = [boxes.len(), down, across, channels];
        let mut pooled = Maps::new(vec![T::zeroed(); shape.iter().product()], shape);
        let parts = pooled
            .values_mut()
            .par_chunks_mut((down * across * channels).max(1));
        parts.zip(boxes).for_each(|(out, corners)| {
            let Size { height, width } = map.size();
            let rows = self.parts(corners[1]..corners[3], down, height);
            let columns = self.parts(corners[0]..corners[2], across, width);
            let parts = rows
                .iter()
                .flat_map(|rows| columns.iter().map(move |at| (rows, at)));
            for (out, (rows, columns)) in out.chunks_exact_mut(channels).zip(parts) {
                let cells = rows
                    .clone()
                    .flat_map(|y| columns.clone().map(move |x| (y, x)));
                let cells = cells.map(|(y, x)| &map.values()[(y * width + x) * channels..]);
                for (at, cell) in cells.enumerate() {
                    largest(&cell[..channels], out, at);
                }
            }
        });
        pooled
    }

    /// The cells of each part of a box, along an axis of `cells` cells.
    fn parts(&self, side: Range<f32>, parts: usize, cells: usize) -> Vec<Range<usize>> {
        let start = (side.start * self.scale).round();
        let end = (side.end * self.scale).round();
        let part = (end - start + 1.0).max(1.0) / parts as f32;
        let within = |cell: f32| (cell + start).clamp(0.0, cells as f32) as usize;
        let parts = (0..parts).map(|at| {
            let (first, last) = (at as f32 * part, (at + 1) as f32 * part);
            within(first.floor())..within(last.ceil())
        });
        parts.collect()
    }
}

/// Stores the larger of `out` and a cell for each channel; the first cell (`at` 0) replaces `out`.
fn largest<T: Number>(cell: &[T], out: &mut [T], at: usize) {
    if at == 0 {
        return out.copy_from_slice(cell);
    }
    for (out, number) in out.iter_mut().zip(cell) {
        if number.to_f32() > out.to_f32() {
            *out = *number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map of one channel with the rows 0 1 2 3, 4 5 6 7 and 8 9 10 11.
    fn map() -> Maps<f32> {
        Maps::new((0..12).map(|x| x as f32).collect(), [1, 3, 4, 1])
    }

    /// A pool to `rows` x `columns` parts.
    fn pool(rows: usize, columns: usize, scale: f32) -> RoiPool {
        let size = Size::new(rows, columns);
        RoiPool { size, scale }
    }

    impl RoiPool {
        fn pooled(self, corners: [f32; 4]) -> Vec<f32> {
            self.forward(&map(), &[corners]).into_values()
        }
    }

    #[test]
    fn a_part_is_the_largest_of_its_cells() {
        assert_eq!(pool(1, 1, 1.0).pooled([0.0, 0.0, 1.0, 1.0]), [5.0]);
        assert_eq!(pool(1, 2, 1.0).pooled([0.0, 0.0, 3.0, 2.0]), [9.0, 11.0]);
        // Three cells in two parts share the middle one.
        assert_eq!(pool(2, 1, 1.0).pooled([0.0, 0.0, 0.0, 2.0]), [4.0, 8.0]);
    }

    #[test]
    fn corners_are_scaled_and_rounded_to_cells() {
        assert_eq!(pool(1, 1, 0.5).pooled([0.0, 0.0, 2.9, 2.9]), [5.0]);
        assert_eq!(pool(1, 1, 0.5).pooled([0.0, 0.0, 3.0, 3.0]), [10.0]);
        // A box of swapped corners is one cell.
        assert_eq!(pool(1, 1, 1.0).pooled([2.0, 1.0, 0.0, 0.0]), [6.0]);
    }

    #[test]
    fn parts_outside_of_the_map_are_zero() {
        assert_eq!(pool(1, 2, 1.0).pooled([2.0, 0.0, 5.0, 0.0]), [3.0, 0.0]);
        assert_eq!(pool(1, 1, 1.0).pooled([9.0, 9.0, 12.0, 12.0]), [0.0]);
    }

    #[test]
    fn negative_numbers_are_pooled_as_well() {
        let map = Maps::new(vec![-3.0_f32, -2.0], [1, 1, 2, 1]);
        let pool = pool(1, 1, 1.0);
        let found = pool.forward(&map, &[[0.0, 0.0, 1.0, 0.0]]);
        assert_eq!(found.values(), [-2.0]);
        assert_eq!(pool.forward(&map, &[]).shape(), [0, 1, 1, 1]);
    }
}
