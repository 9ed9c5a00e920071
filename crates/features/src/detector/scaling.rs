//! Scales and normalises a photo for a detector. The ratio of its sides is kept, so photos differ
//! in size.

use rayon::prelude::*;
use serde::Serialize;

use crate::backbone::{Maps, Photo, Size};

/// How a photo is scaled and normalised.
///
/// ```text
/// pixel = (byte - mean) / deviation, for each colour
/// ```
///
/// Pixels are interpolated bilinearly between four neighbours at every scale, as PyTorch's
/// `interpolate` does. Unlike in [`Preprocessing`](crate::backbone::Preprocessing), the support
/// does not grow when a photo becomes smaller. Colours are in Caffe's order, blue first; stores of features name it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "colours", rename = "bgr")]
pub struct Scaling {
    /// The shorter side after scaling, in pixels, unless the longer side would exceed `longest`.
    pub shorter: u32,
    /// The longest side after scaling, in pixels.
    pub longest: u32,
    /// Means of blue, green and red, from 0 to 255.
    pub mean: [f32; 3],
    /// Standard deviations of blue, green and red, from 0 to 255.
    pub deviation: [f32; 3],
    /// Height and width are padded with zeros, below and to the right, to multiples of this.
    pub multiple: usize,
}

/// The normalised pixels of a photo.
#[derive(Debug)]
pub(super) struct ScaledPhoto {
    /// [1, H, W, 3], padding included.
    pub pixels: Maps<f32>,
    /// Height and width without padding.
    pub size: Size,
    /// Pixels of the original photo for each pixel of the scaled one, from left to right.
    x_ratio: f32,
    /// Pixels of the original photo for each pixel of the scaled one, from top to bottom.
    y_ratio: f32,
}

impl ScaledPhoto {
    /// A box of the scaled photo, in pixels of the original photo.
    pub(super) fn box_in_original(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let (x, y) = (self.x_ratio, self.y_ratio);
        [x1 * x, y1 * y, x2 * x, y2 * y]
    }
}

impl Scaling {
    pub(super) fn apply(&self, photo: &Photo) -> ScaledPhoto {
        let size = self.size(photo.height(), photo.width());
        let Size { height, width } = size;
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
                    // Blue first, as in Caffe.
                    let colour = 2 - at;
                    let line = |bytes: &[u8]| {
                        left.1 * f32::from(bytes[left.0 * 3 + colour])
                            + right.1 * f32::from(bytes[right.0 * 3 + colour])
                    };
                    let byte = top.1 * line(above) + bottom.1 * line(below);
                    *out = (byte - self.mean[at]) / self.deviation[at];
                }
            }
        });
        ScaledPhoto {
            pixels: Maps::new(values, [1, rows, columns, 3]),
            size,
            x_ratio: photo.width() as f32 / width as f32,
            y_ratio: photo.height() as f32 / height as f32,
        }
    }

    /// Height and width after scaling, each rounded to the nearest and at least one pixel. The
    /// order of operations is detectron's, so that sides near half a pixel are rounded as there.
    fn size(&self, height: u32, width: u32) -> Size {
        let (height, width) = (f64::from(height), f64::from(width));
        let (shorter, longest) = (f64::from(self.shorter), f64::from(self.longest));
        // The scale that makes the shorter side `shorter`.
        let scale = shorter / height.min(width);
        let (down, across) = match height < width {
            true => (shorter, scale * width),
            false => (scale * height, shorter),
        };
        let longer = down.max(across);
        let reduction = if longer > longest {
            longest / longer
        } else {
            1.0
        };
        let rounded = |side: f64| ((side * reduction + 0.5) as usize).max(1);
        Size::new(rounded(down), rounded(across))
    }
}

/// For each output pixel along an axis the two input pixels that it is interpolated from, with
/// their weights.
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
        multiple: 1,
    };

    #[test]
    fn heights_and_widths_are_those_of_the_published_code() {
        assert_eq!(SCALING.size(480, 640), Size::new(800, 1067));
        assert_eq!(SCALING.size(640, 480), Size::new(1067, 800));
        assert_eq!(SCALING.size(1000, 2000), Size::new(667, 1333));
        // Exactly it would be 64.5 pixels; two roundings of f64 make it a little less.
        assert_eq!(SCALING.size(3, 62), Size::new(64, 1333));
        assert_eq!(SCALING.size(1, 10_000), Size::new(1, 1333));
    }

    #[test]
    fn colours_are_reordered_and_normalised_and_sides_padded() {
        let photo = Photo::new(vec![10, 20, 30, 40, 50, 60], 2, 1);
        let scaling = Scaling {
            shorter: 1,
            multiple: 3,
            ..SCALING
        };
        let scaled = scaling.apply(&photo.unwrap());
        assert_eq!(scaled.size, Size::new(1, 2));
        assert_eq!((scaled.x_ratio, scaled.y_ratio), (1.0, 1.0));
        assert_eq!(scaled.pixels.shape(), [1, 3, 3, 3]);
        let pixels = scaled.pixels.values();
        assert_eq!(
            pixels[..9],
            [29.0, 18.0, 3.5, 59.0, 48.0, 18.5, 0.0, 0.0, 0.0]
        );
        assert!(pixels[9..].iter().all(|x| *x == 0.0));
    }

    #[test]
    fn stores_name_the_order_of_colours() {
        let stored = serde_json::to_value(SCALING).unwrap();
        assert_eq!(stored["colours"], "bgr");
        assert_eq!(stored["shorter"], 800);
    }

    #[test]
    fn output_pixels_are_interpolated_between_two_input_pixels() {
        assert_eq!(neighbours(2, 4)[1], [(0, 0.75), (1, 0.25)]);
        assert_eq!(neighbours(2, 4)[0], [(0, 1.0), (1, 0.0)]);
        assert_eq!(neighbours(2, 4)[3], [(1, 0.75), (1, 0.25)]);
        assert_eq!(
            neighbours(4, 2),
            [[(0, 0.5), (1, 0.5)], [(2, 0.5), (3, 0.5)]]
        );
    }
}
