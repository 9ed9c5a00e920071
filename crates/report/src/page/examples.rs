//! Retrieval examples: captions with the images retrieved for them, and the best region of each
//! word.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::boxes::{AnsweredBox, answered_boxes, box_of_word, overlay};
use super::colour::RelevanceScale;
use crate::numbers::fixed;
use crate::record::{CaptionExample, ExampleImage, ExampleWord, FoundImage};

/// Every example with its words, its own image and the retrieved images; empty without examples.
pub(super) fn examples(examples: &[CaptionExample], threshold: Option<f64>) -> Markup {
    if examples.is_empty() {
        return html! {};
    }
    let words = examples.iter().flat_map(|example| &example.words);
    let colouring = Colouring::new(threshold, words);
    html! {
        (colouring.legend())
        @for example in examples { (draw_example(example, colouring)) }
    }
}

/// CSS rules that fade the other boxes while the pointer is on a word.
pub(super) fn links(examples: &[CaptionExample]) -> String {
    let longest = examples.iter().map(|example| example.words.len()).max();
    let rule = |index: usize| {
        let pointed = format!(".word[data-box=\"{index}\"]:is(:hover,:focus)");
        format!(".example:has({pointed}) .box:not([data-box=\"{index}\"]){{opacity:.08}}\n")
    };
    (0..longest.unwrap_or(0)).map(rule).collect()
}

fn draw_example(example: &CaptionExample, colouring: Colouring) -> Markup {
    let CaptionExample {
        caption,
        matched,
        words,
        found,
        rank,
    } = example;
    let boxes = match matched.size {
        Some(size) => answered_boxes(words, size),
        None => Vec::new(),
    };
    html! {
        article.example aria-label=(caption) {
            h3.caption { (colouring.caption(caption, words, &boxes)) }
            @match rank {
                1 => p.rank.first { "The caption’s own image has rank 1." },
                _ => p.rank { "The caption’s own image has rank " (rank) "." },
            }
            div.parts {
                (own_picture(example, &boxes, colouring.scale))
                (colouring.bars(words))
                @if !found.is_empty() {
                    div.found {
                        h4 {
                            @match found.len() {
                                1 => "most similar image, with its similarity",
                                count => { (count) " most similar images, with their similarity" },
                            }
                        }
                        ol { @for found in found { (found_image(found)) } }
                    }
                }
            }
        }
    }
}

/// Colours words by relevance and strikes out those below the threshold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Colouring {
    scale: RelevanceScale,
    threshold: Option<f64>,
}

impl Colouring {
    /// A scale from the threshold to the highest relevance of some words.
    pub(super) fn new<'a>(
        threshold: Option<f64>,
        words: impl Iterator<Item = &'a ExampleWord>,
    ) -> Self {
        let relevance = words.map(|word| f64::from(word.relevance));
        let highest = relevance
            .filter(|value| value.is_finite())
            .fold(0.0, f64::max);
        Self {
            scale: RelevanceScale::new(threshold.unwrap_or(0.0), highest),
            threshold,
        }
    }

    fn legend(self) -> Markup {
        html! {
            p {
                "Each word is coloured by its relevance: its highest cosine with any region of the "
                "caption's own image. A word whose relevance is not above the threshold is struck "
                "out. Move the pointer to a word to highlight the box of its best region."
            }
            ul.legend aria-label="Relevance of words" {
                li {
                    (fixed(self.scale.low, 2)) " "
                    span.ramp style={ "background:" (self.scale.gradient()) } {}
                    " " (fixed(self.scale.high, 2)) " relevance"
                }
                li { s.word.missing { "word" } " relevance not above the threshold" }
                li { span.wrong { "✗" } " its best region shows something else" }
            }
        }
    }

    /// The caption with its words coloured. Uses the caption's spelling if every token is found in
    /// it, otherwise the tokens.
    pub(super) fn caption(
        self,
        caption: &str,
        words: &[ExampleWord],
        boxes: &[AnsweredBox],
    ) -> Markup {
        let link = |index| box_of_word(boxes, index);
        let Some(spans) = spans(caption, words) else {
            return html! {
                @for (index, word) in words.iter().enumerate() {
                    @if index > 0 { " " }
                    (self.word(word, &word.text, link(index)))
                }
            };
        };
        let last = spans.last().map_or(0, |span| span.end);
        let ends = std::iter::once(0).chain(spans.iter().map(|span| span.end));
        html! {
            @for (index, (span, end)) in spans.iter().zip(ends).enumerate() {
                (&caption[end..span.start])
                (self.word(&words[index], &caption[span.clone()], link(index)))
            }
            (&caption[last..])
        }
    }

    /// A word written as `text`, linked to the box with index `link`.
    fn word(self, word: &ExampleWord, text: &str, link: Option<usize>) -> Markup {
        let relevance = fixed(f64::from(word.relevance), 2);
        if !word.answered {
            let below = self
                .threshold
                .map(|t| format!(", threshold {}", fixed(t, 2)));
            return html! {
                @if has_letters(word) {
                    s.word.missing
                        title={ "highest relevance " (relevance) (below.unwrap_or_default()) } {
                        (text)
                    }
                } @else { (text) }
            };
        }
        let shade = self.scale.shade(f64::from(word.relevance));
        let truth = match word.correct {
            Some(true) => ", its best region shows it",
            Some(false) => ", its best region shows something else",
            None => "",
        };
        html! {
            span.word tabindex=[link.map(|_| 0)] data-box=[link]
                style={ "background:" (shade.background) ";color:" (shade.text) }
                title={ "relevance " (relevance) (truth) } { (text) }
            (wrong(word))
        }
    }

    /// A bar chart of the words' relevance with a line at the threshold.
    fn bars(self, words: &[ExampleWord]) -> Markup {
        let shown = words
            .iter()
            .filter(|word| word.answered || has_letters(word));
        html! {
            @if !words.is_empty() {
                table.bars {
                    caption { "relevance of each word" }
                    thead.hidden {
                        tr { @for name in ["word", "bar", "relevance"] { th scope="col" { (name) } } }
                    }
                    tbody { @for word in shown { (self.bar(word)) } }
                }
            }
        }
    }

    fn bar(self, word: &ExampleWord) -> Markup {
        let relevance = f64::from(word.relevance);
        let share = |value: f64| match (value / self.scale.high * 100.0).clamp(0.0, 100.0) {
            share if share.is_finite() => format!("{share:.1}%"),
            _ => "0%".to_owned(),
        };
        let colour = match word.answered {
            true => self.scale.shade(relevance).background,
            false => "var(--faint)".to_owned(),
        };
        html! {
            tr class=[(!word.answered).then_some("missing")] {
                th scope="row" {
                    (word.text)
                    @if !word.answered { span.hidden { " (not above the threshold)" } }
                    (wrong(word))
                }
                td.track {
                    div {
                        i.fill style={ "width:" (share(relevance)) ";background:" (colour) } {}
                        @if let Some(threshold) = self.threshold {
                            i.border style={ "left:" (share(threshold)) } {}
                        }
                    }
                }
                td { (fixed(relevance, 2)) }
            }
        }
    }
}

