//! Writes a claim as a sentence by templates, and records which figure each content word describes.

use uard_core::random::Stream;

use super::attributes::{Background, Kind};
use super::chance::{happens, pick};
use super::claim::{BackgroundMention, Claim, Mention};
use super::lexicon::{self, word};

/// The part of a scene that a content word describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Referent {
    /// A figure of the scene, by index.
    Figure(usize),
    Background,
}

/// A caption and its content words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caption {
    /// The sentence, with a capital letter and mostly a full stop.
    pub(super) text: String,
    /// Content words: the index among the caption's tokens, and what the word describes.
    ///
    /// A comma and a full stop are tokens of their own. Words of shape, colour, size and texture
    /// and of the background are content; relations, positions and counts are not.
    pub(super) content: Vec<(usize, Referent)>,
}

/// Writes a claim as a caption.
pub(super) fn write_caption(claim: &Claim, stream: &mut Stream) -> Caption {
    let mut sentence = Sentence::default();
    let opened = sentence.opening(claim, stream);
    let verb = if claim.mentions.len() == 1 || opened == Opening::Fragment {
        ""
    } else {
        pick(stream, &["", "", "is"])
    };
    for (index, mention) in claim.mentions.iter().enumerate() {
        if index > 0 {
            sentence.link(claim, index, verb, stream);
        }
        sentence.figure(mention, stream);
    }
    if let Some((mention, background)) = claim.background {
        sentence.background(mention, background, stream);
    }
    if happens(stream, 0.8) {
        sentence.function(".");
    }
    sentence.caption()
}

/// The beginning of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// The first figure, after which a verb may follow.
    Figure,
    /// "a picture of" and the like; no verb follows after the figure.
    Fragment,
}

#[derive(Debug, Default)]
struct Sentence {
    tokens: Vec<(&'static str, Option<Referent>)>,
}

impl Sentence {
    /// Adds function words, which describe nothing in the scene.
    fn function(&mut self, phrase: &'static str) {
        self.tokens
            .extend(phrase.split_whitespace().map(|token| (token, None)));
    }

    fn content(&mut self, token: &'static str, referent: Referent) {
        self.tokens.push((token, Some(referent)));
    }

    fn opening(&mut self, claim: &Claim, stream: &mut Stream) -> Opening {
        if let Some(count) = claim.count {
            self.function(pick(stream, &["among", "one of"]));
            self.function(lexicon::count(count));
            self.function(pick(stream, &["shapes is", "figures is", "things is"]));
            return Opening::Fragment;
        }
        const FRAGMENTS: &[&str] = &[
            "there is",
            "a picture of",
            "the picture shows",
            "we see",
            "an image with",
            "here is",
            "one can see",
        ];
        if happens(stream, 0.45) {
            self.function(pick(stream, FRAGMENTS));
            return Opening::Fragment;
        }
        Opening::Figure
    }

    /// Adds the words between the figure before `index` and that figure.
    fn link(&mut self, claim: &Claim, index: usize, verb: &'static str, stream: &mut Stream) {
        match claim.relation {
            Some(relation) if index == 1 => {
                self.function(verb);
                self.function(word(stream, lexicon::relation(relation)));
            }
            Some(_) => self.function(pick(stream, &[", and", "and", ", with", "along with"])),
            None if index + 1 < claim.mentions.len() => self.function(","),
            None => self.function(pick(stream, &["and", "with", "together with", "and also"])),
        }
    }

    /// Adds a figure: "a large striped red circle in the middle", "a large circle with stripes that is red".
    fn figure(&mut self, mention: &Mention, stream: &mut Stream) {
        let figure = Referent::Figure(mention.figure);
        let attributes = mention.attributes;
        let noun = lexicon::texture_noun(attributes.texture)
            .filter(|_| mention.names(Kind::Texture) && happens(stream, 0.3));
        let late_colour = mention.names(Kind::Colour) && happens(stream, 0.1);
        let mut words = Vec::new();
        if mention.names(Kind::Size) {
            words.push(word(stream, lexicon::size(attributes.size)));
        }
        if mention.names(Kind::Texture) && noun.is_none() {
            words.push(word(stream, lexicon::texture(attributes.texture)));
        }
        if mention.names(Kind::Colour) && !late_colour {
            words.push(word(stream, lexicon::colour(attributes.colour)));
        }
        words.push(word(stream, lexicon::shape(attributes.shape)));
        self.article(words[0], stream);
        words
            .into_iter()
            .for_each(|each| self.content(each, figure));
        if let Some(noun) = noun {
            self.function("with");
            self.content(word(stream, noun), figure);
        }
        if late_colour {
            self.function("that is");
            self.content(word(stream, lexicon::colour(attributes.colour)), figure);
        }
        if mention.names(Kind::Cell) {
            self.function(word(stream, lexicon::cell(attributes.cell)));
        }
    }

    fn article(&mut self, next: &str, stream: &mut Stream) {
        let indefinite = if next.starts_with(['a', 'e', 'i', 'o', 'u']) {
            "an"
        } else {
            "a"
        };
        self.function(if happens(stream, 0.8) {
            indefinite
        } else {
            "the"
        });
    }

    fn background(
        &mut self,
        mention: BackgroundMention,
        background: Background,
        stream: &mut Stream,
    ) {
        self.function(word(stream, lexicon::BEFORE_BACKGROUND));
        let mut words = Vec::new();
        if mention != BackgroundMention::Pattern {
            words.push(word(stream, lexicon::tone(background.tone)));
        }
        if mention != BackgroundMention::Tone {
            words.push(word(stream, lexicon::pattern(background.pattern)));
        }
        words.push(word(stream, lexicon::BACKGROUND));
        self.article(words[0], stream);
        words
            .into_iter()
            .for_each(|each| self.content(each, Referent::Background));
    }

    fn caption(self) -> Caption {
        let mut text = String::new();
        for (token, _) in &self.tokens {
            if !text.is_empty() && !matches!(*token, "," | ".") {
                text.push(' ');
            }
            text.push_str(token);
        }
        if let Some(first) = text.get_mut(0..1) {
            first.make_ascii_uppercase();
        }
        let content = self
            .tokens
            .iter()
            .enumerate()
            .filter_map(|(index, (_, referent))| referent.map(|referent| (index, referent)))
            .collect();
        Caption { text, content }
    }
}
