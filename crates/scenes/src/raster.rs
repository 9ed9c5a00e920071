//! Draws a scene as pixels: the background, then each figure by its signed distances.

use uard_core::random::{Stream, uniform};

use super::attributes::Texture;
use super::background::{self, Rgb};
use super::outline::Outline;
use super::regions::PixelBox;
use super::scene::{CANVAS, Figure, Scene};

/// A drawn scene.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    /// Red, green, blue, row by row: `CANVAS * CANVAS * 3` bytes.
    pub(super) pixels: Vec<u8>,
    /// The box around the visible part of each figure.
    pub(super) visible: Vec<PixelBox>,
    /// For each pixel the index of the visible figure plus one; zero for background.
    pub(super) owners: Vec<u8>,
}

/// Draws a scene: background, shadow and body of each figure, light and noise.
pub(super) fn draw(scene: &Scene, stream: &mut Stream) -> Picture {
    let mut pixels = background::paint(scene.background, stream);
    let mut owners = vec![0_u8; CANVAS * CANVAS];
    for (index, figure) in scene.figures.iter().enumerate() {
        let field = DistanceField::new(figure);
        field.draw_shadow(&mut pixels);
        field.draw_body(figure, &mut pixels, &mut owners, index as u8 + 1);
    }
    let visible = (0..scene.figures.len())
        .map(|i| extent(&owners, i as u8 + 1))
        .collect();
    Picture {
        pixels: with_noise(&pixels, stream),
        visible,
        owners,
    }
}

/// Adds noise and rounds to bytes. The noise is the same in all three channels, so that PNG files stay
/// small.
fn with_noise(pixels: &[Rgb], stream: &mut Stream) -> Vec<u8> {
    const NOISE: f32 = 3.0;
    let noise = uniform(stream, -NOISE, NOISE, pixels.len());
    pixels
        .iter()
        .zip(noise)
        .flat_map(|(pixel, shift)| pixel.map(|c| (c + shift).round().clamp(0.0, 255.0) as u8))
        .collect()
}

/// The smallest box around the pixels of one owner; the whole canvas if it has none.
fn extent(owners: &[u8], owner: u8) -> PixelBox {
    let (mut low, mut high) = ([CANVAS; 2], [0; 2]);
    for (index, _) in owners.iter().enumerate().filter(|(_, o)| **o == owner) {
        let at = [index % CANVAS, index / CANVAS];
        for axis in 0..2 {
            low[axis] = low[axis].min(at[axis]);
            high[axis] = high[axis].max(at[axis] + 1);
        }
    }
    if high[0] == 0 {
        return PixelBox::WHOLE;
    }
    PixelBox {
        x1: low[0] as f32,
        y1: low[1] as f32,
        x2: high[0] as f32,
        y2: high[1] as f32,
    }
}

/// The signed distances, in pixels, in a rectangle around one figure.
struct DistanceField {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    distances: Vec<f32>,
}

/// The margin of the rectangle in pixels, which contains the shadow.
const MARGIN: f32 = 8.0;
/// The offset of the shadow, right and down, in pixels.
const SHADOW: [usize; 2] = [2, 3];
/// Width of the dark rim of a figure in pixels.
const RIM: f32 = 1.4;

impl DistanceField {
    fn new(figure: &Figure) -> Self {
        let reach = figure.radius * 1.1 + MARGIN;
        let low = figure.centre.map(|c| (c - reach).max(0.0) as usize);
        let high = figure
            .centre
            .map(|c| ((c + reach) as usize + 1).min(CANVAS));
        let (width, height) = (high[0] - low[0], high[1] - low[1]);
        let outline = Outline::new(figure.attributes.shape);
        let mut distances = Vec::with_capacity(width * height);
        for y in low[1]..high[1] {
            for x in low[0]..high[0] {
                let local = local(figure, x, y);
                distances.push(figure.radius * outline.distance(local));
            }
        }
        Self {
            left: low[0],
            top: low[1],
            width,
            height,
            distances,
        }
    }

    /// Darkens the pixels in the shadow of the figure.
    fn draw_shadow(&self, pixels: &mut [Rgb]) {
        for row in SHADOW[1]..self.height {
            for column in SHADOW[0]..self.width {
                let source = (row - SHADOW[1]) * self.width + column - SHADOW[0];
                let depth = 0.32 * (1.0 - (self.distances[source] + 1.0) / 5.0).clamp(0.0, 1.0);
                let target = (self.top + row) * CANVAS + self.left + column;
                pixels[target] = pixels[target].map(|channel| channel * (1.0 - depth));
            }
        }
    }

