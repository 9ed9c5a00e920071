//! Writes the five captions of each scene. All are true of it, and at least four are false of its siblings.

use std::collections::BTreeSet;

use uard_core::random::{Draws, Stream, permutation};

use super::attributes::{Kind, Texture};
use super::chance::{below, happens, pick};
use super::claim::{BackgroundMention, Claim, Mention};
use super::family::Family;
use super::grammar::{self, Caption};
use super::scene::{Relation, Scene};

/// The number of captions of a scene.
pub const CAPTIONS: usize = 5;

/// The number of captions of a scene that are false of its siblings; the others may describe anything.
const DISTINGUISHING: usize = 4;

/// The number of attempts to find a caption that is false of the siblings and not used in the split.
const ATTEMPTS: usize = 40;

/// A caption and what it claims.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) caption: Caption,
    #[cfg_attr(not(test), allow(dead_code, reason = "read by tests only"))]
    pub(super) claim: Claim,
}

/// The captions of every scene of a split, five each, no text twice.
pub(super) fn captions(draws: &Draws, split: u64, families: &[Family]) -> Vec<Vec<Described>> {
    let mut used = BTreeSet::new();
    let mut all = Vec::new();
    for family in families {
        for sibling in 0..family.siblings.len() {
            let mut stream = draws.stream("scene captions", &[split, all.len() as u64]);
            let five = (0..CAPTIONS)
                .map(|number| {
                    let distinguishes = number < DISTINGUISHING && family.siblings.len() > 1;
                    let focus = distinguishes.then_some((family.figure, family.kind));
                    describe(family, sibling, focus, &mut used, &mut stream)
                })
                .collect();
            all.push(five);
        }
    }
    all
}

/// Writes a caption of one scene of a family. `focus` is the figure and attribute that the caption
/// must name, because this attribute differs in the siblings.
fn describe(
    family: &Family,
    sibling: usize,
    focus: Option<(usize, Kind)>,
    used: &mut BTreeSet<String>,
    stream: &mut Stream,
) -> Described {
    let scene = &family.siblings[sibling];
    let mut attempt = 0;
    loop {
        attempt += 1;
        let claim = claim(scene, focus, stream);
        let others = family
            .siblings
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != sibling);
        let distinguishes = focus.is_none() || others.clone().all(|(_, other)| !claim.holds(other));
        let caption = grammar::write_caption(&claim, stream);
        if attempt >= ATTEMPTS || (distinguishes && !used.contains(&caption.text)) {
            used.insert(caption.text.clone());
            return Described { caption, claim };
        }
    }
}

fn claim(scene: &Scene, focus: Option<(usize, Kind)>, stream: &mut Stream) -> Claim {
    let order = mentioned_figures(scene, focus, stream);
    let relation = order.get(1).and_then(|&second| {
        let (first, second) = (&scene.figures[order[0]], &scene.figures[second]);
        let holding: Vec<Relation> = Relation::ALL
            .into_iter()
            .filter(|r| r.holds(first, second))
            .collect();
        (!holding.is_empty() && happens(stream, 0.75)).then(|| pick(stream, &holding))
    });
    let mentions: Vec<Mention> = order
        .iter()
        .map(|&figure| {
            let focus = focus
                .filter(|(focused, _)| *focused == figure)
                .map(|(_, kind)| kind);
            mention(scene, figure, focus, order.len(), stream)
        })
        .collect();
    let background = happens(stream, 0.25).then(|| {
        let mentions = [
            BackgroundMention::Tone,
            BackgroundMention::Pattern,
            BackgroundMention::Both,
        ];
        (pick(stream, &mentions), scene.background)
    });
    let count = (order.len() == 1 && happens(stream, 0.2)).then_some(scene.figures.len());
    Claim {
        mentions,
        relation,
        background,
        count,
    }
}

/// The one to three figures of a caption in its order, the focused one among them.
fn mentioned_figures(
    scene: &Scene,
    focus: Option<(usize, Kind)>,
    stream: &mut Stream,
) -> Vec<usize> {
    let count = pick(stream, &[1, 1, 1, 2, 2, 2, 2, 2, 3, 3]);
    let mut order = permutation(stream, scene.figures.len());
    if let Some((figure, _)) = focus {
        order.retain(|other| *other != figure);
        order.insert(below(stream, count), figure);
    }
    order.truncate(count);
    order
}

/// A figure and the attributes that the caption names: more if it is the only figure.
fn mention(
    scene: &Scene,
    figure: usize,
    focus: Option<Kind>,
    figures: usize,
    stream: &mut Stream,
) -> Mention {
    let attributes = scene.figures[figure].attributes;
    let alone = if figures == 1 { 0.25 } else { 0.0 };
    let texture = if attributes.texture == Texture::Plain {
        0.08
    } else {
        0.4 + alone
    };
    let mut named = vec![Kind::Shape];
    let chances = [
        (Kind::Colour, 0.88),
        (Kind::Size, 0.3 + alone),
        (Kind::Texture, texture),
        (Kind::Cell, 0.08 + 1.6 * alone),
    ];
    for (kind, chance) in chances {
        if happens(stream, chance) || focus == Some(kind) {
            named.push(kind);
        }
    }
    Mention {
        figure,
        attributes,
        named,
    }
}

#[cfg(test)]
mod tests {
    use super::super::family::families;
    use super::*;

    fn split() -> (Vec<Family>, Vec<Vec<Described>>) {
        let draws = Draws::new(0);
        let families = families(&draws, 2, 200);
        let captions = captions(&draws, 2, &families);
        (families, captions)
    }

    #[test]
    fn every_claim_is_true_of_its_scene() {
        let (families, captions) = split();
        let scenes = families.iter().flat_map(|f| &f.siblings);
        for (scene, five) in scenes.zip(&captions) {
            assert_eq!(five.len(), CAPTIONS);
            assert!(five.iter().all(|described| described.claim.holds(scene)));
        }
    }

    #[test]
    fn no_caption_is_used_twice() {
        let (_, captions) = split();
        let texts: BTreeSet<&str> = captions
            .iter()
            .flatten()
            .map(|d| d.caption.text.as_str())
            .collect();
        assert_eq!(texts.len(), captions.len() * CAPTIONS);
    }

    #[test]
    fn distinguishing_captions_are_false_of_siblings() {
        let (families, captions) = split();
        let mut captions = captions.iter();
        for family in &families {
            for own in 0..family.siblings.len() {
                let five = captions.next().expect("five captions for every scene");
                for (other, sibling) in family.siblings.iter().enumerate() {
                    let count = five.iter().filter(|d| !d.claim.holds(sibling)).count();
                    assert!(other == own || count >= DISTINGUISHING, "{count}");
                }
            }
        }
    }

    #[test]
    fn few_captions_hold_for_scenes_of_other_families() {
        let (families, captions) = split();
        let scenes: Vec<&Scene> = families.iter().flat_map(|f| &f.siblings).collect();
        let claims = captions.iter().flatten();
        let holding: usize = claims
            .map(|d| scenes.iter().filter(|scene| d.claim.holds(scene)).count())
            .sum();
        let mean = holding as f64 / (captions.len() * CAPTIONS) as f64;
        println!("a caption holds for {mean:.2} of {} scenes", scenes.len());
        // Each caption holds for its own scene, and the fifth caption often for the siblings too.
        assert!(mean < 3.5, "{mean}");
    }
}
