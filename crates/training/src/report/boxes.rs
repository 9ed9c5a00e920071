//! Which box answered which words, and where does its label fit?

use super::colour::RelevanceScale;
use super::markup::escape;
use super::numbers::fixed;
use crate::record::ExampleWord;

/// Labels in one picture; further boxes are drawn without.
const LABELS: usize = 8;

/// A box and all the words whose best region it is.
pub(super) struct AnsweredBox {
    /// x1 y1 x2 y2 in pixels, inside the picture.
    corners: [f64; 4],
    words: Vec<usize>,
    relevance: f64,
}

/// Boxes of the answered words, most relevant first; equal boxes are one.
pub(super) fn answered_boxes(words: &[ExampleWord], size: (u32, u32)) -> Vec<AnsweredBox> {
    let mut boxes: Vec<AnsweredBox> = Vec::new();
    for (place, word) in words.iter().enumerate().filter(|(_, word)| word.answered) {
        let Some(corners) = word.best_box.and_then(|corners| inside(corners, size)) else {
            continue;
        };
        let relevance = f64::from(word.relevance);
        match boxes.iter_mut().find(|known| known.corners == corners) {
            Some(known) => {
                known.words.push(place);
                known.relevance = known.relevance.max(relevance);
            }
            None => boxes.push(AnsweredBox {
                corners,
                words: vec![place],
                relevance,
            }),
        }
    }
    boxes.sort_by(|a, b| b.relevance.total_cmp(&a.relevance));
    boxes
}

/// For each word the box it points to.
pub(super) fn box_of_word(boxes: &[AnsweredBox], word: usize) -> Option<usize> {
    boxes.iter().position(|known| known.words.contains(&word))
}

fn inside(corners: [f32; 4], (width, height): (u32, u32)) -> Option<[f64; 4]> {
    let [x1, y1, x2, y2] = corners.map(f64::from);
    let (width, height) = (f64::from(width), f64::from(height));
    let clipped = [
        x1.clamp(0.0, width),
        y1.clamp(0.0, height),
        x2.clamp(0.0, width),
        y2.clamp(0.0, height),
    ];
    let real = clipped.iter().all(|value| value.is_finite());
    (real && clipped[2] > clipped[0] && clipped[3] > clipped[1]).then_some(clipped)
}

/// A picture's overlay in its own pixels: boxes with labels that keep clear of each other.
pub(super) fn overlay(
    boxes: &[AnsweredBox],
    words: &[ExampleWord],
    size: (u32, u32),
    scale: RelevanceScale,
) -> String {
    let frame = (f64::from(size.0), f64::from(size.1));
    let unit = frame.0.max(frame.1) / 100.0;
    let names: Vec<String> = boxes.iter().map(|answered| name(answered, words)).collect();
    let labels = place_labels(boxes, &names, frame);
    // The most relevant box is drawn last, on top.
    let shapes: String = (0..boxes.len())
        .rev()
        .map(|place| {
            shape(
                place,
                &boxes[place],
                &names[place],
                (labels.get(place), unit, scale),
            )
        })
        .collect();
    format!(
        "<svg class=\"overlay\" viewBox=\"0 0 {} {}\" aria-hidden=\"true\">\n{shapes}</svg>",
        size.0, size.1
    )
}

fn name(answered: &AnsweredBox, words: &[ExampleWord]) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for &word in &answered.words {
        if !texts.contains(&words[word].text.as_str()) {
            texts.push(&words[word].text);
        }
    }
    let hidden = texts.len().saturating_sub(4);
    texts.truncate(4);
    let more = if hidden > 0 {
        format!(" +{hidden}")
    } else {
        String::new()
    };
    texts.join(" ") + &more
}

fn shape(
    place: usize,
    answered: &AnsweredBox,
    name: &str,
    (label, unit, scale): (Option<&Rectangle>, f64, RelevanceScale),
) -> String {
    let [x1, y1, x2, y2] = answered.corners;
    let shade = scale.shade(answered.relevance);
    let rectangle = |class: &str, width: f64, colour: &str| {
        format!(
            "<rect class=\"{class}\" x=\"{x1:.1}\" y=\"{y1:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
             stroke=\"{colour}\" stroke-width=\"{width:.2}\"/>",
            x2 - x1,
            y2 - y1
        )
    };
    let text = label.map(|at| {
        format!(
            "<rect class=\"tag\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{:.2}\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" style=\"font-size:{:.2}px;fill:{}\">{}</text>",
            at.x, at.y, at.width, at.height, unit * 0.6, shade.background,
            at.x + at.height * 0.25, at.y + at.height * 0.73, at.height * 0.7, shade.text, escape(name)
        )
    });
    format!(
        "<g class=\"box\" data-box=\"{place}\"><title>{}: {}</title>{}{}{}</g>\n",
        escape(name),
        fixed(answered.relevance, 2),
        rectangle("casing", unit * 1.3, "#0b1416"),
        rectangle("edge", unit * 0.7, &shade.background),
        text.unwrap_or_default()
    )
}

/// An upright rectangle in pixels of the picture.
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
}

/// Greedy, most relevant first: of the places around a box the one that covers the
/// least of earlier labels; the first such place on a tie.
fn place_labels(boxes: &[AnsweredBox], names: &[String], frame: (f64, f64)) -> Vec<Rectangle> {
    let height = frame.0.max(frame.1) * 0.052;
    let mut placed: Vec<Rectangle> = Vec::new();
    for (answered, name) in boxes.iter().zip(names).take(LABELS) {
        let letters = name.chars().count() as f64;
        let width = (letters * height * 0.44 + height * 0.5).min(frame.0);
        let [x1, y1, x2, y2] = answered.corners;
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
        let covered = |at: &Rectangle| {
            placed
                .iter()
                .map(|other| at.shared_area(other))
                .sum::<f64>()
        };
        let candidates = corners.map(|(x, y)| Rectangle {
            x: x.clamp(0.0, (frame.0 - width).max(0.0)),
            y: y.clamp(0.0, (frame.1 - height).max(0.0)),
            width,
            height,
        });
        let best = candidates.into_iter().reduce(|best, at| {
            if covered(&at) < covered(&best) {
                at
            } else {
                best
            }
        });
        placed.extend(best);
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let boxes = answered_boxes(&words, (100, 100));
        assert_eq!(boxes.len(), 1);
        assert_eq!(boxes[0].words, [0, 1]);
        assert_eq!(box_of_word(&boxes, 2), None);
    }

    #[test]
    fn impossible_boxes_are_dropped() {
        let broken = [
            Some([50.0, 10.0, 10.0, 50.0]),
            Some([f32::NAN; 4]),
            Some([200.0, 0.0, 300.0, 9.0]),
        ];
        let words = broken.map(|corners| word("a", corners));
        assert!(answered_boxes(&words, (100, 100)).is_empty());
    }

    #[test]
    fn labels_of_equal_corners_do_not_overlap() {
        let boxes: Vec<AnsweredBox> = (0..6)
            .map(|n| AnsweredBox {
                corners: [20.0, 40.0, 60.0 + f64::from(n), 80.0],
                words: vec![0],
                relevance: 0.5,
            })
            .collect();
        let placed = place_labels(&boxes, &vec!["circle".to_owned(); 6], (200.0, 200.0));
        for (place, one) in placed.iter().enumerate() {
            assert!(
                placed[..place]
                    .iter()
                    .all(|other| one.shared_area(other) == 0.0),
                "label {place}"
            );
        }
    }
}