    /// Paints the body with its texture and rim, and sets the owner of its pixels.
    fn draw_body(&self, figure: &Figure, pixels: &mut [Rgb], owners: &mut [u8], owner: u8) {
        let body = figure.attributes.colour.rgb();
        let mark = figure.attributes.colour.mark();
        for row in 0..self.height {
            for column in 0..self.width {
                let distance = self.distances[row * self.width + column];
                let coverage = (0.5 - distance).clamp(0.0, 1.0);
                if coverage <= 0.0 {
                    continue;
                }
                let (x, y) = (self.left + column, self.top + row);
                let at = local(figure, x, y);
                let marked = marking(figure, at);
                let rim = 0.45 * (distance + RIM + 0.5).clamp(0.0, 1.0);
                let light = (1.0 - 0.10 * (at[0] + at[1])) * (1.0 - rim);
                let target = y * CANVAS + x;
                for channel in 0..3 {
                    let paint = light * (body[channel] + marked * (mark[channel] - body[channel]));
                    let ground = pixels[target][channel];
                    pixels[target][channel] = ground + coverage * (paint - ground);
                }
                if coverage > 0.5 {
                    owners[target] = owner;
                }
            }
        }
    }
}

/// The middle of a pixel in the figure's own axes, in units of its radius.
fn local(figure: &Figure, x: usize, y: usize) -> [f32; 2] {
    let (sin, cos) = figure.rotation.sin_cos();
    let dx = (x as f32 + 0.5 - figure.centre[0]) / figure.radius;
    let dy = (y as f32 + 0.5 - figure.centre[1]) / figure.radius;
    [cos * dx + sin * dy, cos * dy - sin * dx]
}

/// The share of the texture's shade in the colour of a point: 0 body, 1 texture, between them at an edge.
fn marking(figure: &Figure, at: [f32; 2]) -> f32 {
    const STRIPES: f32 = 0.52;
    const DOTS: f32 = 0.56;
    const CHECKS: f32 = 0.84;
    let wave = |position: f32, period: f32| (std::f32::consts::TAU * position / period).sin();
    let soft = |height: f32, period: f32| {
        (0.5 + height * figure.radius * period / std::f32::consts::TAU).clamp(0.0, 1.0)
    };
    match figure.attributes.texture {
        Texture::Plain => 0.0,
        Texture::Striped => {
            let across = at[0] * figure.stripe_angle.cos() + at[1] * figure.stripe_angle.sin();
            soft(wave(across, STRIPES), STRIPES)
        }
        Texture::Dotted => {
            let off = at.map(|p| (p / DOTS).round() * DOTS - p);
            (0.5 + (0.17 - off[0].hypot(off[1])) * figure.radius).clamp(0.0, 1.0)
        }
        Texture::Checked => soft(wave(at[0], CHECKS) * wave(at[1], CHECKS), CHECKS),
    }
}

#[cfg(test)]
mod tests {
    use uard_core::random::Draws;

    use super::super::family::families;
    use super::*;

    #[test]
    fn every_figure_stays_mostly_visible() {
        for (index, family) in families(&Draws::new(3), 0, 40).iter().enumerate() {
            let scene = &family.siblings[0];
            let mut stream = Draws::new(3).stream("test", &[index as u64]);
            let picture = draw(scene, &mut stream);
            for (figure, seen) in scene.figures.iter().zip(&picture.visible) {
                let extent = seen.width().max(seen.height());
                assert!(extent > 1.4 * figure.radius, "{figure:?} {seen:?}");
                assert!(extent < 2.3 * figure.radius, "{figure:?} {seen:?}");
            }
        }
    }

    #[test]
    fn the_colour_at_the_centre_is_that_of_the_figure() {
        let draws = Draws::new(4);
        let plain = families(&draws, 0, 200)
            .into_iter()
            .flat_map(|f| f.siblings);
        for scene in plain.take(40) {
            let picture = draw(&scene, &mut draws.stream("test", &[]));
            let Some(top) = scene.figures.last() else {
                continue;
            };
            let ring = super::super::attributes::Shape::Ring;
            if top.attributes.texture != Texture::Plain || top.attributes.shape == ring {
                continue;
            }
            let at = top.centre[1] as usize * CANVAS + top.centre[0] as usize;
            for (channel, expected) in top.attributes.colour.rgb().iter().enumerate() {
                let found = f32::from(picture.pixels[3 * at + channel]);
                // Light changes by a tenth, and noise by up to three.
                assert!(
                    (found - expected).abs() < 25.0,
                    "{top:?} {found} {expected}"
                );
            }
        }
    }
}
