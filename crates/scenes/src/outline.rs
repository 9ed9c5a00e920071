//! The signed distance of a point from the edge of a shape, negative inside.

use std::f32::consts::{FRAC_PI_2, PI};

use super::attributes::Shape;

/// The edge of a shape in units of its radius.
#[derive(Debug, Clone)]
pub(super) enum Outline {
    /// A disc of this radius.
    Disc(f32),
    /// The band between an inner and an outer radius.
    Band(f32, f32),
    /// A closed polygon.
    Polygon(Vec<[f32; 2]>),
}

impl Outline {
    /// The outline of a shape; y grows downwards.
    pub(super) fn new(shape: Shape) -> Self {
        match shape {
            Shape::Circle => Self::Disc(0.96),
            Shape::Ring => Self::Band(0.5, 0.97),
            Shape::Square => Self::Polygon(vec![
                [-0.86, -0.86],
                [0.86, -0.86],
                [0.86, 0.86],
                [-0.86, 0.86],
            ]),
            Shape::Triangle => Self::Polygon(vec![[0.0, -0.96], [0.98, 0.8], [-0.98, 0.8]]),
            Shape::Diamond => {
                Self::Polygon(vec![[0.0, -1.0], [0.64, 0.0], [0.0, 1.0], [-0.64, 0.0]])
            }
            Shape::Star => Self::Polygon(star()),
            Shape::Cross => Self::Polygon(cross()),
            Shape::Heart => Self::Polygon(heart()),
        }
    }

    /// The signed distance of a point, in the same unit.
    pub(super) fn distance(&self, point: [f32; 2]) -> f32 {
        let length = point[0].hypot(point[1]);
        match self {
            Self::Disc(radius) => length - radius,
            Self::Band(inner, outer) => (inner - length).max(length - outer),
            Self::Polygon(corners) => polygon_distance(corners, point),
        }
    }
}

fn star() -> Vec<[f32; 2]> {
    (0..10)
        .map(|corner| {
            let radius = if corner % 2 == 0 { 1.06 } else { 0.47 };
            let angle = corner as f32 * PI / 5.0 - FRAC_PI_2;
            [radius * angle.cos(), radius * angle.sin()]
        })
        .collect()
}

fn cross() -> Vec<[f32; 2]> {
    let (arm, half) = (0.96, 0.32);
    let quarter = [[half, -arm], [half, -half], [arm, -half]];
    (0..4)
        .flat_map(|turns| {
            quarter.map(|[x, y]| match turns {
                0 => [x, y],
                1 => [-y, x],
                2 => [-x, -y],
                _ => [y, -x],
            })
        })
        .collect()
}

/// The curve x = 16 sin³t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, at 36 points.
fn heart() -> Vec<[f32; 2]> {
    (0..36)
        .map(|step| {
            let t = step as f32 * PI / 18.0;
            let y =
                13.0 * t.cos() - 5.0 * (2.0 * t).cos() - 2.0 * (3.0 * t).cos() - (4.0 * t).cos();
            [t.sin().powi(3) * 0.98, -(y + 2.5) / 15.0]
        })
        .collect()
}

fn polygon_distance(corners: &[[f32; 2]], point: [f32; 2]) -> f32 {
    let mut nearest = f32::INFINITY;
    let mut inside = false;
    let mut previous = corners[corners.len() - 1];
    for &corner in corners {
        let edge = [corner[0] - previous[0], corner[1] - previous[1]];
        let to = [point[0] - previous[0], point[1] - previous[1]];
        let along = (to[0] * edge[0] + to[1] * edge[1]) / (edge[0] * edge[0] + edge[1] * edge[1]);
        let along = along.clamp(0.0, 1.0);
        let gap = [to[0] - along * edge[0], to[1] - along * edge[1]];
        nearest = nearest.min(gap[0] * gap[0] + gap[1] * gap[1]);
        if (previous[1] > point[1]) != (corner[1] > point[1]) && to[0] < edge[0] * to[1] / edge[1] {
            inside = !inside;
        }
        previous = corner;
    }
    if inside {
        -nearest.sqrt()
    } else {
        nearest.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centre_is_inside_every_shape_but_the_ring() {
        for shape in Shape::ALL {
            let distance = Outline::new(shape).distance([0.0, 0.05]);
            assert_eq!(distance > 0.0, shape == Shape::Ring, "{shape:?} {distance}");
        }
    }

    #[test]
    fn far_point_is_outside_by_its_distance() {
        for shape in Shape::ALL {
            let distance = Outline::new(shape).distance([10.0, 0.0]);
            assert!((8.9..9.5).contains(&distance), "{shape:?} {distance}");
        }
    }

    #[test]
    fn square_distance_is_exact() {
        let square = Outline::new(Shape::Square);
        assert!((square.distance([0.0, 0.0]) + 0.86).abs() < 1e-6);
        assert!((square.distance([1.86, 0.0]) - 1.0).abs() < 1e-6);
    }
}
