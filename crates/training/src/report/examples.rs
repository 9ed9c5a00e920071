//! What did a caption find, and which region answered each of its words?

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::boxes::{AnsweredBox, answered_boxes, box_of_word, overlay};
use super::colour::RelevanceScale;
use super::markup::escape;
use super::numbers::fixed;
use crate::record::{CaptionExample, ExampleImage, ExampleWord, FoundImage};

/// Every example with its words, its image and what was found; empty without examples.
pub(super) fn examples(examples: &[CaptionExample], threshold: Option<f64>) -> String {
    if examples.is_empty() {
        return String::new();
    }
    let highest = examples
        .iter()
        .flat_map(|example| &example.words)
        .map(|word| f64::from(word.relevance))
        .filter(|relevance| relevance.is_finite())
        .fold(0.0, f64::max);
    let scale = RelevanceScale::new(threshold.unwrap_or(0.0), highest);
    let shown: String = examples
        .iter()
        .map(|example| {
            Shown {
                example,
                scale,
                threshold,
            }
            .draw()
        })
        .collect();
    legend(scale) + &shown
}

fn legend(scale: RelevanceScale) -> String {
    format!(
        "<p>Each word is coloured by its relevance: the highest cosine over the regions of the \
         caption's own image. A word that no region answers above the threshold is struck out. \
         Point at a word to see its box alone.</p>\n\
         <ul class=\"legend\" aria-label=\"Relevance of words\">\
         <li>{} <span class=\"ramp\" style=\"background:{}\"></span> {} relevance</li>\
         <li><s class=\"word missing\">word</s> not found</li>\
         <li><span class=\"wrong\">✗</span> its best region truly shows something else</li></ul>\n",
        fixed(scale.low(), 2),
        scale.gradient(),
        fixed(scale.high(), 2)
    )
}

/// A caption with its words coloured from the threshold to `highest`.
pub(super) fn coloured(
    caption: &str,
    words: &[ExampleWord],
    threshold: f64,
    highest: f64,
) -> String {
    let example = CaptionExample {
        caption: caption.to_owned(),
        matched: ExampleImage {
            id: String::new(),
            bytes: None,
            size: None,
        },
        words: words.to_vec(),
        found: Vec::new(),
        rank: 1,
    };
    Shown {
        example: &example,
        scale: RelevanceScale::new(threshold, highest),
        threshold: Some(threshold),
    }
    .words(&[])
}

/// Rules that fade the other boxes while a word is pointed at: no script needed.
pub(super) fn links(examples: &[CaptionExample]) -> String {
    let longest = examples
        .iter()
        .map(|example| example.words.len())
        .max()
        .unwrap_or(0);
    let rule = |place: usize| {
        let pointed = format!(".word[data-box=\"{place}\"]:is(:hover,:focus)");
        format!(".example:has({pointed}) .box:not([data-box=\"{place}\"]){{opacity:.08}}\n")
    };
    (0..longest).map(rule).collect()
}

/// One example in the scale common to all.
struct Shown<'a> {
    example: &'a CaptionExample,
    scale: RelevanceScale,
    threshold: Option<f64>,
}

