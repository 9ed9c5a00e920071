//! Draws the best region of each answered word as a labelled box over the picture.

use maud::{Markup, html};

use super::colour::RelevanceScale;
use super::plot::px;
use crate::numbers::fixed;
use crate::record::{ExampleWord, PictureSize};

/// Largest number of labels in one picture; further boxes are drawn without a label.
const LABELS: usize = 8;
/// Largest number of words in one label.
const TEXTS: usize = 4;

/// A box and all words whose best region it is.
pub(super) struct AnsweredBox {
    area: Rectangle,
    /// Indices of the words.
    words: Vec<usize>,
    /// The highest relevance of these words.
    relevance: f64,
}

/// The boxes of the answered words, most relevant first; words with equal boxes share one.
pub(super) fn answered_boxes(words: &[ExampleWord], size: PictureSize) -> Vec<AnsweredBox> {
    let mut boxes: Vec<AnsweredBox> = Vec::new();
    for (index, word) in words.iter().enumerate().filter(|(_, word)| word.answered) {
        let Some(area) = word.best_box.and_then(|corners| clipped(corners, size)) else {
            continue;
        };
        let relevance = f64::from(word.relevance);
        match boxes.iter_mut().find(|known| known.area == area) {
            Some(known) => {
                known.words.push(index);
                known.relevance = known.relevance.max(relevance);
            }
            None => boxes.push(AnsweredBox {
                area,
                words: vec![index],
                relevance,
            }),
        }
    }
    boxes.sort_by(|a, b| b.relevance.total_cmp(&a.relevance));
    boxes
}

/// Index of the box of a word.
pub(super) fn box_of_word(boxes: &[AnsweredBox], word: usize) -> Option<usize> {
    boxes.iter().position(|known| known.words.contains(&word))
}

/// The part of a box `[x1, y1, x2, y2]` that lies in the picture; `None` if that part has no area.
fn clipped(corners: [f32; 4], size: PictureSize) -> Option<Rectangle> {
    let [x1, y1, x2, y2] = corners.map(f64::from);
    let [x1, x2] = [x1, x2].map(|x| x.clamp(0.0, f64::from(size.width)));
    let [y1, y2] = [y1, y2].map(|y| y.clamp(0.0, f64::from(size.height)));
    let (width, height) = (x2 - x1, y2 - y1);
    (width > 0.0 && height > 0.0).then_some(Rectangle {
        x: x1,
        y: y1,
        width,
        height,
    })
}

/// An SVG overlay with the boxes and their labels, in pixels of the picture.
pub(super) fn overlay(
    boxes: &[AnsweredBox],
    words: &[ExampleWord],
    size: PictureSize,
    scale: RelevanceScale,
) -> Markup {
    let names: Vec<String> = boxes.iter().map(|answered| name(answered, words)).collect();
    let labels = place_labels(boxes, &names, size);
    let unit = f64::from(size.width.max(size.height)) / 100.0;
    html! {
        svg.overlay viewBox={ "0 0 " (size.width) " " (size.height) } aria-hidden="true" {
            // The most relevant box is drawn last, on top.
            @for (index, answered) in boxes.iter().enumerate().rev() {
                @let shade = scale.shade(answered.relevance);
                g.box data-box=(index) {
                    title { (names[index]) ": " (fixed(answered.relevance, 2)) }
                    (answered.area.outline("casing", unit * 1.3, "#0b1416"))
                    (answered.area.outline("edge", unit * 0.7, &shade.background))
                    @if let Some(at) = labels.get(index) {
                        rect.tag x=(px(at.x)) y=(px(at.y)) width=(px(at.width)) height=(px(at.height))
                            rx=(px(unit * 0.6)) fill=(shade.background) {}
                        text x=(px(at.x + at.height * 0.25)) y=(px(at.y + at.height * 0.73))
                            style={ "font-size:" (px(at.height * 0.7)) "px;fill:" (shade.text) } {
                            (names[index])
                        }
                    }
                }
            }
        }
    }
}

/// The label of a box: its words, each once, at most [`TEXTS`] of them.
fn name(answered: &AnsweredBox, words: &[ExampleWord]) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for &word in &answered.words {
        if !texts.contains(&words[word].text.as_str()) {
            texts.push(&words[word].text);
        }
    }
    match texts.get(TEXTS..) {
        None | Some([]) => texts.join(" "),
        Some(hidden) => format!("{} +{}", texts[..TEXTS].join(" "), hidden.len()),
    }
}

