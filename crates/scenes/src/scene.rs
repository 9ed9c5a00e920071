//! Scenes, their figures, and the spatial relations of two figures.

use super::attributes::{Attributes, Background};

/// Width and height of a scene in pixels.
pub const CANVAS: usize = 192;

/// A drawn figure: the attributes that captions name, and its exact geometry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figure {
    pub(super) attributes: Attributes,
    /// x and y in pixels.
    pub(super) centre: [f32; 2],
    /// Half the extent in pixels.
    pub(super) radius: f32,
    /// Rotation of the outline in radians.
    pub(super) rotation: f32,
    /// Angle of stripes in radians, relative to the outline.
    pub(super) stripe_angle: f32,
}

/// Figures in drawing order (a later one covers an earlier one) and the background.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scene {
    pub(super) figures: Vec<Figure>,
    pub(super) background: Background,
}

/// The spatial relation of one figure to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    LeftOf,
    RightOf,
    Above,
    Below,
    Beside,
}

impl Relation {
    pub(super) const ALL: [Self; 5] = [
        Self::LeftOf,
        Self::RightOf,
        Self::Above,
        Self::Below,
        Self::Beside,
    ];

    /// Whether `subject` has this relation to `other`.
    ///
    /// A direction holds from a distance of 30 pixels and within 40 degrees of its axis, so it does not
    /// hold on a diagonal. Figures are beside each other if less than 16 pixels lie between their circles.
    pub(super) fn holds(self, subject: &Figure, other: &Figure) -> bool {
        let x = other.centre[0] - subject.centre[0];
        let y = other.centre[1] - subject.centre[1];
        let along = |ahead: f32, aside: f32| ahead > 30.0 && ahead > 1.2 * aside.abs();
        match self {
            Self::LeftOf => along(x, y),
            Self::RightOf => along(-x, y),
            Self::Above => along(y, x),
            Self::Below => along(-y, x),
            Self::Beside => x.hypot(y) < subject.radius + other.radius + 16.0,
        }
    }
}