impl Shown<'_> {
    fn draw(&self) -> String {
        let CaptionExample {
            caption,
            matched,
            words,
            found,
            rank,
        } = self.example;
        let boxes = matched
            .size
            .map(|size| answered_boxes(words, size))
            .unwrap_or_default();
        let (class, rank_text) = match rank {
            1 => ("rank first", "own image found first".to_owned()),
            _ => ("rank", format!("own image found at rank {rank}")),
        };
        let images: String = found.iter().map(found_image).collect();
        let found = match found.len() {
            0 => String::new(),
            1 => format!(
                "<div class=\"found\"><h4>found first, with similarity</h4><ol>{images}</ol></div>"
            ),
            count => format!(
                "<div class=\"found\"><h4>first {count} found, with similarity</h4><ol>{images}</ol></div>"
            ),
        };
        format!(
            "<article class=\"example\" aria-label=\"{}\">\n\
             <h3 class=\"caption\">{}</h3>\n<p class=\"{class}\">{rank_text}</p>\n\
             <div class=\"parts\">{}{}{found}</div></article>\n",
            escape(caption),
            self.words(&boxes),
            self.picture(&boxes),
            self.bars()
        )
    }

    /// The caption with its words coloured; its own spelling where the tokens fit it.
    fn words(&self, boxes: &[AnsweredBox]) -> String {
        let CaptionExample { caption, words, .. } = self.example;
        if words.is_empty() {
            return escape(caption);
        }
        let Some(spans) = spans(caption, words) else {
            let shown: Vec<String> = (0..words.len())
                .map(|place| self.word(place, &words[place].text, boxes))
                .collect();
            return shown.join(" ");
        };
        let (mut out, mut cursor) = (String::new(), 0);
        for (place, &(start, end)) in spans.iter().enumerate() {
            out += &escape(&caption[cursor..start]);
            out += &self.word(place, &caption[start..end], boxes);
            cursor = end;
        }
        out + &escape(&caption[cursor..])
    }

    fn word(&self, place: usize, text: &str, boxes: &[AnsweredBox]) -> String {
        let word = &self.example.words[place];
        let relevance = fixed(f64::from(word.relevance), 2);
        if !word.answered && !spoken(word) {
            return escape(text);
        }
        if !word.answered {
            let threshold = self
                .threshold
                .map(|t| format!(", threshold {}", fixed(t, 2)))
                .unwrap_or_default();
            return format!(
                "<s class=\"word missing\" title=\"not found: best relevance {relevance}{threshold}\">{}</s>",
                escape(text)
            );
        }
        let shade = self.scale.shade(f64::from(word.relevance));
        let link = box_of_word(boxes, place).map(|b| format!(" tabindex=\"0\" data-box=\"{b}\""));
        let truth = match word.correct {
            Some(true) => ", its best region shows it",
            Some(false) => ", its best region shows something else",
            None => "",
        };
        format!(
            "<span class=\"word\"{} style=\"background:{};color:{}\" title=\"relevance {relevance}{truth}\">{}</span>{}",
            link.unwrap_or_default(),
            shade.background,
            shade.text,
            escape(text),
            wrong(word)
        )
    }

    fn picture(&self, boxes: &[AnsweredBox]) -> String {
        let ExampleImage { id, bytes, size } = &self.example.matched;
        let drawn = size.map(|size| overlay(boxes, &self.example.words, size, self.scale));
        if bytes.is_none() && boxes.is_empty() {
            return format!(
                "<figure class=\"own\">{}<figcaption>its own image; the data set holds \
                 features only</figcaption></figure>",
                no_picture(id)
            );
        }
        let image = match bytes {
            Some(bytes) => picture(bytes, &format!("The caption's own image, {id}")),
            None => String::new(),
        };
        let ratio = size
            .map(|(w, h)| format!(" style=\"aspect-ratio:{w}/{h}\""))
            .unwrap_or_default();
        format!(
            "<figure class=\"own\"><div class=\"frame\"{ratio}>{image}{}</div>\
             <figcaption>its own image, {}</figcaption></figure>\n",
            drawn.unwrap_or_default(),
            escape(id)
        )
    }

    /// Words as bars of relevance with the threshold across.
    fn bars(&self) -> String {
        let words = &self.example.words;
        if words.is_empty() {
            return String::new();
        }
        let rows: String = words
            .iter()
            .filter(|word| word.answered || spoken(word))
            .map(|word| self.bar(word))
            .collect();
        format!(
            "<table class=\"bars\"><caption>relevance of each word</caption>\
             <thead class=\"hidden\"><tr><th scope=\"col\">word</th><th scope=\"col\">bar</th><th scope=\"col\">relevance</th></tr></thead>\
             <tbody>{rows}</tbody></table>\n"
        )
    }

    fn bar(&self, word: &ExampleWord) -> String {
        let relevance = f64::from(word.relevance);
        let full = self.scale.high().max(1e-6);
        let share = |value: f64| {
            if value.is_finite() {
                (value / full * 100.0).clamp(0.0, 100.0)
            } else {
                0.0
            }
        };
        let shade = if word.answered {
            self.scale.shade(relevance).background
        } else {
            "var(--faint)".to_owned()
        };
        let border = self
            .threshold
            .map(|t| format!("<i class=\"border\" style=\"left:{:.1}%\"></i>", share(t)))
            .unwrap_or_default();
        let (class, note) = if word.answered {
            ("", "")
        } else {
            (
                " class=\"missing\"",
                "<span class=\"hidden\"> (not found)</span>",
            )
        };
        format!(
            "<tr{class}><th scope=\"row\">{}{note}{}</th><td class=\"track\">\
             <div><i class=\"fill\" style=\"width:{:.1}%;background:{shade}\"></i>{border}</div></td><td>{}</td></tr>\n",
            escape(&word.text),
            wrong(word),
            share(relevance),
            fixed(relevance, 2)
        )
    }
}

