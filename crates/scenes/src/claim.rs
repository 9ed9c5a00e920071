//! What does a caption claim, and is it true of a scene?

use super::attributes::{Attributes, Background, Kind};
use super::scene::{Figure, Relation, Scene};

/// A figure spoken of: its attributes, and which of them are said. The shape is always said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mention {
    /// The figure's number in the scene that is described.
    pub(super) figure: usize,
    pub(super) attributes: Attributes,
    pub(super) said: Vec<Kind>,
}

impl Mention {
    pub(super) fn says(&self, kind: Kind) -> bool {
        self.said.contains(&kind)
    }

    fn fits(&self, figure: &Figure) -> bool {
        self.said
            .iter()
            .all(|kind| self.attributes.agree(&figure.attributes, *kind))
    }
}

/// What is said of the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// The tone alone: "on a grey background".
    Tone,
    /// The pattern alone: "on a wavy background".
    Pattern,
    /// Both.
    Full,
}

/// Everything a caption says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Claim {
    pub(super) mentions: Vec<Mention>,
    /// How the first figure lies to the second.
    pub(super) relation: Option<Relation>,
    pub(super) ground: Option<(Ground, Background)>,
    /// How many figures there are.
    pub(super) count: Option<usize>,
}

impl Claim {
    /// Whether different figures of the scene can be found for all mentions.
    pub(super) fn holds(&self, scene: &Scene) -> bool {
        let ground = self.ground.is_none_or(|(said, described)| {
            let tone = said == Ground::Pattern || described.tone == scene.background.tone;
            let pattern = said == Ground::Tone || described.pattern == scene.background.pattern;
            tone && pattern
        });
        let count = self.count.is_none_or(|count| count == scene.figures.len());
        ground && count && self.found(scene, &mut Vec::new())
    }

    fn found(&self, scene: &Scene, chosen: &mut Vec<usize>) -> bool {
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
            if self.found(scene, chosen) {
                return true;
            }
            chosen.pop();
        }
        false
    }
}
