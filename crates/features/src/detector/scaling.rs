//! How does a photo come to the size and numbers of a detector? Its ratio of sides stays, so each
//! photo has a size of its own.

use rayon::prelude::*;
use serde::Serialize;

use crate::backbone::{Maps, Photo};

/// From a photo to the pixels of a detector.
///
/// ```text
/// pixel = (byte - mean) / deviation, for each colour
/// ```
///
/// Pixels between pixels are interpolated between four neighbours, whatever the scale, as PyTorch's
/// `interpolate` does: unlike [`Preprocessing`](crate::backbone::Preprocessing), a photo that
/// becomes smaller is not averaged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scaling {
    /// The shorter side, in pixels, where the longer one allows it.
    pub shorter: u32,
    /// The longer side has at most so many pixels.
    pub longest: u32,
    /// In the order of the colours, from 0 to 255.
    pub mean: [f32; 3],
    /// In the order of the colours, from 0 to 255.
    pub deviation: [f32; 3],
    /// The order of the colours.
    pub colours: Colours,
    /// Zeros are added below and to the right until sides are multiples of this.
    pub multiple: usize,
}

/// The order of the colours of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Colours {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red: Caffe's.
    Bgr,
}

/// A photo as a detector sees it.
#[derive(Debug)]
pub(super) struct Scaled {
    /// [1, H, W, 3], zeros included.
    pub pixels: Maps<f32>,
    /// Height and width without them.
    pub size: (usize, usize),
    /// Pixels of the photo for each of these, across and down.
    pub ratio: (f32, f32),
}

impl Scaling {
    pub(super) fn apply(&self, photo: &Photo) -> Scaled {
        let size = self.size(photo.height(), photo.width());
        let (height, width) = size;
        let (rows, columns) = (
            height.next_multiple_of(self.multiple.max(1)),
            width.next_multiple_of(self.multiple.max(1)),
        );
        let down = neighbours(photo.height() as usize, height);
        let across = neighbours(photo.width() as usize, width);
        let mut values = vec![0.0; rows * columns * 3];
        let lines = values.par_chunks_exact_mut(columns * 3).zip(&down);
        lines.for_each(|(out, [top, bottom])| {
            let row = photo.width() as usize * 3;
            let (above, below) = (
                &photo.pixels()[top.0 * row..],
                &photo.pixels()[bottom.0 * row..],
            );
            for (out, [left, right]) in out.chunks_exact_mut(3).zip(&across) {
                for (at, out) in out.iter_mut().enumerate() {
                    let colour = match self.colours {
                        Colours::Rgb => at,
                        Colours::Bgr => 2 - at,
                    };
                    let line = |bytes: &[u8]| {
                        left.1 * f32::from(bytes[left.0 * 3 + colour])
                            + right.1 * f32::from(bytes[right.0 * 3 + colour])
                    };
                    let byte = top.1 * line(above) + bottom.1 * line(below);
                    *out = (byte - self.mean[at]) / self.deviation[at];
                }
            }
        });
        Scaled {
            pixels: Maps::new(values, [1, rows, columns, 3]),
            size,
            ratio: (
                photo.width() as f32 / width as f32,
                photo.height() as f32 / height as f32,
            ),
        }
    }

    /// Height and width after scaling, each rounded to the nearest and at least one pixel: by
    /// detectron's arithmetic, which decides where a side would be half a pixel.
    fn size(&self, height: u32, width: u32) -> (usize, usize) {
        let (height, width) = (f64::from(height), f64::from(width));
        let (shorter, longest) = (f64::from(self.shorter), f64::from(self.longest));
        let first = shorter / height.min(width);
        let (down, across) = match height < width {
            true => (shorter, first * width),
            false => (first * height, shorter),
        };
        let longer = down.max(across);
        let second = if longer > longest {
            longest / longer
        } else {
            1.0
        };
        let whole = |side: f64| ((side * second + 0.5) as usize).max(1);
        (whole(down), whole(across))
    }
}

/// For each output pixel of an axis two input pixels, with their weights.
fn neighbours(input: usize, output: usize) -> Vec<[(usize, f32); 2]> {
    let scale = input as f32 / output as f32;
    let pixels = (0..output).map(|at| {
        let place = (scale * (at as f32 + 0.5) - 0.5).max(0.0);
        let first = (place as usize).min(input - 1);
        let share = (place - first as f32).clamp(0.0, 1.0);
        [(first, 1.0 - share), ((first + 1).min(input - 1), share)]
    });
    pixels.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALING: Scaling = Scaling {
        shorter: 800,
        longest: 1333,
        mean: [1.0, 2.0, 3.0],
        deviation: [1.0, 1.0, 2.0],
        colours: Colours::Bgr,
        multiple: 1,
    };

    #[test]
    fn sides_are_those_of_the_published_code() {
        let nearest = |h, w| SCALING.size(h, w);
        assert_eq!(nearest(480, 640), (800, 1067));
        assert_eq!(nearest(640, 480), (1067, 800));
        assert_eq!(nearest(1000, 2000), (667, 1333));
        // 64.5 pixels, which two roundings of f64 make a little less.
        assert_eq!(nearest(3, 62), (64, 1333));
        assert_eq!(nearest(1, 10_000), (1, 1333));
    }

    #[test]
    fn a_photo_of_the_right_size_is_turned_and_normalised() {
        let photo = Photo::new(vec![10, 20, 30, 40, 50, 60], 2, 1);
        let scaling = Scaling {
            shorter: 1,
            multiple: 3,
            ..SCALING
        };
        let scaled = scaling.apply(&photo.unwrap());
        assert_eq!((scaled.size, scaled.ratio), ((1, 2), (1.0, 1.0)));
        assert_eq!(scaled.pixels.shape(), [1, 3, 3, 3]);
        let pixels = scaled.pixels.values();
        assert_eq!(
            pixels[..9],
            [29.0, 18.0, 3.5, 59.0, 48.0, 18.5, 0.0, 0.0, 0.0]
        );
        assert!(pixels[9..].iter().all(|x| *x == 0.0));
    }

    #[test]
    fn pixels_between_pixels_are_interpolated() {
        assert_eq!(neighbours(2, 4)[1], [(0, 0.75), (1, 0.25)]);
        assert_eq!(neighbours(2, 4)[0], [(0, 1.0), (1, 0.0)]);
        assert_eq!(neighbours(2, 4)[3], [(1, 0.75), (1, 0.25)]);
        assert_eq!(
            neighbours(4, 2),
            [[(0, 0.5), (1, 0.5)], [(2, 0.5), (3, 0.5)]]
        );
    }
}
