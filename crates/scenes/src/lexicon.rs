//! The words of each attribute value: synonyms, the most common first.

use uard_core::random::Stream;

use super::attributes::{Colour, GridCell, Pattern, Shape, Size, Texture, Tone};
use super::chance::{happens, pick};
use super::scene::Relation;

/// A random synonym: the first in more than half of all cases.
pub(super) fn word(stream: &mut Stream, synonyms: &[&'static str]) -> &'static str {
    if happens(stream, 0.45) {
        synonyms[0]
    } else {
        pick(stream, synonyms)
    }
}

pub(super) fn shape(shape: Shape) -> &'static [&'static str] {
    match shape {
        Shape::Circle => &["circle", "disc", "ball"],
        Shape::Square => &["square", "box", "block"],
        Shape::Triangle => &["triangle", "wedge"],
        Shape::Star => &["star"],
        Shape::Ring => &["ring", "hoop", "donut"],
        Shape::Cross => &["cross", "plus"],
        Shape::Diamond => &["diamond", "rhombus"],
        Shape::Heart => &["heart"],
    }
}

pub(super) fn colour(colour: Colour) -> &'static [&'static str] {
    match colour {
        Colour::Red => &["red", "crimson", "scarlet"],
        Colour::Orange => &["orange", "tangerine"],
        Colour::Yellow => &["yellow", "golden"],
        Colour::Green => &["green", "emerald"],
        Colour::Cyan => &["cyan", "turquoise"],
        Colour::Blue => &["blue", "cobalt"],
        Colour::Purple => &["purple", "violet"],
        Colour::Pink => &["pink", "rosy"],
    }
}

pub(super) fn size(size: Size) -> &'static [&'static str] {
    match size {
        Size::Small => &["small", "little", "tiny"],
        Size::Medium => &["medium", "middling"],
        Size::Large => &["large", "big", "huge"],
    }
}

pub(super) fn texture(texture: Texture) -> &'static [&'static str] {
    match texture {
        Texture::Plain => &["plain", "solid"],
        Texture::Striped => &["striped", "stripy", "banded"],
        Texture::Dotted => &["dotted", "spotted"],
        Texture::Checked => &["checked", "checkered"],
    }
}

/// The texture as a noun after "with"; a plain figure has none.
pub(super) fn texture_noun(texture: Texture) -> Option<&'static [&'static str]> {
    match texture {
        Texture::Plain => None,
        Texture::Striped => Some(&["stripes", "bands"]),
        Texture::Dotted => Some(&["dots", "spots"]),
        Texture::Checked => Some(&["checks"]),
    }
}

pub(super) fn tone(tone: Tone) -> &'static [&'static str] {
    match tone {
        Tone::White => &["white", "pale"],
        Tone::Beige => &["beige", "sandy"],
        Tone::Grey => &["grey"],
        Tone::Dark => &["dark", "black"],
    }
}

pub(super) fn pattern(pattern: Pattern) -> &'static [&'static str] {
    match pattern {
        Pattern::Smooth => &["smooth", "even"],
        Pattern::Wavy => &["wavy", "rippled"],
        Pattern::Speckled => &["speckled", "grainy"],
        Pattern::Cloudy => &["cloudy", "blotchy"],
        Pattern::Gridded => &["gridded", "tiled"],
    }
}

/// Nouns for the background.
pub(super) const BACKGROUND: &[&str] = &["background", "ground", "backdrop"];

/// Prepositions before the background.
pub(super) const BEFORE_BACKGROUND: &[&str] = &["on", "against", "in front of"];

/// Phrases for a relation.
pub(super) fn relation(relation: Relation) -> &'static [&'static str] {
    match relation {
        Relation::LeftOf => &["left of", "to the left of", "on the left side of"],
        Relation::RightOf => &["right of", "to the right of", "on the right side of"],
        Relation::Above => &["above", "over", "higher up than"],
        Relation::Below => &["below", "under", "beneath"],
        Relation::Beside => &["beside", "next to", "close to"],
    }
}

/// Phrases for a cell of the grid.
pub(super) fn cell(cell: GridCell) -> &'static [&'static str] {
    match cell.0 {
        0 => &["in the top left corner", "at the upper left"],
        1 => &["at the top", "at the upper edge"],
        2 => &["in the top right corner", "at the upper right"],
        3 => &["on the left", "at the left edge"],
        4 => &["in the middle", "in the centre"],
        5 => &["on the right", "at the right edge"],
        6 => &["in the bottom left corner", "at the lower left"],
        7 => &["at the bottom", "at the lower edge"],
        _ => &["in the bottom right corner", "at the lower right"],
    }
}

/// A count in words; three to six are the numbers of figures in a scene.
pub(super) fn count(count: usize) -> &'static str {
    match count {
        3 => "three",
        4 => "four",
        5 => "five",
        6 => "six",
        _ => "several",
    }
}
