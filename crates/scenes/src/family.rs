//! Draws families of scenes: siblings have the same figures, except for one attribute of one figure.

use uard_core::random::{Draws, Stream, permutation, uniform};

use super::attributes::{
    Attributes, Background, Colour, GridCell, Kind, Pattern, Shape, Size, Texture, Tone,
};
use super::chance::{below, between, happens, pick};
use super::scene::{CANVAS, Figure, Scene};

/// Two to four scenes, any two of which differ in one attribute of one figure.
#[derive(Debug, Clone)]
pub(super) struct Family {
    /// The figure that differs.
    pub(super) figure: usize,
    /// The attribute that differs.
    pub(super) kind: Kind,
    pub(super) siblings: Vec<Scene>,
}

/// The families of a split with `scenes` scenes in all.
///
/// The draws of a family are addressed by its index, so a longer split begins with the same families as a
/// shorter one, except for the last, whose size fills the split.
pub(super) fn families(draws: &Draws, split: u64, scenes: usize) -> Vec<Family> {
    let mut families = Vec::new();
    let mut left = scenes;
    while left > 0 {
        let mut stream = draws.stream("scene family", &[split, families.len() as u64]);
        let family = family(&mut stream, left);
        left -= family.siblings.len();
        families.push(family);
    }
    families
}

fn family(stream: &mut Stream, most: usize) -> Family {
    let attributes = distinct_figures(stream);
    let background = Background {
        pattern: pick(stream, &Pattern::ALL),
        tone: pick(stream, &Tone::ALL),
    };
    let offsets: Vec<[f32; 2]> = attributes.iter().map(|_| offset(stream, 13.0)).collect();
    let figure = below(stream, attributes.len());
    let kind = pick(stream, &Kind::ALL);
    let mut variants = variants(stream, &attributes, figure, kind);
    variants.truncate(family_size(stream, variants.len(), most));
    let siblings = variants
        .into_iter()
        .map(|variant| {
            let mut figures = attributes.clone();
            figures[figure] = variant;
            let figures = figures
                .iter()
                .zip(&offsets)
                .map(|(a, o)| place_figure(stream, *a, *o))
                .collect();
            Scene {
                figures,
                background,
            }
        })
        .collect();
    Family {
        figure,
        kind,
        siblings,
    }
}

/// The number of siblings: two to four, at most as many as there are variants, and such that no
/// single scene remains for the next family.
fn family_size(stream: &mut Stream, variants: usize, most: usize) -> usize {
    let size = 2 + below(stream, variants.min(4) - 1);
    match most {
        0..=3 => most,
        _ if most == size + 1 => size - 1,
        _ => size,
    }
}

/// Three to six figures in different cells, no two of the same shape and colour.
fn distinct_figures(stream: &mut Stream) -> Vec<Attributes> {
    let count = 3 + below(stream, 4);
    let cells = permutation(stream, GridCell::COUNT);
    let mut figures: Vec<Attributes> = Vec::new();
    while figures.len() < count {
        let shape = pick(stream, &Shape::ALL);
        let colour = pick(stream, &Colour::ALL);
        let size = pick(stream, &Size::ALL);
        let texture = if happens(stream, 0.35) {
            Texture::Plain
        } else {
            pick(stream, &Texture::ALL[1..])
        };
        let cell = GridCell(cells[figures.len()] as u8);
        if !figures
            .iter()
            .any(|f| f.shape == shape && f.colour == colour)
        {
            figures.push(Attributes {
                shape,
                colour,
                size,
                texture,
                cell,
            });
        }
    }
    figures
}

