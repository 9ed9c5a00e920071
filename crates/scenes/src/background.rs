//! Paints the background of a scene: a tone, with the brightness of a pattern added to each pixel.

use uard_core::random::{Stream, uniform};

use super::attributes::{Background, Pattern};
use super::chance::between;
use super::scene::CANVAS;

/// Red, green and blue in `[0, 255]` of one pixel.
pub(super) type Rgb = [f32; 3];

/// The background of a whole scene, row by row.
///
/// Two scenes with the same tone and pattern differ in phase, angle and light, which captions do not name.
pub(super) fn paint(background: Background, stream: &mut Stream) -> Vec<Rgb> {
    let tone = background.tone.rgb();
    let light = between(stream, -6.0, 6.0);
    let slope = [between(stream, -8.0, 8.0), between(stream, -8.0, 8.0)];
    let relief = relief(background.pattern, stream);
    let mut pixels = Vec::with_capacity(CANVAS * CANVAS);
    for y in 0..CANVAS {
        for x in 0..CANVAS {
            let (u, v) = (
                x as f32 / CANVAS as f32 - 0.5,
                y as f32 / CANVAS as f32 - 0.5,
            );
            let shift = light + slope[0] * u + slope[1] * v + relief[y * CANVAS + x];
            pixels.push(tone.map(|channel| channel + shift));
        }
    }
    pixels
}

/// The brightness that a pattern adds to every pixel.
fn relief(pattern: Pattern, stream: &mut Stream) -> Vec<f32> {
    match pattern {
        Pattern::Smooth => vec![0.0; CANVAS * CANVAS],
        Pattern::Wavy => waves(stream),
        Pattern::Speckled => speckles(stream),
        Pattern::Cloudy => clouds(stream),
        Pattern::Gridded => grid(stream),
    }
}

fn every_pixel(value: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    let mut values = Vec::with_capacity(CANVAS * CANVAS);
    for y in 0..CANVAS {
        values.extend((0..CANVAS).map(|x| value(x as f32, y as f32)));
    }
    values
}

fn waves(stream: &mut Stream) -> Vec<f32> {
    let phase = uniform(stream, 0.0, std::f32::consts::TAU, 2);
    let bends: Vec<f32> = (0..CANVAS)
        .map(|x| 5.0 * (x as f32 * 0.13 + phase[0]).sin() + phase[1])
        .collect();
    every_pixel(|x, y| 15.0 * ((y + bends[x as usize]) * 0.5).sin())
}

fn speckles(stream: &mut Stream) -> Vec<f32> {
    const DOTS: usize = 520;
    let mut values = vec![0.0; CANVAS * CANVAS];
    let draws = uniform(stream, 0.0, 1.0, 4 * DOTS);
    for dot in draws.chunks_exact(4) {
        let centre = [dot[0] * CANVAS as f32, dot[1] * CANVAS as f32];
        let radius = 1.0 + 1.3 * dot[2];
        let depth = if dot[3] < 0.6 { -34.0 } else { 26.0 };
        speckle(&mut values, centre, radius, depth);
    }
    values
}

fn speckle(values: &mut [f32], centre: [f32; 2], radius: f32, depth: f32) {
    let span = |middle: f32| {
        let low = (middle - radius - 1.0).max(0.0) as usize;
        low..((middle + radius + 2.0) as usize).min(CANVAS)
    };
    for y in span(centre[1]) {
        for x in span(centre[0]) {
            let distance = (x as f32 - centre[0]).hypot(y as f32 - centre[1]) - radius;
            values[y * CANVAS + x] += depth * (0.5 - distance).clamp(0.0, 1.0);
        }
    }
}

/// Value noise of two octaves on lattices of 32 and 16 pixels.
fn clouds(stream: &mut Stream) -> Vec<f32> {
    let mut values = vec![0.0; CANVAS * CANVAS];
    for (cell, depth) in [(32, 26.0), (16, 12.0)] {
        let side = CANVAS / cell + 2;
        let knots = uniform(stream, -depth, depth, side * side);
        let layer = every_pixel(|x, y| {
            let (u, v) = (x / cell as f32, y / cell as f32);
            let (column, row) = (u as usize, v as usize);
            let ease = |t: f32| t * t * (3.0 - 2.0 * t);
            let (s, t) = (ease(u.fract()), ease(v.fract()));
            let knot = |right: usize, down: usize| knots[(row + down) * side + column + right];
            let top = knot(0, 0) + s * (knot(1, 0) - knot(0, 0));
            let bottom = knot(0, 1) + s * (knot(1, 1) - knot(0, 1));
            top + t * (bottom - top)
        });
        values
            .iter_mut()
            .zip(layer)
            .for_each(|(value, add)| *value += add);
    }
    values
}

fn grid(stream: &mut Stream) -> Vec<f32> {
    const SPACING: f32 = 16.0;
    let phase = uniform(stream, 0.0, SPACING, 2);
    let line = |position: f32| {
        (1.5 - (position.rem_euclid(SPACING) - SPACING / 2.0).abs()).clamp(0.0, 1.0)
    };
    every_pixel(|x, y| -30.0 * line(x + phase[0]).max(line(y + phase[1])))
}
