//! The statement of a caption (its claim) in a form that can be checked against a scene.

use super::attributes::{Attributes, Background, Kind};
use super::scene::{Figure, Relation, Scene};

/// A figure in a caption: its attributes, and which of them the caption names. The shape is always named.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mention {
    /// The index of the figure in the described scene.
    pub(super) figure: usize,
    pub(super) attributes: Attributes,
    /// The named attributes.
    pub(super) named: Vec<Kind>,
}

impl Mention {
    pub(super) fn names(&self, kind: Kind) -> bool {
        self.named.contains(&kind)
    }

    fn fits(&self, figure: &Figure) -> bool {
        self.named
            .iter()
            .all(|kind| self.attributes.agree(&figure.attributes, *kind))
    }
}

/// The attributes of the background that a caption names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BackgroundMention {
    /// Only the tone: "on a grey background".
    Tone,
    /// Only the pattern: "on a wavy background".
    Pattern,
    /// Tone and pattern.
    Both,
}

/// Everything that a caption states.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Claim {
    pub(super) mentions: Vec<Mention>,
    /// The relation of the first figure to the second.
    pub(super) relation: Option<Relation>,
    pub(super) background: Option<(BackgroundMention, Background)>,
    /// The number of figures in the scene.
    pub(super) count: Option<usize>,
}

impl Claim {
    /// Whether the claim is true of a scene: background, count and relation fit, and each mention
    /// fits a figure of its own.
    pub(super) fn holds(&self, scene: &Scene) -> bool {
        let background = self.background.is_none_or(|(mention, described)| {
            let tone =
                mention == BackgroundMention::Pattern || described.tone == scene.background.tone;
            let pattern =
                mention == BackgroundMention::Tone || described.pattern == scene.background.pattern;
            tone && pattern
        });
        let count = self.count.is_none_or(|count| count == scene.figures.len());
        background && count && self.fits_figures(scene, &mut Vec::new())
    }

    /// Whether figures that are not `chosen` fit the remaining mentions and the relation.
    fn fits_figures(&self, scene: &Scene, chosen: &mut Vec<usize>) -> bool {
        let Some(mention) = self.mentions.get(chosen.len()) else {
            return self.relation.is_none_or(|relation| {
                relation.holds(&scene.figures[chosen[0]], &scene.figures[chosen[1]])
            });
        };
        for (index, figure) in scene.figures.iter().enumerate() {
            if chosen.contains(&index) || !mention.fits(figure) {
                continue;
            }
            chosen.push(index);
            if self.fits_figures(scene, chosen) {
                return true;
            }
            chosen.pop();
        }
        false
    }
}
