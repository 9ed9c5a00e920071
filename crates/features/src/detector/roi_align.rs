//! What is in a box of a map? Between cells: the mean of samples in each part of the box.

use rayon::prelude::*;

use crate::backbone::{Maps, Number};

/// Cuts boxes out of a map, each in as many parts, without rounding corners.
///
/// A part is the mean of `samples` x `samples` evenly spread points, each interpolated between four
/// cells. Cell (0, 0) lies at 0, not at half a cell (torchvision's `aligned=False`), and a side is
/// at least one cell. Points up to one cell outside of the map count as its edge, those farther
/// away as zero.
///
/// # Source
/// He et al., Mask R-CNN, ICCV 2017, section 3; `roi_align` of torchvision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoiAlign {
    /// Parts down and across.
    pub size: (usize, usize),
    /// Cells for each pixel of the boxes.
    pub scale: f32,
    /// Points along each side of a part, at least 1.
    pub samples: usize,
}

/// The two cells around a point of an axis, with their weights.
type Between = [(usize, f32); 2];

impl RoiAlign {
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
        let mut aligned = Maps::new(vec![T::zeroed(); shape.iter().product()], shape);
        let parts = aligned
            .values_mut()
            .par_chunks_mut((down * across * channels).max(1));
        parts.zip(boxes).for_each(|(out, corners)| {
            let (height, width) = map.size();
            let rows = self.points((corners[1], corners[3]), down, height);
            let columns = self.points((corners[0], corners[2]), across, width);
            let mut sums = vec![0.0; channels];
            for (part, out) in out.chunks_exact_mut(channels).enumerate() {
                sums.fill(0.0);
                let (row, column) = (part / across, part % across);
                for y in &rows[row * self.samples..][..self.samples] {
                    for x in &columns[column * self.samples..][..self.samples] {
                        add(map, (y, x), &mut sums);
                    }
                }
                let count = (self.samples * self.samples) as f32;
                for (out, sum) in out.iter_mut().zip(&sums) {
                    *out = T::from_f32(sum / count);
                }
            }
        });
        aligned
    }

    /// The points of all parts along an axis of the map; `None` where one sees nothing.
    fn points(&self, (start, end): (f32, f32), parts: usize, cells: usize) -> Vec<Option<Between>> {
        let start = start * self.scale;
        let part = (end * self.scale - start).max(1.0) / parts as f32;
        let points = (0..parts).flat_map(|at| {
            let samples = 0..self.samples;
            samples.map(move |sample| {
                let inside = (sample as f32 + 0.5) * part / self.samples as f32;
                between(start + at as f32 * part + inside, cells)
            })
        });
        points.collect()
    }
}

fn between(point: f32, cells: usize) -> Option<Between> {
    if !(-1.0..=cells as f32).contains(&point) {
        return None;
    }
    let point = point.max(0.0);
    let low = point as usize;
    if low + 1 >= cells {
        return Some([(cells - 1, 1.0), (cells - 1, 0.0)]);
    }
    let share = point - low as f32;
    Some([(low, 1.0 - share), (low + 1, share)])
}

/// One more point of a part.
fn add<T: Number>(map: &Maps<T>, point: (&Option<Between>, &Option<Between>), sums: &mut [f32]) {
    let (Some([top, bottom]), Some([left, right])) = point else {
        return;
    };
    let (width, channels) = (map.size().1, map.channels());
    let cell = |y: usize, x: usize| &map.values()[(y * width + x) * channels..][..channels];
    let cells = [(top, left), (top, right), (bottom, left), (bottom, right)];
    let [a, b, c, d] = cells.map(|(y, x)| (cell(y.0, x.0), y.1 * x.1));
    for (at, sum) in sums.iter_mut().enumerate() {
        let term = |(cell, weight): (&[T], f32)| weight * cell[at].to_f32();
        *sum += term(a) + term(b) + term(c) + term(d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plane: 10 y + x at (y, x), which interpolation keeps.
    fn plane(height: usize, width: usize) -> Maps<f32> {
        let cells = (0..height).flat_map(|y| (0..width).map(move |x| (10 * y + x) as f32));
        Maps::new(cells.collect(), [1, height, width, 1])
    }

    fn align(size: (usize, usize), scale: f32, corners: [f32; 4]) -> Vec<f32> {
        let align = RoiAlign {
            size,
            scale,
            samples: 2,
        };
        align.forward(&plane(5, 6), &[corners]).values().to_vec()
    }

    #[test]
    fn parts_of_a_plane_are_its_middles() {
        assert_eq!(align((1, 1), 1.0, [1.0, 1.0, 3.0, 3.0]), [22.0]);
        assert_eq!(align((1, 2), 0.5, [0.0, 0.0, 8.0, 4.0]), [11.0, 13.0]);
    }

    #[test]
    fn a_side_is_at_least_one_cell() {
        assert_eq!(align((1, 1), 1.0, [2.0, 1.0, 2.0, 1.0]), [17.5]);
    }

    #[test]
    fn beyond_the_edge_is_the_edge_and_then_nothing() {
        // Points at 4.75, where the last cell is 4, and 5.25, which is outside of 0 to 5.
        let below = align((1, 1), 1.0, [2.0, 4.5, 3.0, 5.5]);
        assert_eq!(below, [(42.25 + 42.75) / 4.0]);
        assert_eq!(align((1, 1), 1.0, [90.0, 90.0, 95.0, 95.0]), [0.0]);
        assert_eq!(align((1, 1), 1.0, [-0.5, 0.0, 0.5, 1.0]), [5.125]);
    }
}
