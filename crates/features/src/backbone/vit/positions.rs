//! Where in the photo is a patch? Learned embeddings of a square grid of places, resized where there
//! are more or fewer patches.

use candle_core::{Device, Tensor};

use crate::Result;

/// How embeddings between places are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resizing {
    /// Cubic through the four nearest, a = -0.75: CLIP, SigLIP, DINOv2.
    Cubic,
    /// Cubic, a = -0.5, with a support that grows when there are fewer patches ("antialias"):
    /// DINOv2 with registers.
    Antialiased,
}

/// The embeddings of side x side places.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    /// [side, side, H]
    numbers: Vec<f32>,
    side: usize,
    resizing: Resizing,
}

/// Which places an output reads, and how much of each.
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

    /// The embeddings of a grid of patches, [rows columns, H].
    ///
    /// # Source
    /// `interpolate_pos_encoding` of transformers, by PyTorch's bicubic `interpolate` with
    /// `align_corners=False`.
    pub(super) fn of(&self, (rows, columns): (usize, usize)) -> Result<Tensor> {
        let width = self.numbers.len() / (self.side * self.side);
        let numbers = match (rows, columns) == (self.side, self.side) {
            true => self.numbers.clone(),
            false => {
                let [down, across] = [rows, columns].map(|to| self.taps(to));
                resized(&self.numbers, (self.side, width), (&down, &across))
            }
        };
        Ok(Tensor::from_vec(
            numbers,
            (rows * columns, width),
            &Device::Cpu,
        )?)
    }

    fn taps(&self, to: usize) -> Vec<Taps> {
        let scale = self.side as f64 / to as f64;
        let taps = |place: usize| match self.resizing {
            Resizing::Cubic => four(place, scale, self.side),
            Resizing::Antialiased => wide(place, scale, self.side),
        };
        (0..to).map(taps).collect()
    }
}

/// The four nearest places; beyond the border is the border's.
fn four(place: usize, scale: f64, side: usize) -> Taps {
    let source = (place as f64 + 0.5) * scale - 0.5;
    let first = source.floor() as isize - 1;
    let tap = |at: isize| {
        let weight = cubic(source - at as f64, -0.75);
        (at.clamp(0, side as isize - 1) as usize, weight)
    };
    (first..first + 4).map(tap).collect()
}

/// All places below the cubic, which is as wide as the scale, brought to a sum of one.
fn wide(place: usize, scale: f64, side: usize) -> Taps {
    let center = (place as f64 + 0.5) * scale;
    let stretch = scale.max(1.0);
    let support = 2.0 * stretch;
    // `as` is zero for what is below zero.
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

/// [side, side, H] to [down, across, H].
fn resized(numbers: &[f32], (side, width): (usize, usize), taps: (&[Taps], &[Taps])) -> Vec<f32> {
    let (down, across) = taps;
    let mut rows = Vec::with_capacity(side * across.len() * width);
    for row in numbers.chunks_exact(side * width) {
        for taps in across {
            rows.extend(sum(taps, width, |at| &row[at * width..]));
        }
    }
    let length = across.len() * width;
    let columns = down.iter();
    columns
        .flat_map(|taps| sum(taps, length, |at| &rows[at * length..]))
        .collect()
}

/// The weighted sum of slices.
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

    /// A plane that rises by one from column to column.
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
    fn a_plane_stays_a_plane_away_from_the_border() {
        let column = |resizing, columns, at: usize| {
            let positions = plane(resizing).of((1, columns)).unwrap();
            positions.to_vec2::<f32>().unwrap()[at][0]
        };
        // With a = -0.75 only halfway between two places, by symmetry.
        let halfway = column(Resizing::Cubic, 4, 1);
        assert!((halfway - 2.5).abs() < 1e-6, "{halfway}");
        // The eighth of twice as many: a quarter behind the place of the fourth.
        let quarter = column(Resizing::Antialiased, 16, 7);
        assert!((quarter - 3.25).abs() < 1e-6, "{quarter}");
    }

    #[test]
    fn as_many_patches_as_places_keep_the_bytes() {
        let numbers: Vec<f32> = (0..18).map(|at| (at as f32).sin()).collect();
        let positions = Positions::new(numbers.clone(), 3, Resizing::Antialiased);
        let found = positions.of((3, 3)).unwrap().flatten_all().unwrap();
        assert_eq!(found.to_vec1::<f32>().unwrap(), numbers);
    }
}
