//! The descriptor of a region: numbers computed only from the pixels and the position of its box.
//!
//! The box is resized to 32 x 32 cells (see [`super::patch`]), and seven groups are computed:
//!
//! ```text
//! colour     48   mean lightness, red against green, yellow against blue, in 4 x 4 cells
//! roughness  16   standard deviation of lightness in the same cells
//! hues       36   soft histogram of 12 hues, weighted by chroma, and of 6 greys, weighted by its
//!                 absence, once for the inner quarter and once for the whole
//! edges      96   6 orientations of gradients in 4 x 4 cells, root of the L1-normalised histogram
//! form       64   chroma against its maximum, in 8 x 8 cells
//! texture    18   of the foreground: spread and skew of lightness, strength and coherence of
//!                 gradients, differences of lightness at 3 distances in 4 directions
//! geometry   24   corners, width, height, area and aspect of the box in the image; nearness of its
//!                 centre to each of 3 x 3 positions; nearness of its size to each of 7 sizes
//! ```
//!
//! The histogram of gradients follows Dalal and Triggs, *Histograms of Oriented Gradients for
//! Human Detection*, CVPR 2005, without their overlapping blocks.

use super::patch::{PATCH, SummedAreas};
use super::regions::PixelBox;
use super::scene::CANVAS;

/// Length of a descriptor.
pub(super) const DESCRIPTOR: usize = 48 + 16 + 36 + 96 + 64 + 18 + 24;

/// One 32 x 32 plane.
type Plane = Vec<f32>;

/// The descriptor of a box.
///
/// # Shapes
/// `[DESCRIPTOR]`, groups in the order of the table above.
pub(super) fn describe(sums: &SummedAreas, region: &PixelBox) -> Vec<f32> {
    let patch = sums.patch(region);
    let plane = |value: fn(&[f32; 3]) -> f32| patch.iter().map(value).collect::<Plane>();
    let light = plane(|[r, g, b]| (r + g + b) / 3.0);
    let chroma = plane(chroma);
    let red_green = plane(|[r, g, _]| r - g);
    let yellow_blue = plane(|[r, g, b]| (r + g) / 2.0 - b);
    let mut values = Vec::with_capacity(DESCRIPTOR);
    for channel in [&light, &red_green, &yellow_blue] {
        values.extend(cells(channel, 4));
    }
    values.extend(roughness(&light));
    hues(&patch, &mut values);
    let gradients = gradients(&light, &chroma);
    values.extend(edges(&gradients));
    let most = chroma.iter().copied().fold(0.05, f32::max);
    values.extend(cells(&chroma, 8).into_iter().map(|mean| mean / most));
    texture(&light, &foreground(&patch), &mut values);
    geometry(region, &mut values);
    values
}

fn chroma(pixel: &[f32; 3]) -> f32 {
    let [r, g, b] = *pixel;
    r.max(g).max(b) - r.min(g).min(b)
}

/// Means in `side * side` cells, row by row.
fn cells(plane: &[f32], side: usize) -> Vec<f32> {
    let extent = PATCH / side;
    let mut means = vec![0.0; side * side];
    for (index, value) in plane.iter().enumerate() {
        means[index / PATCH / extent * side + index % PATCH / extent] += value;
    }
    means
        .into_iter()
        .map(|sum| sum / (extent * extent) as f32)
        .collect()
}

fn roughness(light: &[f32]) -> Vec<f32> {
    let squares: Plane = light.iter().map(|value| value * value).collect();
    let means = cells(light, 4);
    cells(&squares, 4)
        .iter()
        .zip(means)
        .map(|(s, m)| (s - m * m).max(0.0).sqrt())
        .collect()
}

fn hues(patch: &[[f32; 3]], values: &mut Vec<f32>) {
    let quarter = PATCH / 4..PATCH - PATCH / 4;
    let mut inner = [0.0; 18];
    let mut whole = [0.0; 18];
    for (index, pixel) in patch.iter().enumerate() {
        let votes = votes(pixel);
        let inside = quarter.contains(&(index / PATCH)) && quarter.contains(&(index % PATCH));
        for (bin, vote) in votes {
            whole[bin] += vote;
            if inside {
                inner[bin] += vote;
            }
        }
    }
    let area = (PATCH * PATCH) as f32;
    values.extend(inner.map(|sum| (4.0 * sum / area).sqrt()));
    values.extend(whole.map(|sum| (sum / area).sqrt()));
}