/// Every value of one attribute that keeps the figures distinct, in random order.
fn variants(
    stream: &mut Stream,
    figures: &[Attributes],
    figure: usize,
    kind: Kind,
) -> Vec<Attributes> {
    let base = figures[figure];
    let all: Vec<Attributes> = match kind {
        Kind::Shape => Shape::ALL
            .iter()
            .map(|&shape| Attributes { shape, ..base })
            .collect(),
        Kind::Colour => Colour::ALL
            .iter()
            .map(|&colour| Attributes { colour, ..base })
            .collect(),
        Kind::Size => Size::ALL
            .iter()
            .map(|&size| Attributes { size, ..base })
            .collect(),
        Kind::Texture => Texture::ALL
            .iter()
            .map(|&texture| Attributes { texture, ..base })
            .collect(),
        Kind::Cell => (0..GridCell::COUNT as u8)
            .map(|cell| Attributes {
                cell: GridCell(cell),
                ..base
            })
            .collect(),
    };
    let free = |candidate: &Attributes| {
        figures
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != figure)
            .all(|(_, other)| {
                other.cell != candidate.cell
                    && (other.shape != candidate.shape || other.colour != candidate.colour)
            })
    };
    let order = permutation(stream, all.len());
    order
        .into_iter()
        .map(|index| all[index])
        .filter(free)
        .collect()
}

fn offset(stream: &mut Stream, reach: f32) -> [f32; 2] {
    let draws = uniform(stream, -reach, reach, 2);
    [draws[0], draws[1]]
}

/// A figure in its cell. `shared` is the offset of all siblings; each sibling adds up to three
/// pixels of its own.
fn place_figure(stream: &mut Stream, attributes: Attributes, shared: [f32; 2]) -> Figure {
    let radius = attributes.size.radius() * between(stream, 0.96, 1.04);
    let own = offset(stream, 3.0);
    let cell = attributes.cell.centre();
    let (low, high) = (radius + 2.0, CANVAS as f32 - radius - 2.0);
    let centre = [0, 1].map(|axis| (cell[axis] + shared[axis] + own[axis]).clamp(low, high));
    let rotation = match attributes.shape {
        Shape::Circle | Shape::Ring | Shape::Star => between(stream, -0.6, 0.6),
        _ => between(stream, -0.2, 0.2),
    };
    let stripe_angle = between(stream, 0.0, std::f32::consts::PI);
    Figure {
        attributes,
        centre,
        radius,
        rotation,
        stripe_angle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences(a: &Scene, b: &Scene) -> Vec<(usize, Kind)> {
        let mut found = Vec::new();
        for (index, (left, right)) in a.figures.iter().zip(&b.figures).enumerate() {
            for kind in Kind::ALL {
                if !left.attributes.agree(&right.attributes, kind) {
                    found.push((index, kind));
                }
            }
        }
        found
    }

    #[test]
    fn siblings_differ_in_exactly_one_attribute() {
        for family in families(&Draws::new(5), 0, 300) {
            for (index, first) in family.siblings.iter().enumerate() {
                for second in &family.siblings[index + 1..] {
                    assert_eq!(first.background, second.background);
                    assert_eq!(differences(first, second), [(family.figure, family.kind)]);
                }
            }
        }
    }

    #[test]
    fn every_scene_has_a_sibling() {
        for scenes in 2..60 {
            let families = families(&Draws::new(1), 1, scenes);
            let sizes: Vec<usize> = families.iter().map(|f| f.siblings.len()).collect();
            assert_eq!(sizes.iter().sum::<usize>(), scenes);
            assert!(
                sizes.iter().all(|size| (2..=4).contains(size)),
                "{scenes}: {sizes:?}"
            );
        }
    }

    #[test]
    fn figures_of_a_scene_are_three_to_six_and_distinct() {
        for scene in families(&Draws::new(2), 0, 200)
            .iter()
            .flat_map(|f| &f.siblings)
        {
            assert!((3..=6).contains(&scene.figures.len()));
            for (index, a) in scene.figures.iter().enumerate() {
                for b in &scene.figures[index + 1..] {
                    let (a, b) = (a.attributes, b.attributes);
                    assert!(a.cell != b.cell && (a.shape, a.colour) != (b.shape, b.colour));
                }
            }
        }
    }
}
