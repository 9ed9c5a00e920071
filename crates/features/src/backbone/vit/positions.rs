//! Learned position embeddings of a square grid of patches, resized for other numbers of patches.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::backbone::maps::Size;

/// The interpolation between embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resizing {
    /// Cubic convolution of the four nearest embeddings along each axis, a = -0.75: CLIP, SigLIP,
    /// DINOv2.
    Cubic,
    /// Cubic convolution with a = -0.5 and a support that grows when there are fewer patches
    /// ("antialias"): DINOv2 with registers.
    Antialiased,
}

/// The embeddings of a grid of side x side patches.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    /// The embeddings, [side, side, H].
    numbers: Vec<f32>,
    side: usize,
    resizing: Resizing,
}

/// The input indices that an output index reads along an axis, with their weights.
type Taps = Vec<(usize, f64)>;

impl Positions {
    /// # Shapes
    /// `numbers` [side, side, H].
    pub(super) fn new(numbers: Vec<f32>, side: usize, resizing: Resizing) -> Self {
        Self {
            numbers,
            side,
            resizing,
        }
    }

    /// The embeddings of a grid of rows and columns of patches, [rows columns, H].
    ///
    /// # Source
    /// `interpolate_pos_encoding` of transformers, by PyTorch's bicubic `interpolate` with
    /// `align_corners=False`.
    pub(super) fn embeddings(&self, grid: Size) -> Result<Tensor> {
        let numbers = match grid == Size::square(self.side) {
            true => self.numbers.clone(),
            false => self.resized(grid),
        };
        let shape = (grid.area(), self.width());
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
    }

    /// H, the width of an embedding.
    fn width(&self) -> usize {
        self.numbers.len() / (self.side * self.side)
    }

    /// Resizes the embeddings from [side, side, H] to [rows, columns, H], first along the rows.
    fn resized(&self, grid: Size) -> Vec<f32> {
        let (down, across) = (self.taps(grid.height), self.taps(grid.width));
        let width = self.width();
        let mut rows = Vec::with_capacity(self.side * grid.width * width);
        for row in self.numbers.chunks_exact(self.side * width) {
            for taps in &across {
                rows.extend(sum(taps, width, |at| &row[at * width..]));
            }
        }
        let length = grid.width * width;
        let columns = down.iter();
        columns
            .flat_map(|taps| sum(taps, length, |at| &rows[at * length..]))
            .collect()
    }

    /// The taps of each of `to` output indices.
    fn taps(&self, to: usize) -> Vec<Taps> {
        let scale = self.side as f64 / to as f64;
        let taps = |place: usize| match self.resizing {
            Resizing::Cubic => cubic_taps(place, scale, self.side),
            Resizing::Antialiased => antialiased_taps(place, scale, self.side),
        };
        (0..to).map(taps).collect()
    }
}

/// The four nearest indices; those beyond the border are replaced by the border.
fn cubic_taps(place: usize, scale: f64, side: usize) -> Taps {
    let source = (place as f64 + 0.5) * scale - 0.5;
    let first = source.floor() as isize - 1;
    let tap = |at: isize| {
        let weight = cubic(source - at as f64, -0.75);
        (at.clamp(0, side as isize - 1) as usize, weight)
    };
    (first..first + 4).map(tap).collect()
}

/// All indices within the cubic's support, which grows with the scale; weights are divided by their
/// sum.
fn antialiased_taps(place: usize, scale: f64, side: usize) -> Taps {
    let center = (place as f64 + 0.5) * scale;
    let stretch = scale.max(1.0);
    let support = 2.0 * stretch;
    // `as` turns negative numbers into zero.
    let first = (center - support + 0.5) as usize;
    let end = ((center + support + 0.5) as usize).min(side);
    let weight = |at: usize| cubic((at as f64 + 0.5 - center) / stretch, -0.5);
    let sum: f64 = (first..end).map(weight).sum();
    (first..end).map(|at| (at, weight(at) / sum)).collect()
}

/// Keys's cubic convolution kernel.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// The weighted sum of the first `width` numbers of slices, by index.
fn sum<'a>(taps: &Taps, width: usize, slice: impl Fn(usize) -> &'a [f32]) -> Vec<f32> {
    let mut sums = vec![0.0; width];
    for &(at, weight) in taps {
        for (sum, &x) in sums.iter_mut().zip(slice(at)) {
            *sum += weight * f64::from(x);
        }
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 8 x 8 embeddings of width 1 with the column as their value.
    fn plane(resizing: Resizing) -> Positions {
        Positions::new((0..64).map(|at| (at % 8) as f32).collect(), 8, resizing)
    }

    #[test]
    fn taps_sum_to_one() {
        for resizing in [Resizing::Cubic, Resizing::Antialiased] {
            for taps in [1, 3, 5, 8, 13].map(|to| plane(resizing).taps(to)).concat() {
                let sum: f64 = taps.iter().map(|tap| tap.1).sum();
                assert!((sum - 1.0).abs() < 1e-12, "{sum}");
            }
        }
    }

    #[test]
    fn linear_embeddings_stay_linear_away_from_the_border() {
        let column = |resizing, columns, at: usize| {
            let positions = plane(resizing).embeddings(Size::new(1, columns)).unwrap();
            positions.to_vec2::<f32>().unwrap()[at][0]
        };
        // With a = -0.75 this holds only halfway between two columns, by symmetry.
        let halfway = column(Resizing::Cubic, 4, 1);
        assert!((halfway - 2.5).abs() < 1e-6, "{halfway}");
        // The eighth of 16 columns lies at column 3.25 of 8.
        let quarter = column(Resizing::Antialiased, 16, 7);
        assert!((quarter - 3.25).abs() < 1e-6, "{quarter}");
    }

    #[test]
    fn a_grid_of_the_same_size_gets_the_same_bytes() {
        let numbers: Vec<f32> = (0..18).map(|at| (at as f32).sin()).collect();
        let positions = Positions::new(numbers.clone(), 3, Resizing::Antialiased);
        let found = positions.embeddings(Size::square(3)).unwrap();
        assert_eq!(
            found.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            numbers
        );
    }
}
