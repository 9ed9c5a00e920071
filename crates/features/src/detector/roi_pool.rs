//! What is in a box of a map? By whole cells: the largest number of each part of the box.

use rayon::prelude::*;

use crate::backbone::{Maps, Number};

/// Cuts boxes out of a map, each in as many parts.
///
/// Corners are rounded to cells (half away from zero), the last cell included; parts share cells
/// where their number does not divide the box, and a part outside of the map is zero.
///
/// # Source
/// Girshick, Fast R-CNN, ICCV 2015, section 2.1; `RoIPool` of torchvision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiPool {
    /// Parts down and across.
    pub size: (usize, usize),
    /// Cells for each pixel of the boxes.
    pub scale: f32,
}

impl RoiPool {
    /// Each box of a map, over all threads.
    ///
    /// # Shapes
    /// `map` [1, H, W, F]; returns [R, `size.0`, `size.1`, F].
    ///
    /// # Panics
    /// When the map is not that of one photo: the caller chose it wrongly.
    pub fn forward<T: Number>(&self, map: &Maps<T>, boxes: &[[f32; 4]]) -> Maps<T> {
        assert_eq!(map.photos(), 1, "the map of one photo");
        let (down, across) = self.size;
        let channels = map.channels();
        let shape = [boxes.len(), down, across, channels];
        let mut pooled = Maps::new(vec![T::zeroed(); shape.iter().product()], shape);
        let parts = pooled
            .values_mut()
            .par_chunks_mut((down * across * channels).max(1));
        parts.zip(boxes).for_each(|(out, corners)| {
            let (height, width) = map.size();
            let rows = self.parts((corners[1], corners[3]), down, height);
            let columns = self.parts((corners[0], corners[2]), across, width);
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

    /// The cells of each part along an axis of the map.
    fn parts(
        &self,
        (start, end): (f32, f32),
        parts: usize,
        cells: usize,
    ) -> Vec<std::ops::Range<usize>> {
        let (start, end) = ((start * self.scale).round(), (end * self.scale).round());
        let part = (end - start + 1.0).max(1.0) / parts as f32;
        let within = |cell: f32| (cell + start).clamp(0.0, cells as f32) as usize;
        let parts = (0..parts).map(|at| {
            let (first, last) = (at as f32 * part, (at + 1) as f32 * part);
            within(first.floor())..within(last.ceil())
        });
        parts.collect()
    }
}

/// The larger of what is there and a cell, for each channel; the first cell whatever is there.
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

    /// Rows 0 1 2 3, 4 5 6 7, 8 9 10 11.
    fn map() -> Maps<f32> {
        Maps::new((0..12).map(|x| x as f32).collect(), [1, 3, 4, 1])
    }

    fn pool(size: (usize, usize), scale: f32, corners: [f32; 4]) -> Vec<f32> {
        let pool = RoiPool { size, scale };
        pool.forward(&map(), &[corners]).values().to_vec()
    }

    #[test]
    fn a_part_is_the_largest_of_its_cells() {
        assert_eq!(pool((1, 1), 1.0, [0.0, 0.0, 1.0, 1.0]), [5.0]);
        assert_eq!(pool((1, 2), 1.0, [0.0, 0.0, 3.0, 2.0]), [9.0, 11.0]);
        // Three cells in two parts share the middle one.
        assert_eq!(pool((2, 1), 1.0, [0.0, 0.0, 0.0, 2.0]), [4.0, 8.0]);
    }

    #[test]
    fn corners_are_scaled_and_rounded_to_cells() {
        assert_eq!(pool((1, 1), 0.5, [0.0, 0.0, 2.9, 2.9]), [5.0]);
        assert_eq!(pool((1, 1), 0.5, [0.0, 0.0, 3.0, 3.0]), [10.0]);
        // A box of swapped corners is one cell.
        assert_eq!(pool((1, 1), 1.0, [2.0, 1.0, 0.0, 0.0]), [6.0]);
    }

    #[test]
    fn what_lies_outside_of_the_map_is_zero() {
        assert_eq!(pool((1, 2), 1.0, [2.0, 0.0, 5.0, 0.0]), [3.0, 0.0]);
        assert_eq!(pool((1, 1), 1.0, [9.0, 9.0, 12.0, 12.0]), [0.0]);
    }

    #[test]
    fn negative_numbers_are_pooled_as_well() {
        let map = Maps::new(vec![-3.0_f32, -2.0], [1, 1, 2, 1]);
        let pool = RoiPool {
            size: (1, 1),
            scale: 1.0,
        };
        let found = pool.forward(&map, &[[0.0, 0.0, 1.0, 0.0]]);
        assert_eq!(found.values(), [-2.0]);
        assert_eq!(pool.forward(&map, &[]).shape(), [0, 1, 1, 1]);
    }
}