/// The bins of the histogram to which a pixel is added, two neighbouring hues and two neighbouring
/// greys, with the number to add to each.
fn votes(pixel: &[f32; 3]) -> [(usize, f32); 4] {
    let [r, g, b] = *pixel;
    let chroma = chroma(pixel);
    let most = r.max(g).max(b);
    let sextant = if chroma < 1e-6 {
        0.0
    } else if most == r {
        ((g - b) / chroma).rem_euclid(6.0)
    } else if most == g {
        (b - r) / chroma + 2.0
    } else {
        (r - g) / chroma + 4.0
    };
    let hue = 2.0 * sextant;
    let (first, part) = (hue as usize % 12, hue.fract());
    let grey = 5.0 * ((r + g + b) / 3.0).clamp(0.0, 0.999);
    let (level, rest) = (grey as usize, grey.fract());
    let colourless = (1.0 - 4.0 * chroma).max(0.0);
    [
        (first, chroma * (1.0 - part)),
        ((first + 1) % 12, chroma * part),
        (12 + level, colourless * (1.0 - rest)),
        (13 + level, colourless * rest),
    ]
}

/// For each pixel the gradient of lightness or of chroma, whichever is steeper.
fn gradients(light: &[f32], chroma: &[f32]) -> Vec<[f32; 2]> {
    let slope = |plane: &[f32], x: usize, y: usize| {
        let at = |x: usize, y: usize| plane[y * PATCH + x];
        let last = PATCH - 1;
        [
            at((x + 1).min(last), y) - at(x.saturating_sub(1), y),
            at(x, (y + 1).min(last)) - at(x, y.saturating_sub(1)),
        ]
    };
    (0..PATCH * PATCH)
        .map(|index| {
            let (x, y) = (index % PATCH, index / PATCH);
            let (a, b) = (slope(light, x, y), slope(chroma, x, y));
            if a[0].hypot(a[1]) >= b[0].hypot(b[1]) {
                a
            } else {
                b
            }
        })
        .collect()
}

fn edges(gradients: &[[f32; 2]]) -> Vec<f32> {
    const BINS: usize = 6;
    let mut histogram = vec![0.0; 16 * BINS];
    let mut total = 0.5;
    for (index, [x, y]) in gradients.iter().enumerate() {
        let strength = x.hypot(*y);
        let turn = (y.atan2(*x) / std::f32::consts::PI).rem_euclid(1.0) * BINS as f32;
        let (bin, part) = (turn as usize % BINS, turn.fract());
        let cell = index / PATCH / 8 * 4 + index % PATCH / 8;
        histogram[cell * BINS + bin] += strength * (1.0 - part);
        histogram[cell * BINS + (bin + 1) % BINS] += strength * part;
        total += strength;
    }
    histogram
        .into_iter()
        .map(|sum| (sum / total).sqrt())
        .collect()
}

/// The weight of each pixel as foreground, in `[0, 1]`: its distance from the mean colour of the patch's
/// rim.
fn foreground(patch: &[[f32; 3]]) -> Plane {
    let rim = |index: usize| {
        [index % PATCH, index / PATCH]
            .iter()
            .any(|coordinate| *coordinate == 0 || *coordinate == PATCH - 1)
    };
    let mut mean = [0.0; 3];
    for pixel in patch
        .iter()
        .enumerate()
        .filter(|(index, _)| rim(*index))
        .map(|(_, p)| p)
    {
        (0..3).for_each(|channel| mean[channel] += pixel[channel] / (4 * PATCH - 4) as f32);
    }
    let away: Plane = patch
        .iter()
        .map(|pixel| {
            (0..3)
                .map(|c| (pixel[c] - mean[c]).powi(2))
                .sum::<f32>()
                .sqrt()
        })
        .collect();
    let most = away.iter().copied().fold(0.1, f32::max);
    away.into_iter()
        .map(|distance| (distance / (0.4 * most)).min(1.0).powi(2))
        .collect()
}

fn texture(light: &[f32], weights: &[f32], values: &mut Vec<f32>) {
    let total: f32 = weights.iter().sum::<f32>() + 1e-3;
    let mean = light.iter().zip(weights).map(|(l, w)| l * w).sum::<f32>() / total;
    let moment = |power: i32| {
        light
            .iter()
            .zip(weights)
            .map(|(l, w)| w * (l - mean).powi(power))
            .sum::<f32>()
            / total
    };
    let spread = moment(2).max(0.0).sqrt();
    values.extend([total / (PATCH * PATCH) as f32, spread, moment(3).cbrt()]);
    values.extend(gradient_field(light, weights));
    for distance in [2, 4, 6] {
        for (right, down) in [(1, 0), (0, 1), (1, 1), (1, -1)] {
            let step = [right * distance, down * distance];
            values.push(difference(light, weights, step) / (spread + 0.02));
        }
    }
}

