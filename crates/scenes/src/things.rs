//! What a scene truly shows, whether or not a caption says it: the words of each figure with the box
//! around its visible part, and the words of the background.

use uard_data::dataset::Thing;

use super::lexicon;
use super::regions::PixelBox;
use super::scene::{Figure, Scene};

/// The figures of a scene in drawing order, then its background; `visible` has the box around the
/// visible part of each figure.
pub(super) fn things(scene: &Scene, visible: &[PixelBox]) -> Vec<Thing> {
    let figures = scene.figures.iter().zip(visible);
    let figures = figures.map(|(figure, visible)| Thing {
        words: words_of_figure(figure),
        corners: Some([visible.x1, visible.y1, visible.x2, visible.y2]),
    });
    figures.chain([background(scene)]).collect()
}

fn words_of_figure(figure: &Figure) -> Vec<String> {
    let attributes = figure.attributes;
    texts(&[
        lexicon::shape(attributes.shape),
        lexicon::colour(attributes.colour),
        lexicon::size(attributes.size),
        lexicon::texture(attributes.texture),
        lexicon::texture_noun(attributes.texture).unwrap_or_default(),
    ])
}

fn background(scene: &Scene) -> Thing {
    Thing {
        words: texts(&[
            lexicon::BACKGROUND,
            lexicon::tone(scene.background.tone),
            lexicon::pattern(scene.background.pattern),
        ]),
        corners: None,
    }
}

fn texts(synonyms: &[&[&str]]) -> Vec<String> {
    synonyms.concat().into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use uard_core::random::Draws;

    use super::super::captions::captions;
    use super::super::family::families;
    use super::super::grammar::Referent;
    use super::*;

    /// What a scene shows, if all of it is visible.
    fn shown(scene: &Scene) -> Vec<Thing> {
        things(scene, &vec![PixelBox::WHOLE; scene.figures.len()])
    }

    #[test]
    fn every_content_word_of_a_caption_is_true_of_its_referent() {
        let draws = Draws::new(0);
        let families = families(&draws, 2, 200);
        let captions = captions(&draws, 2, &families);
        let scenes: Vec<Scene> = families.into_iter().flat_map(|f| f.siblings).collect();
        for (scene, five) in scenes.iter().zip(&captions) {
            let things = shown(scene);
            for caption in five.iter().map(|described| &described.caption) {
                let tokens = uard_data::tokens::tokenize(&caption.text);
                for (index, referent) in &caption.content {
                    let thing = match referent {
                        Referent::Background => things.last().unwrap(),
                        Referent::Figure(figure) => &things[*figure],
                    };
                    let token = &tokens[*index];
                    assert!(thing.words.contains(token), "{token} in {}", caption.text);
                }
            }
        }
    }

    #[test]
    fn a_figure_has_its_box_and_the_background_has_none() {
        let families = families(&Draws::new(0), 0, 1);
        let scene = &families[0].siblings[0];
        let mut visible = vec![PixelBox::WHOLE; scene.figures.len()];
        visible[0].x1 = 5.0;
        let things = things(scene, &visible);
        assert_eq!(things.len(), scene.figures.len() + 1);
        assert_eq!(things[0].corners, Some([5.0, 0.0, 192.0, 192.0]));
        let shape = lexicon::shape(scene.figures[0].attributes.shape);
        assert!(things[0].words.starts_with(&texts(&[shape])));
        let background = things.last().unwrap();
        assert_eq!(background.corners, None);
        assert!(background.words.contains(&"background".to_owned()));
    }
}
