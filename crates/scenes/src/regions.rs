//! Draws the 36 boxes of a scene: boxes on figures, and boxes that show something else.

use uard_core::random::{Stream, permutation};

use super::chance::{below, between, pick};
use super::raster::Picture;
use super::scene::CANVAS;

/// The number of regions of a scene.
pub const REGIONS: usize = 36;

/// Intersection over union from which a box counts as showing a figure.
pub(super) const SHOWS_FIGURE: f32 = 0.5;

/// The largest share of a box that figures may cover if it counts as showing the background.
pub(super) const SHOWS_BACKGROUND: f32 = 0.1;

/// A box in pixels, right and lower edge exclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PixelBox {
    pub(super) x1: f32,
    pub(super) y1: f32,
    pub(super) x2: f32,
    pub(super) y2: f32,
}

impl PixelBox {
    /// The whole scene.
    pub(super) const WHOLE: Self = Self {
        x1: 0.0,
        y1: 0.0,
        x2: CANVAS as f32,
        y2: CANVAS as f32,
    };

    /// A box of whole pixels inside the canvas, at least eight wide and high.
    fn fitted(centre: [f32; 2], width: f32, height: f32) -> Self {
        let canvas = CANVAS as f32;
        let axis = |middle: f32, extent: f32| {
            let low = (middle - extent / 2.0).round().clamp(0.0, canvas - 8.0);
            (
                low,
                (middle + extent / 2.0).round().clamp(low + 8.0, canvas),
            )
        };
        let ((x1, x2), (y1, y2)) = (axis(centre[0], width), axis(centre[1], height));
        Self { x1, y1, x2, y2 }
    }

    pub(super) fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    pub(super) fn height(&self) -> f32 {
        self.y2 - self.y1
    }

    pub(super) fn area(&self) -> f32 {
        self.width() * self.height()
    }

    pub(super) fn centre(&self) -> [f32; 2] {
        [(self.x1 + self.x2) / 2.0, (self.y1 + self.y2) / 2.0]
    }

    /// Intersection over union.
    pub(super) fn overlap(&self, other: &Self) -> f32 {
        let width = (self.x2.min(other.x2) - self.x1.max(other.x1)).max(0.0);
        let height = (self.y2.min(other.y2) - self.y1.max(other.y1)).max(0.0);
        let both = width * height;
        both / (self.area() + other.area() - both)
    }

    /// The smallest box around both.
    fn enclosing(&self, other: &Self) -> Self {
        Self {
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
            x2: self.x2.max(other.x2),
            y2: self.y2.max(other.y2),
        }
    }
}

/// The share of a box that figures cover.
pub(super) fn covered(region: &PixelBox, owners: &[u8]) -> f32 {
    let mut count = 0;
    for y in region.y1 as usize..region.y2 as usize {
        let row = &owners[y * CANVAS..(y + 1) * CANVAS];
        count += row[region.x1 as usize..region.x2 as usize]
            .iter()
            .filter(|o| **o > 0)
            .count();
    }
    count as f32 / region.area()
}

/// The 36 boxes of a scene, in random order.
///
/// Each figure gets a tight and a loose box, a box of a part of it, and one that is shifted half off it.
/// Two boxes enclose a pair of figures, one is the whole scene, and the rest have any size; six of them are
/// chosen where figures cover little.
pub(super) fn regions(picture: &Picture, stream: &mut Stream) -> Vec<PixelBox> {
    let mut boxes = vec![PixelBox::WHOLE];
    for seen in &picture.visible {
        boxes.push(jittered(seen, 0.05, 1.04, stream));
        boxes.push(jittered(seen, 0.07, 1.18, stream));
        boxes.push(part(seen, stream));
        boxes.push(shifted(seen, stream));
    }
    for _ in 0..2 {
        let first = pick(stream, &picture.visible);
        let second = pick(stream, &picture.visible);
        boxes.push(first.enclosing(&second));
    }
    boxes.extend((0..6).map(|_| emptiest(picture, stream)));
    while boxes.len() < REGIONS {
        boxes.push(anywhere(stream, 24.0, 110.0));
    }
    boxes.truncate(REGIONS);
    permutation(stream, boxes.len())
        .into_iter()
        .map(|index| boxes[index])
        .collect()
}

