//! What is true of a scene, whether or not a caption says it: the words of each figure with the box
//! around its visible part, and the words of the background.

use serde::Serialize;

use super::lexicon;
use super::regions::PixelBox;
use super::scene::{Figure, Scene};

/// The words of one attribute value: all its synonyms.
type Synonyms = &'static [&'static str];

/// Every word of figures and background that is true of a scene.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct SceneTruth {
    /// Figures in drawing order.
    pub(super) figures: Vec<FigureTruth>,
    pub(super) background: BackgroundTruth,
}

/// The words that are true of a figure, by attribute, and where it is seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct FigureTruth {
    pub(super) shape: Synonyms,
    pub(super) colour: Synonyms,
    pub(super) size: Synonyms,
    /// Adjectives ("striped"), then nouns ("stripes").
    pub(super) texture: Vec<&'static str>,
    /// The box around the visible part: x1, y1, x2, y2 in pixels.
    pub(super) visible: [f32; 4],
}

/// The words that are true of the background.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct BackgroundTruth {
    /// Nouns for any background.
    pub(super) noun: Synonyms,
    pub(super) tone: Synonyms,
    pub(super) pattern: Synonyms,
}

impl SceneTruth {
    /// The truth of a scene; `visible` has the box around the visible part of each figure.
    pub(super) fn new(scene: &Scene, visible: &[PixelBox]) -> Self {
        let figures = scene.figures.iter().zip(visible);
        Self {
            figures: figures
                .map(|(figure, visible)| FigureTruth::new(figure, visible))
                .collect(),
            background: BackgroundTruth {
                noun: lexicon::BACKGROUND,
                tone: lexicon::tone(scene.background.tone),
                pattern: lexicon::pattern(scene.background.pattern),
            },
        }
    }
}

impl FigureTruth {
    fn new(figure: &Figure, visible: &PixelBox) -> Self {
        let attributes = figure.attributes;
        let nouns = lexicon::texture_noun(attributes.texture).unwrap_or_default();
        Self {
            shape: lexicon::shape(attributes.shape),
            colour: lexicon::colour(attributes.colour),
            size: lexicon::size(attributes.size),
            texture: [lexicon::texture(attributes.texture), nouns].concat(),
            visible: [visible.x1, visible.y1, visible.x2, visible.y2],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uard_core::random::Draws;

    use super::super::captions::captions;
    use super::super::family::families;
    use super::super::grammar::Referent;
    use super::*;

    impl SceneTruth {
        /// Every word that is true of a figure or of the background.
        fn words(&self, referent: Referent) -> Vec<&'static str> {
            let background = &self.background;
            match referent {
                Referent::Background => {
                    [background.noun, background.tone, background.pattern].concat()
                }
                Referent::Figure(index) => {
                    let figure = &self.figures[index];
                    [figure.shape, figure.colour, figure.size, &figure.texture].concat()
                }
            }
        }
    }

    /// The truth of scenes whose figures are visible everywhere.
    fn truths(scenes: &[Scene]) -> Vec<SceneTruth> {
        scenes
            .iter()
            .map(|scene| SceneTruth::new(scene, &vec![PixelBox::WHOLE; scene.figures.len()]))
            .collect()
    }

    #[test]
    fn every_content_word_of_a_caption_is_true_of_its_referent() {
        let draws = Draws::new(0);
        let families = families(&draws, 2, 200);
        let captions = captions(&draws, 2, &families);
        let scenes: Vec<Scene> = families.into_iter().flat_map(|f| f.siblings).collect();
        for (truth, five) in truths(&scenes).iter().zip(&captions) {
            for caption in five.iter().map(|described| &described.caption) {
                let tokens = uard_data::tokens::tokenize(&caption.text);
                for (index, referent) in &caption.content {
                    let words = truth.words(*referent);
                    let token = tokens[*index].as_str();
                    assert!(words.contains(&token), "{token} in {}", caption.text);
                }
            }
        }
    }

    #[test]
    fn no_word_names_two_values() {
        let families = families(&Draws::new(0), 0, 200);
        let scenes: Vec<Scene> = families.into_iter().flat_map(|f| f.siblings).collect();
        let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for truth in truths(&scenes) {
            let background = truth.background;
            let mut lists = vec![
                background.noun.to_vec(),
                background.tone.to_vec(),
                background.pattern.to_vec(),
            ];
            for figure in truth.figures {
                lists.extend([figure.shape, figure.colour, figure.size].map(<[_]>::to_vec));
                lists.push(figure.texture);
            }
            for list in lists {
                for word in &list {
                    let known = values.entry(word).or_insert_with(|| list.clone());
                    assert_eq!(*known, list, "{word}");
                }
            }
        }
        // 17 words of shapes, 17 of colours, 8 of sizes, 14 of textures; 3, 7 and 10 of the background.
        assert_eq!(values.len(), 76);
    }

    #[test]
    fn json_has_words_by_attribute_and_a_box() {
        let families = families(&Draws::new(0), 0, 1);
        let scene = &families[0].siblings[0];
        let mut visible = vec![PixelBox::WHOLE; scene.figures.len()];
        visible[0].x1 = 5.0;
        let json = serde_json::to_value(SceneTruth::new(scene, &visible)).unwrap();
        let figure = &json["figures"][0];
        let shape = lexicon::shape(scene.figures[0].attributes.shape);
        assert_eq!(figure["shape"], serde_json::json!(shape));
        assert_eq!(
            figure["visible"],
            serde_json::json!([5.0, 0.0, 192.0, 192.0])
        );
        assert_eq!(json["background"]["noun"][0], "background");
    }
}
