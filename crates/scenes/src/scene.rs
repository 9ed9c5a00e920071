//! What is in a scene, and how do two figures lie to each other?

use super::attributes::{Attributes, Background};

/// Width and height of a scene in pixels.
pub const CANVAS: usize = 192;

/// One drawn thing: what can be said of it, and where exactly it lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figure {
    pub(super) attributes: Attributes,
    /// x and y in pixels.
    pub(super) centre: [f32; 2],
    /// Half the extent in pixels.
    pub(super) radius: f32,
    /// Rotation of the outline in radians.
    pub(super) turn: f32,
    /// Direction of stripes in radians, against the outline.
    pub(super) grain: f32,
}

/// Figures in the order in which they are drawn: a later one hides an earlier one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scene {
    pub(super) figures: Vec<Figure>,
    pub(super) background: Background,
}

/// How one figure lies to another.
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

    /// Whether `subject` lies so to `other`.
    ///
    /// A direction holds from 30 pixels on and within 40 degrees of its axis; a diagonal has none.
    /// Figures are beside each other when less than 16 pixels lie between their circles.
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
