//! Resizes a box to 32 x 32 exact area means, by a summed-area table.

use super::regions::PixelBox;
use super::scene::CANVAS;

/// Width and height of a patch.
pub(super) const PATCH: usize = 32;

/// A summed-area table: the sums of red, green and blue over every rectangle that starts at the upper left
/// corner.
#[derive(Debug, Clone)]
pub(super) struct SummedAreas {
    sums: Vec<[f64; 3]>,
}

const SIDE: usize = CANVAS + 1;

impl SummedAreas {
    /// The table of a picture's bytes, scaled to `[0, 1]`.
    pub(super) fn new(pixels: &[u8]) -> Self {
        let mut sums = vec![[0.0; 3]; SIDE * SIDE];
        for y in 0..CANVAS {
            let mut row = [0.0; 3];
            for x in 0..CANVAS {
                for channel in 0..3 {
                    row[channel] += f64::from(pixels[3 * (y * CANVAS + x) + channel]) / 255.0;
                    sums[(y + 1) * SIDE + x + 1][channel] =
                        sums[y * SIDE + x + 1][channel] + row[channel];
                }
            }
        }
        Self { sums }
    }

    /// The sums up to a point, interpolated between pixels.
    fn at(&self, x: f32, y: f32) -> [f64; 3] {
        let (column, row) = ((x as usize).min(CANVAS - 1), (y as usize).min(CANVAS - 1));
        let (s, t) = (f64::from(x - column as f32), f64::from(y - row as f32));
        let corner = |right: usize, down: usize| &self.sums[(row + down) * SIDE + column + right];
        let (a, b, c, d) = (corner(0, 0), corner(1, 0), corner(0, 1), corner(1, 1));
        [0, 1, 2].map(|channel| {
            let top = a[channel] + s * (b[channel] - a[channel]);
            let bottom = c[channel] + s * (d[channel] - c[channel]);
            top + t * (bottom - top)
        })
    }

    /// The mean colour of each of 32 x 32 equal parts of a box, row by row, in `[0, 1]`.
    pub(super) fn patch(&self, region: &PixelBox) -> Vec<[f32; 3]> {
        let (width, height) = (
            region.width() / PATCH as f32,
            region.height() / PATCH as f32,
        );
        let corners: Vec<[f64; 3]> = (0..=PATCH)
            .flat_map(|row| (0..=PATCH).map(move |column| (row, column)))
            .map(|(row, column)| {
                self.at(
                    region.x1 + column as f32 * width,
                    region.y1 + row as f32 * height,
                )
            })
            .collect();
        let area = f64::from(width * height);
        let mut patch = Vec::with_capacity(PATCH * PATCH);
        for row in 0..PATCH {
            for column in 0..PATCH {
                let at = row * (PATCH + 1) + column;
                let below = at + PATCH + 1;
                patch.push([0, 1, 2].map(|c| {
                    let sum = corners[below + 1][c] - corners[below][c] - corners[at + 1][c]
                        + corners[at][c];
                    (sum / area) as f32
                }));
            }
        }
        patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_of_a_ramp_is_the_ramp() {
        let pixels: Vec<u8> = (0..CANVAS * CANVAS)
            .flat_map(|i| [(i % CANVAS) as u8, (i / CANVAS) as u8, 7])
            .collect();
        let region = PixelBox {
            x1: 10.0,
            y1: 20.0,
            x2: 74.0,
            y2: 52.0,
        };
        let patch = SummedAreas::new(&pixels).patch(&region);
        // A part covers two pixels by one: columns 10 and 11, row 20.
        assert!((patch[0][0] * 255.0 - 10.5).abs() < 1e-3);
        assert!((patch[0][1] * 255.0 - 20.0).abs() < 1e-3);
        assert!((patch[PATCH * PATCH - 1][1] * 255.0 - 51.0).abs() < 1e-3);
        assert!((patch[5][2] * 255.0 - 7.0).abs() < 1e-3);
    }
}