/// Whether a token is more than punctuation, which nobody expects to be answered.
fn spoken(word: &ExampleWord) -> bool {
    word.text.chars().any(char::is_alphanumeric)
}

fn wrong(word: &ExampleWord) -> &'static str {
    if word.answered && word.correct == Some(false) {
        "<span class=\"wrong\" title=\"its best region shows something else\">✗</span>"
    } else {
        ""
    }
}

/// Byte ranges of the tokens in the caption, in order; `None` where a token is spelled otherwise.
fn spans(caption: &str, words: &[ExampleWord]) -> Option<Vec<(usize, usize)>> {
    let lower = caption.to_ascii_lowercase();
    let mut cursor = 0;
    let find = |word: &ExampleWord| {
        let start = cursor + lower[cursor..].find(&word.text.to_ascii_lowercase())?;
        cursor = start + word.text.len();
        Some((start, cursor))
    };
    words.iter().map(find).collect()
}

fn found_image(found: &FoundImage) -> String {
    let own = if found.matched {
        ", the caption's own image"
    } else {
        ""
    };
    let description = format!("Found image {}{own}", found.image.id);
    let image = match &found.image.bytes {
        Some(bytes) => picture(bytes, &description),
        None => no_picture(&found.image.id),
    };
    let (class, mark) = if found.matched {
        (
            " class=\"matched\"",
            " <b title=\"the caption's own image\">✓ its own</b>",
        )
    } else {
        ("", "")
    };
    format!(
        "<li{class}>{image}<span title=\"{}\">{}{mark}</span></li>\n",
        escape(&found.image.id),
        fixed(f64::from(found.similarity), 3)
    )
}

/// The frame of an image whose pixels the data set does not hold.
fn no_picture(id: &str) -> String {
    format!("<div class=\"nopicture\">{}</div>", escape(id))
}

/// An image inside the page; bytes of no known format become a note.
fn picture(bytes: &[u8], description: &str) -> String {
    let Some(mime) = mime(bytes) else {
        return "<div class=\"nopicture\">picture of unknown format</div>".to_owned();
    };
    format!(
        "<img alt=\"{}\" src=\"data:{mime};base64,{}\"/>",
        escape(description),
        STANDARD.encode(bytes)
    )
}

/// The media type by the first bytes of the file.
fn mime(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => None,
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
            [(0, 1), (2, 5), (5, 6), (7, 8), (9, 12), (12, 13)]
        );
    }

    #[test]
    fn tokens_spelled_otherwise_have_no_spans() {
        assert_eq!(spans("\"Go\"", &words(&["``", "go"])), None);
        assert_eq!(spans("Straße", &words(&["straße", "x"])), None);
    }

    #[test]
    fn format_is_told_by_the_first_bytes() {
        assert_eq!(mime(&[0xff, 0xd8, 0xff, 0xe0]), Some("image/jpeg"));
        assert_eq!(mime(b"\x89PNG\r\n"), Some("image/png"));
        assert_eq!(mime(b""), None);
    }
}