/// Mean length of the gradients, their coherence, and their root mean square, without the outer 8 pixels.
fn gradient_field(light: &[f32], weights: &[f32]) -> [f32; 3] {
    let (mut xx, mut yy, mut xy, mut strength, mut total) = (0.0, 0.0, 0.0, 0.0, 1e-3);
    for y in 8..PATCH - 8 {
        for x in 8..PATCH - 8 {
            let at = y * PATCH + x;
            let dx = light[at + 1] - light[at - 1];
            let dy = light[at + PATCH] - light[at - PATCH];
            let weight = weights[at];
            xx += weight * dx * dx;
            yy += weight * dy * dy;
            xy += weight * dx * dy;
            strength += weight * dx.hypot(dy);
            total += weight;
        }
    }
    let coherence = (xx - yy).hypot(2.0 * xy) / (xx + yy + 0.05);
    [strength / total, coherence, ((xx + yy) / total).sqrt()]
}

/// Mean absolute difference of lightness between foreground points that are a step apart.
fn difference(light: &[f32], weights: &[f32], [right, down]: [i32; 2]) -> f32 {
    let extent = PATCH as i32;
    let (mut sum, mut total) = (0.0, 1.0);
    for y in 0..extent {
        for x in 0..extent {
            let (u, v) = (x + right, y + down);
            if u < extent && (0..extent).contains(&v) {
                let (a, b) = ((y * extent + x) as usize, (v * extent + u) as usize);
                let weight = weights[a] * weights[b];
                sum += weight * (light[a] - light[b]).abs();
                total += weight;
            }
        }
    }
    sum / total
}

fn geometry(region: &PixelBox, values: &mut Vec<f32>) {
    let canvas = CANVAS as f32;
    let (width, height) = (region.width() / canvas, region.height() / canvas);
    values.extend([region.x1, region.y1, region.x2, region.y2].map(|edge| edge / canvas));
    values.extend([width, height, width * height, (width / height).ln()]);
    let near = |distance: f32, reach: f32| (-(distance / reach).powi(2) / 2.0).exp();
    let [x, y] = region.centre().map(|middle| middle / canvas);
    for row in [0.18, 0.5, 0.82] {
        values.extend([0.18, 0.5, 0.82].map(|column: f32| near((x - column).hypot(y - row), 0.16)));
    }
    let size = (width * height).sqrt().ln();
    values
        .extend([-2.4, -2.0, -1.6, -1.2, -0.8, -0.4, 0.0].map(|step: f32| near(size - step, 0.25)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(colour: [u8; 3]) -> SummedAreas {
        let mut pixels = vec![120_u8; CANVAS * CANVAS * 3];
        for y in 60..100 {
            for x in 60..100 {
                pixels[3 * (y * CANVAS + x)..][..3].copy_from_slice(&colour);
            }
        }
        SummedAreas::new(&pixels)
    }

    const REGION: PixelBox = PixelBox {
        x1: 56.0,
        y1: 56.0,
        x2: 104.0,
        y2: 104.0,
    };

    #[test]
    fn descriptor_has_its_length_and_is_finite() {
        for region in [
            REGION,
            PixelBox::WHOLE,
            PixelBox {
                x1: 0.0,
                y1: 0.0,
                x2: 8.0,
                y2: 8.0,
            },
        ] {
            let values = describe(&scene([200, 30, 30]), &region);
            assert_eq!(values.len(), DESCRIPTOR);
            assert!(values.iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn descriptors_differ_if_only_the_colour_differs() {
        let red = describe(&scene([200, 30, 30]), &REGION);
        let blue = describe(&scene([30, 30, 200]), &REGION);
        let apart: f32 = red.iter().zip(&blue).map(|(a, b)| (a - b).powi(2)).sum();
        assert!(apart.sqrt() > 1.0, "{apart}");
        assert_eq!(red, describe(&scene([200, 30, 30]), &REGION));
    }

    #[test]
    fn pixels_outside_the_box_do_not_matter() {
        let mut pixels = vec![120_u8; CANVAS * CANVAS * 3];
        let before = describe(&SummedAreas::new(&pixels), &REGION);
        pixels[..3 * CANVAS * 40].fill(9);
        let after = describe(&SummedAreas::new(&pixels), &REGION);
        let apart = before
            .iter()
            .zip(&after)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        // The sums are f64, so rounding errors are far below the value of a pixel.
        assert!(apart < 1e-4, "{apart}");
    }
}
