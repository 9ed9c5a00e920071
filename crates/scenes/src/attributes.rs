//! The attributes of a figure (shape, colour, size, texture and grid cell) and of the background (pattern
//! and tone), with their values.

/// The outline of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
    Ring,
    Cross,
    Diamond,
    Heart,
}

impl Shape {
    pub(super) const ALL: [Self; 8] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Ring,
        Self::Cross,
        Self::Diamond,
        Self::Heart,
    ];
}

/// The hue of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Cyan,
    Blue,
    Purple,
    Pink,
}

impl Colour {
    pub(super) const ALL: [Self; 8] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Cyan,
        Self::Blue,
        Self::Purple,
        Self::Pink,
    ];

    /// Red, green and blue in `[0, 255]`.
    pub(super) fn rgb(self) -> [f32; 3] {
        match self {
            Self::Red => [205.0, 28.0, 36.0],
            Self::Orange => [243.0, 128.0, 20.0],
            Self::Yellow => [246.0, 215.0, 36.0],
            Self::Green => [38.0, 150.0, 52.0],
            Self::Cyan => [30.0, 200.0, 205.0],
            Self::Blue => [34.0, 78.0, 205.0],
            Self::Purple => [118.0, 42.0, 168.0],
            Self::Pink => [248.0, 100.0, 180.0],
        }
    }

    /// The shade of stripes, dots and checks: the same hue, lighter on dark colours and darker on
    /// light ones, so that a texture never looks like another colour.
    pub(super) fn mark(self) -> [f32; 3] {
        let (towards, part) = match self {
            Self::Red | Self::Green | Self::Blue | Self::Purple => (255.0, 0.62),
            Self::Orange | Self::Yellow | Self::Cyan | Self::Pink => (0.0, 0.5),
        };
        self.rgb()
            .map(|channel| channel + part * (towards - channel))
    }
}

/// The extent of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Medium,
    Large,
}

impl Size {
    pub(super) const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// Half the extent, in pixels; the radius of a drawn figure differs from it by at most 4 %.
    pub(super) fn radius(self) -> f32 {
        match self {
            Self::Small => 13.0,
            Self::Medium => 20.5,
            Self::Large => 30.5,
        }
    }
}

/// The pattern on a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texture {
    Plain,
    Striped,
    Dotted,
    Checked,
}

impl Texture {
    pub(super) const ALL: [Self; 4] = [Self::Plain, Self::Striped, Self::Dotted, Self::Checked];
}

/// The position of a figure: a cell of the three by three grid, counted row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GridCell(pub(super) u8);

impl GridCell {
    pub(super) const COUNT: usize = 9;

    /// The centre of the cell, x and y in pixels.
    pub(super) fn centre(self) -> [f32; 2] {
        const AXIS: [f32; 3] = [35.0, 96.0, 157.0];
        [AXIS[usize::from(self.0 % 3)], AXIS[usize::from(self.0 / 3)]]
    }
}

/// The name of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Shape,
    Colour,
    Size,
    Texture,
    Cell,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::Shape,
        Self::Colour,
        Self::Size,
        Self::Texture,
        Self::Cell,
    ];
}

/// The attributes of a figure that a caption may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) shape: Shape,
    pub(super) colour: Colour,
    pub(super) size: Size,
    pub(super) texture: Texture,
    pub(super) cell: GridCell,
}

impl Attributes {
    /// Whether both figures have the same value of an attribute.
    pub(super) fn agree(&self, other: &Self, kind: Kind) -> bool {
        match kind {
            Kind::Shape => self.shape == other.shape,
            Kind::Colour => self.colour == other.colour,
            Kind::Size => self.size == other.size,
            Kind::Texture => self.texture == other.texture,
            Kind::Cell => self.cell == other.cell,
        }
    }
}

/// The pattern of the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    Smooth,
    Wavy,
    Speckled,
    Cloudy,
    Gridded,
}

impl Pattern {
    pub(super) const ALL: [Self; 5] = [
        Self::Smooth,
        Self::Wavy,
        Self::Speckled,
        Self::Cloudy,
        Self::Gridded,
    ];
}

/// The tone of the background: four colours that no figure has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    White,
    Beige,
    Grey,
    Dark,
}

impl Tone {
    pub(super) const ALL: [Self; 4] = [Self::White, Self::Beige, Self::Grey, Self::Dark];

    /// Red, green and blue in `[0, 255]`.
    pub(super) fn rgb(self) -> [f32; 3] {
        match self {
            Self::White => [232.0, 233.0, 235.0],
            Self::Beige => [206.0, 190.0, 160.0],
            Self::Grey => [140.0, 143.0, 148.0],
            Self::Dark => [52.0, 54.0, 60.0],
        }
    }
}

/// The background behind the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Background {
    pub(super) pattern: Pattern,
    pub(super) tone: Tone,
}
