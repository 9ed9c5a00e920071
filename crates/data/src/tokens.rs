//! Splits captions into words as NLTK's `word_tokenize` does, because the published vocabularies
//! hold the words that it finds in lower-cased captions.
//!
//! The rules are those of the Penn Treebank with NLTK's additions: punctuation marks are words of their
//! own, quotes become ``` `` ``` and `''`, clitics (`n't`, `'s`) are split from their word, and a final
//! full stop is a word. As in NLTK, the rules are applied one after the other: each inserts spaces into
//! the text that the previous one returned, and words are separated at spaces in the end.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Abbreviations whose full stop does not end a sentence.
const ABBREVIATIONS: [&str; 22] = [
    "mr", "mrs", "ms", "dr", "st", "jr", "sr", "vs", "inc", "co", "corp", "ltd", "gov", "gen",
    "col", "capt", "lt", "sgt", "rep", "sen", "prof", "rev",
];

/// The matches that a rule replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Everywhere,
    /// Only matches with no letter directly before or after them; an apostrophe with a clitic is
    /// not replaced.
    WholeWords,
}
use Scope::{Everywhere, WholeWords};

/// The rules: pattern, replacement and scope.
const RULES: [(&str, &str, Scope); 22] = [
    // Opening quotes, and apostrophes before a word.
    ("[«“‘„]|`+", " $0 ", Everywhere),
    ("^\"", "``", Everywhere),
    ("``", " `` ", Everywhere),
    ("([ (\\[{<])(?:\"|'')", "$1 `` ", Everywhere),
    (r"(')([\p{Alphabetic}\p{N}_]+)", "$1 $2", WholeWords),
    // Punctuation. The last full stop is a word even if closing quotes or brackets follow it.
    (
        "(?s)^(.*[^.])\\.([\\])}>\"'»”’\\s]*)$",
        "$1 . $2 ",
        Everywhere,
    ),
    // Not before a digit, as in `3,500`. As in NLTK, the match includes the next character, so the second
    // of two commas is not matched.
    (r"([:,])(\P{N}|$)", " $1 $2", Everywhere),
    (r"\.{2,}", " $0 ", Everywhere),
    ("[;@#$%&\u{2012}-\u{2015}?!]", " $0 ", Everywhere),
    ("([^'])' ", "$1 ' ", Everywhere),
    (r"[*\[\](){}<>]", " $0 ", Everywhere),
    ("--", " -- ", Everywhere),
    // Closing quotes and clitics, each before a space; the first rule adds a space at both ends.
    ("(?s)^.*$", " $0 ", Everywhere),
    ("[»”’]", " $0 ", Everywhere),
    ("''|\"", " '' ", Everywhere),
    (r"\s+", " ", Everywhere),
    ("([^' ])('s|'m|'d|') ", "$1 $2 ", Everywhere),
    ("([^' ])('ll|'re|'ve|n't) ", "$1 $2 ", Everywhere),
    // Two words that are written as one: `cannot`, `gonna`.
    (
        "(can)(not)|(d)('ye)|(gim|lem)(me)|(gon)(na)|(got)(ta)|(more)('n)",
        " $1$3$5$7$9$11 $2$4$6$8$10$12 ",
        WholeWords,
    ),
    ("(wan)(na) ", " $1 $2  ", WholeWords),
    (" ('t)(is)", "  $1 $2 ", WholeWords),
    (" ('t)(was)", "  $1 $2 ", WholeWords),
];

/// Clitics, without their apostrophe.
const CLITICS: [&str; 8] = ["re", "ve", "ll", "m", "t", "s", "d", "n"];

static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let compiled = RULES.iter().map(|(pattern, ..)| Regex::new(pattern));
    // A test checks that all patterns compile.
    compiled.filter_map(Result::ok).collect()
});

/// The lower-cased words and punctuation of a caption, in order.
///
/// A caption is split into sentences first, because only the full stop at the end of a sentence is a word
/// of its own. Text without visible characters has no words.
///
/// ```
/// use uard_data::tokens::tokenize;
///
/// assert_eq!(
///     tokenize("The dog's owner can't run."),
///     ["the", "dog", "'s", "owner", "ca", "n't", "run", "."]
/// );
/// ```
///
/// # Source
/// NLTK, `NLTKWordTokenizer` after `PunktSentenceTokenizer`. The sentence rule is simpler than
/// Punkt's trained one: a full stop ends a sentence except after a known abbreviation, a single
/// letter, a number, or a word with a full stop inside.
pub fn tokenize(caption: &str) -> Vec<String> {
    let lowered = caption.to_lowercase();
    let sentences = sentences(&lowered);
    sentences
        .into_iter()
        .flat_map(|sentence| sentence_words(&sentence))
        .collect()
}

fn sentences(text: &str) -> Vec<String> {
    let mut sentences = vec![String::new()];
    for piece in text.split_inclusive(char::is_whitespace) {
        if let Some(sentence) = sentences.last_mut() {
            sentence.push_str(piece);
        }
        if ends_sentence(piece.trim_end()) {
            sentences.push(String::new());
        }
    }
    sentences
}

fn ends_sentence(piece: &str) -> bool {
    let piece = piece.trim_end_matches(['"', '\'', ')', ']', '}']);
    let Some(word) = piece.strip_suffix('.') else {
        return false;
    };
    let word = word.trim_start_matches(['"', '\'', '(', '[', '{']);
    let number = word.starts_with(|first: char| first.is_ascii_digit());
    let letter = word.chars().count() == 1;
    !(number || letter || word.contains('.') || ABBREVIATIONS.contains(&word))
}

fn sentence_words(sentence: &str) -> Vec<String> {
    let mut text = sentence.to_owned();
    for (pattern, (_, replacement, scope)) in PATTERNS.iter().zip(RULES) {
        let rewritten = pattern.replace_all(&text, |found: &Captures| {
            let mut rewritten = String::new();
            match scope == Everywhere || is_whole_word(&text, found) {
                true => found.expand(replacement, &mut rewritten),
                false => rewritten.push_str(&found[0]),
            }
            rewritten
        });
        text = rewritten.into_owned();
    }
    text.split_whitespace().map(str::to_owned).collect()
}

fn is_whole_word(text: &str, found: &Captures) -> bool {
    let whole = &found[0];
    let (before, after) = match found.get(0) {
        Some(range) => (&text[..range.start()], &text[range.end()..]),
        None => ("", ""),
    };
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let begins = whole.starts_with(' ') || !letter(before.chars().next_back());
    let ends = whole.ends_with(' ') || !letter(after.chars().next());
    let clitic = found
        .get(2)
        .is_some_and(|word| CLITICS.contains(&word.as_str()));
    begins && ends && !clitic
}

#[cfg(test)]
mod tests;