fn own_picture(example: &CaptionExample, boxes: &[AnsweredBox], scale: RelevanceScale) -> Markup {
    let ExampleImage { id, bytes, size } = &example.matched;
    let ratio = size.map(|size| format!("aspect-ratio:{}/{}", size.width, size.height));
    html! {
        figure.own {
            @if bytes.is_none() && boxes.is_empty() {
                (no_picture(id))
                figcaption { "the caption’s own image; the data set has no picture of it" }
            } @else {
                div.frame style=[ratio] {
                    @if let Some(bytes) = bytes {
                        (picture(bytes, &format!("The caption's own image, {id}")))
                    }
                    @if let Some(size) = *size { (overlay(boxes, &example.words, size, scale)) }
                }
                figcaption { "the caption’s own image, " (id) }
            }
        }
    }
}

/// Whether a token is more than punctuation. Punctuation is not marked as missing.
fn has_letters(word: &ExampleWord) -> bool {
    word.text.chars().any(char::is_alphanumeric)
}

fn wrong(word: &ExampleWord) -> Markup {
    html! {
        @if word.answered && word.correct == Some(false) {
            span.wrong title="its best region shows something else" { "✗" }
        }
    }
}

/// Byte ranges of the tokens in the caption, in order; `None` if a token does not occur in it.
fn spans(caption: &str, words: &[ExampleWord]) -> Option<Vec<Range<usize>>> {
    let lower = caption.to_ascii_lowercase();
    let mut cursor = 0;
    let find = |word: &ExampleWord| {
        let start = cursor + lower[cursor..].find(&word.text.to_ascii_lowercase())?;
        cursor = start + word.text.len();
        Some(start..cursor)
    };
    words.iter().map(find).collect()
}

fn found_image(found: &FoundImage) -> Markup {
    let FoundImage {
        image,
        similarity,
        matched,
    } = found;
    let own = if *matched {
        ", the caption's own image"
    } else {
        ""
    };
    html! {
        li class=[matched.then_some("matched")] {
            @match &image.bytes {
                Some(bytes) => (picture(bytes, &format!("Found image {}{own}", image.id))),
                None => (no_picture(&image.id)),
            }
            span title=(image.id) {
                (fixed(f64::from(*similarity), 3))
                @if *matched { " " b title="the caption's own image" { "✓ own image" } }
            }
        }
    }
}

/// A frame in place of an image that the data set has no picture of.
fn no_picture(id: &str) -> Markup {
    html! { div.nopicture { (id) } }
}

/// An image embedded in the page; a note for bytes of an unknown format.
fn picture(bytes: &[u8], description: &str) -> Markup {
    match mime(bytes) {
        Some(mime) => html! {
            img alt=(description) src={ "data:" (mime) ";base64," (STANDARD.encode(bytes)) };
        },
        None => no_picture("picture of unknown format"),
    }
}

/// The media type, recognised by the first bytes of the file.
fn mime(bytes: &[u8]) -> Option<&'static str> {
    let riff = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        _ => riff.then_some("image/webp"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &[&str]) -> Vec<ExampleWord> {
        let word = |text: &&str| ExampleWord {
            text: (*text).to_owned(),
            relevance: 0.5,
            answered: true,
            best_box: None,
            correct: None,
        };
        texts.iter().map(word).collect()
    }

    #[test]
    fn tokens_are_found_in_the_caption_as_spelled() {
        let spans = spans("A man, a dog.", &words(&["a", "man", ",", "a", "dog", "."]));
        assert_eq!(
            spans.expect("all tokens occur"),
            [0..1, 2..5, 5..6, 7..8, 9..12, 12..13]
        );
    }

    #[test]
    fn tokens_spelled_otherwise_have_no_spans() {
        assert_eq!(spans("\"Go\"", &words(&["``", "go"])), None);
        assert_eq!(spans("Straße", &words(&["straße", "x"])), None);
    }

    #[test]
    fn format_is_recognised_by_the_first_bytes() {
        assert_eq!(mime(&[0xff, 0xd8, 0xff, 0xe0]), Some("image/jpeg"));
        assert_eq!(mime(b"\x89PNG\r\n"), Some("image/png"));
        assert_eq!(mime(b""), None);
    }
}