fn jittered(seen: &PixelBox, jitter: f32, scale: f32, stream: &mut Stream) -> PixelBox {
    let centre = seen.centre();
    let centre = [
        centre[0] + seen.width() * between(stream, -jitter, jitter),
        centre[1] + seen.height() * between(stream, -jitter, jitter),
    ];
    let width = seen.width() * scale * between(stream, 1.0 - jitter, 1.0 + jitter);
    let height = seen.height() * scale * between(stream, 1.0 - jitter, 1.0 + jitter);
    PixelBox::fitted(centre, width, height)
}

/// A box on about a quarter of a figure, at one of its corners.
fn part(seen: &PixelBox, stream: &mut Stream) -> PixelBox {
    let corner = [pick(stream, &[-0.25, 0.25]), pick(stream, &[-0.25, 0.25])];
    let centre = seen.centre();
    let centre = [
        centre[0] + corner[0] * seen.width(),
        centre[1] + corner[1] * seen.height(),
    ];
    let scale = between(stream, 0.45, 0.62);
    PixelBox::fitted(centre, scale * seen.width(), scale * seen.height())
}

/// A box of the size of a figure, shifted half off it.
fn shifted(seen: &PixelBox, stream: &mut Stream) -> PixelBox {
    let angle = between(stream, 0.0, std::f32::consts::TAU);
    let reach = between(stream, 0.55, 0.8);
    let centre = seen.centre();
    let centre = [
        centre[0] + reach * angle.cos() * seen.width(),
        centre[1] + reach * angle.sin() * seen.height(),
    ];
    PixelBox::fitted(centre, 1.1 * seen.width(), 1.1 * seen.height())
}

fn anywhere(stream: &mut Stream, least: f32, most: f32) -> PixelBox {
    let (width, height) = (between(stream, least, most), between(stream, least, most));
    let canvas = CANVAS as f32;
    let centre = [
        between(stream, width / 2.0, canvas - width / 2.0),
        between(stream, height / 2.0, canvas - height / 2.0),
    ];
    PixelBox::fitted(centre, width, height)
}

/// The box least covered by figures, of twelve random ones.
fn emptiest(picture: &Picture, stream: &mut Stream) -> PixelBox {
    let scale = 24.0 + 10.0 * below(stream, 4) as f32;
    let mut best = anywhere(stream, scale, scale + 16.0);
    for _ in 1..12 {
        let next = anywhere(stream, scale, scale + 16.0);
        if covered(&next, &picture.owners) < covered(&best, &picture.owners) {
            best = next;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use uard_core::random::Draws;

    use super::super::{family::families, raster::draw};
    use super::*;

    #[test]
    fn overlap_of_halves_is_a_third() {
        let left = PixelBox {
            x1: 0.0,
            y1: 0.0,
            x2: 20.0,
            y2: 10.0,
        };
        let right = PixelBox {
            x1: 10.0,
            y1: 0.0,
            x2: 30.0,
            y2: 10.0,
        };
        assert!((left.overlap(&right) - 1.0 / 3.0).abs() < 1e-6);
        assert!((left.overlap(&left) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn every_figure_has_two_boxes_and_the_background_one() {
        let draws = Draws::new(8);
        for (index, family) in families(&draws, 0, 60).iter().enumerate() {
            let mut stream = draws.stream("test", &[index as u64]);
            let picture = draw(&family.siblings[0], &mut stream);
            let boxes = regions(&picture, &mut stream);
            assert_eq!(boxes.len(), REGIONS);
            for seen in &picture.visible {
                let showing = boxes
                    .iter()
                    .filter(|b| b.overlap(seen) >= SHOWS_FIGURE)
                    .count();
                assert!((2..=4).contains(&showing), "{showing}");
            }
            let empty = |b: &&PixelBox| covered(b, &picture.owners) <= SHOWS_BACKGROUND;
            assert!(boxes.iter().filter(empty).count() >= 1);
        }
    }
}
