//! How is a claim put into words? By templates, with every word knowing what it speaks of.

use uard_core::random::Stream;

use super::attributes::{Background, Kind};
use super::chance::{happens, pick};
use super::claim::{Claim, Ground, Mention};
use super::lexicon::{self, word};

/// What a content word speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// A figure of the scene, by number.
    Figure(usize),
    Background,
}

/// A caption as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caption {
    /// With a capital letter, punctuation attached, and mostly a full stop.
    pub(super) text: String,
    /// Content words: the position among the caption's tokens, and what is spoken of.
    ///
    /// A comma and a full stop are tokens of their own. Words of shape, colour, size and texture
    /// and of the background are content; relations, places and counts are not.
    pub(super) content: Vec<(usize, About)>,
}

/// Puts a claim into words.
pub(super) fn say(claim: &Claim, stream: &mut Stream) -> Caption {
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
    if let Some((said, background)) = claim.ground {
        sentence.ground(said, background, stream);
    }
    if happens(stream, 0.8) {
        sentence.function(".");
    }
    sentence.caption()
}

/// How a sentence begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// With the first figure itself, which a verb may follow.
    Figure,
    /// With "a picture of" and the like, after which no verb follows.
    Fragment,
}

#[derive(Debug, Default)]
struct Sentence {
    tokens: Vec<(&'static str, Option<About>)>,
}

impl Sentence {
    /// Words that speak of nothing in the scene.
    fn function(&mut self, phrase: &'static str) {
        self.tokens
            .extend(phrase.split_whitespace().map(|token| (token, None)));
    }

    fn content(&mut self, token: &'static str, about: About) {
        self.tokens.push((token, Some(about)));
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

    /// What stands between the figure before `index` and that figure.
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

    /// "a large striped red circle in the middle", "a red circle that is large, with stripes".
    fn figure(&mut self, mention: &Mention, stream: &mut Stream) {
        let about = About::Figure(mention.figure);
        let attributes = mention.attributes;
        let noun = lexicon::texture_noun(attributes.texture)
            .filter(|_| mention.says(Kind::Texture) && happens(stream, 0.3));
        let late_colour = mention.says(Kind::Colour) && happens(stream, 0.1);
        let mut words = Vec::new();
        if mention.says(Kind::Size) {
            words.push(word(stream, lexicon::size(attributes.size)));
        }
        if mention.says(Kind::Texture) && noun.is_none() {
            words.push(word(stream, lexicon::texture(attributes.texture)));
        }
        if mention.says(Kind::Colour) && !late_colour {
            words.push(word(stream, lexicon::colour(attributes.colour)));
        }
        words.push(word(stream, lexicon::shape(attributes.shape)));
        self.article(words[0], stream);
        words.into_iter().for_each(|each| self.content(each, about));
        if let Some(noun) = noun {
            self.function("with");
            self.content(word(stream, noun), about);
        }
        if late_colour {
            self.function("that is");
            self.content(word(stream, lexicon::colour(attributes.colour)), about);
        }
        if mention.says(Kind::Place) {
            self.function(word(stream, lexicon::place(attributes.place)));
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

    fn ground(&mut self, said: Ground, background: Background, stream: &mut Stream) {
        self.function(word(stream, lexicon::BEFORE_GROUND));
        let mut words = Vec::new();
        if said != Ground::Pattern {
            words.push(word(stream, lexicon::tone(background.tone)));
        }
        if said != Ground::Tone {
            words.push(word(stream, lexicon::pattern(background.pattern)));
        }
        words.push(word(stream, lexicon::GROUND));
        self.article(words[0], stream);
        words
            .into_iter()
            .for_each(|each| self.content(each, About::Background));
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
            .filter_map(|(index, (_, about))| about.map(|about| (index, about)))
            .collect();
        Caption { text, content }
    }
}