/// An axis-aligned rectangle in pixels of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rectangle {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Rectangle {
    fn shared_area(&self, other: &Rectangle) -> f64 {
        let over = |a: f64, la: f64, b: f64, lb: f64| ((a + la).min(b + lb) - a.max(b)).max(0.0);
        over(self.x, self.width, other.x, other.width)
            * over(self.y, self.height, other.y, other.height)
    }

    fn outline(&self, class: &str, thickness: f64, colour: &str) -> Markup {
        html! {
            rect class=(class) x=(px(self.x)) y=(px(self.y)) width=(px(self.width))
                height=(px(self.height)) stroke=(colour) stroke-width=(px(thickness)) {}
        }
    }
}

/// Places labels greedily, that of the most relevant box first: each label gets, of eleven
/// positions around or in its box, the first that covers the least of the labels placed before.
fn place_labels(boxes: &[AnsweredBox], names: &[String], size: PictureSize) -> Vec<Rectangle> {
    let frame = (f64::from(size.width), f64::from(size.height));
    let height = frame.0.max(frame.1) * 0.052;
    let mut placed: Vec<Rectangle> = Vec::new();
    for (answered, name) in boxes.iter().zip(names).take(LABELS) {
        let letters = name.chars().count() as f64;
        let width = (letters * height * 0.44 + height * 0.5).min(frame.0);
        let area = answered.area;
        let (x1, y1, x2, y2) = (area.x, area.y, area.x + area.width, area.y + area.height);
        let (right, middle) = (x2 - width, (y1 + y2 - height) / 2.0);
        let inner = (y1 + height).min(y2 - height);
        let corners = [
            (x1, y1 - height),
            (x1, y2),
            (right, y1 - height),
            (right, y2),
            (x1, y1),
            (x1, y2 - height),
            (x2, y1),
            (x1 - width, y1),
            (x2, middle),
            (x1 - width, middle),
            (x1, inner),
        ];
        let candidates = corners.map(|(x, y)| Rectangle {
            x: x.clamp(0.0, (frame.0 - width).max(0.0)),
            y: y.clamp(0.0, (frame.1 - height).max(0.0)),
            width,
            height,
        });
        let covered = |at: &Rectangle| -> f64 {
            let earlier = placed.iter();
            earlier.map(|other| at.shared_area(other)).sum()
        };
        let least = candidates
            .into_iter()
            .min_by(|a, b| covered(a).total_cmp(&covered(b)));
        placed.extend(least);
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: PictureSize = PictureSize {
        width: 100,
        height: 100,
    };

    fn word(text: &str, best_box: Option<[f32; 4]>) -> ExampleWord {
        ExampleWord {
            text: text.to_owned(),
            relevance: 0.5,
            answered: true,
            best_box,
            correct: None,
        }
    }

    #[test]
    fn words_with_one_region_share_a_box() {
        let corners = Some([10.0, 10.0, 50.0, 50.0]);
        let words = [
            word("red", corners),
            word("square", corners),
            word("sky", None),
        ];
        let boxes = answered_boxes(&words, SIZE);
        assert_eq!(boxes.len(), 1);
        assert_eq!(boxes[0].words, [0, 1]);
        assert_eq!(box_of_word(&boxes, 2), None);
    }

    #[test]
    fn boxes_without_area_in_the_picture_are_dropped() {
        let broken = [
            Some([50.0, 10.0, 10.0, 50.0]),
            Some([f32::NAN; 4]),
            Some([200.0, 0.0, 300.0, 9.0]),
        ];
        let words = broken.map(|corners| word("a", corners));
        assert!(answered_boxes(&words, SIZE).is_empty());
    }

    #[test]
    fn labels_of_equal_corners_do_not_overlap() {
        let boxes: Vec<AnsweredBox> = (0..6)
            .map(|n| AnsweredBox {
                area: Rectangle {
                    x: 20.0,
                    y: 40.0,
                    width: 40.0 + f64::from(n),
                    height: 40.0,
                },
                words: vec![0],
                relevance: 0.5,
            })
            .collect();
        let size = PictureSize {
            width: 200,
            height: 200,
        };
        let placed = place_labels(&boxes, &vec!["circle".to_owned(); 6], size);
        for (index, one) in placed.iter().enumerate() {
            let mut earlier = placed[..index].iter();
            let apart = earlier.all(|other| one.shared_area(other) == 0.0);
            assert!(apart, "label {index}");
        }
    }
}
