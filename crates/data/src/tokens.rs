//! Which words does a caption consist of?
//!
//! The published vocabularies hold the words of NLTK's `word_tokenize` on lower-cased captions;
//! so a caption must be cut in the same places, or its words are unknown. The rules are those of
//! the Penn Treebank with NLTK's additions: punctuation stands alone, quotes become ``` `` ``` and
//! `''`, clitics (`n't`, `'s`) leave their word, a final full stop is a word.
//!
//! Like NLTK's, the rules rewrite the text one after the other, setting spaces where it shall be
//! cut; each depends on what those before it left.

/// Words before whose full stop no sentence ends.
const ABBREVIATIONS: [&str; 22] = [
    "mr", "mrs", "ms", "dr", "st", "jr", "sr", "vs", "inc", "co", "corp", "ltd", "gov", "gen",
    "col", "capt", "lt", "sgt", "rep", "sen", "prof", "rev",
];

/// Pairs that are written as one word and cut in two: `cannot`, `gonna`.
const CONTRACTIONS: [(&str, &str); 7] = [
    ("can", "not"),
    ("d", "'ye"),
    ("gim", "me"),
    ("gon", "na"),
    ("got", "ta"),
    ("lem", "me"),
    ("more", "'n"),
];

/// The lower-cased words and punctuation of a caption, in order.
///
/// A caption of several sentences is cut into them first, because only the full stop at the end
/// of a sentence is a word of its own. Text without visible characters has no words.
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
    let text = open_quotes(sentence);
    let text = cut_punctuation(&text);
    let text = text.replace("--", " -- ");
    let text = close_quotes(&format!(" {text} "));
    let text = cut_contractions(&text);
    text.split_whitespace().map(str::to_owned).collect()
}

fn open_quotes(text: &str) -> String {
    let text = isolate_runs(text, |c| "«“‘„".contains(c), '`', 1);
    let text = match text.strip_prefix('"') {
        Some(rest) => format!("``{rest}"),
        None => text,
    };
    let text = text.replace("``", " `` ");
    let chars: Vec<char> = text.chars().collect();
    let mut quoted = String::with_capacity(text.len() + 8);
    let mut at = 0;
    while at < chars.len() {
        quoted.push(chars[at]);
        let width = match (chars.get(at + 1), chars.get(at + 2)) {
            (Some('"'), _) => 1,
            (Some('\''), Some('\'')) => 2,
            _ => 0,
        };
        if width > 0 && " ([{<".contains(chars[at]) {
            quoted.push_str(" `` ");
            at += width;
        }
        at += 1;
    }
    cut_opening_apostrophes(&quoted)
}

/// Sets a space behind an apostrophe that opens a word and is not that of a clitic.
fn cut_opening_apostrophes(text: &str) -> String {
    let mut cut = String::with_capacity(text.len() + 4);
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        cut.push(c);
        if c == '\'' && !is_word(before) {
            let after: String = text[at + 1..].chars().take_while(|&c| is_word(c)).collect();
            let clitic = ["re", "ve", "ll", "m", "t", "s", "d", "n"].contains(&after.as_str());
            if !after.is_empty() && !clitic {
                cut.push(' ');
            }
        }
        before = c;
    }
    cut
}

fn cut_punctuation(text: &str) -> String {
    let text = cut_final_stop(text);
    let text = cut_colons_and_commas(&text);
    let text = isolate_runs(&text, |_| false, '.', 2);
    let text = isolate(&text, |c| {
        ";@#$%&".contains(c) || ('\u{2012}'..='\u{2015}').contains(&c) || "?!".contains(c)
    });
    let text = cut_trailing(&text, &["'"], |before| before != '\'');
    isolate(&text, |c| "*[](){}<>".contains(c))
}

/// Cuts the last full stop off, also when quotes or brackets close behind it.
fn cut_final_stop(text: &str) -> String {
    let Some((head, tail)) = text.rsplit_once('.') else {
        return text.to_owned();
    };
    let closes = |c: char| c.is_whitespace() || "])}>\"'»”’".contains(c);
    if head.is_empty() || head.ends_with('.') || !tail.chars().all(closes) {
        return text.to_owned();
    }
    format!("{head} . {tail} ")
}

/// Cuts `:` and `,` off, except before a digit: `3,500`.
fn cut_colons_and_commas(text: &str) -> String {
    let mut cut = String::with_capacity(text.len() + 8);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let digit = chars.peek().is_some_and(|next| next.is_numeric());
        if !":,".contains(c) || digit {
            cut.push(c);
            continue;
        }
        cut.extend([' ', c, ' ']);
        // NLTK's rule takes the character behind along, so a second comma in a row stays.
        cut.extend(chars.next());
    }
    cut
}

fn close_quotes(text: &str) -> String {
    let text = isolate(text, |c| "»”’".contains(c));
    let text = text.replace("''", " '' ").replace('"', " '' ");
    let mut single = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_whitespace() {
            true if single.ends_with(' ') => {}
            true => single.push(' '),
            false => single.push(c),
        }
    }
    let no_quote = |before| before != '\'' && before != ' ';
    let text = cut_trailing(&single, &["'s", "'m", "'d", "'"], no_quote);
    cut_trailing(&text, &["'ll", "'re", "'ve", "n't"], no_quote)
}

/// Sets a space before each ending that stands before a space and behind a fitting character.
///
/// Matches do not overlap: the character before an ending is part of its match.
fn cut_trailing(text: &str, endings: &[&str], fits: impl Fn(char) -> bool) -> String {
    let mut cut = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        cut.push(first);
        rest = &rest[first.len_utf8()..];
        let ending = endings.iter().find(|ending| {
            let after = rest.strip_prefix(**ending);
            fits(first) && after.is_some_and(|after| after.starts_with(' '))
        });
        if let Some(ending) = ending {
            cut.extend([" ", ending, " "]);
            rest = &rest[ending.len() + 1..];
        }
    }
    cut
}

fn cut_contractions(text: &str) -> String {
    let mut text = text.to_owned();
    for (first, second) in CONTRACTIONS {
        text = cut_pair(&text, first, second, |before, after| {
            !is_word(before) && !is_word(after)
        });
    }
    text = cut_pair(&text, "wan", "na", |before, after| {
        !is_word(before) && after == ' '
    });
    for second in ["is", "was"] {
        text = cut_pair(&text, "'t", second, |before, after| {
            before == ' ' && !is_word(after)
        });
    }
    text
}

/// Sets spaces around and between two halves where the characters on both sides allow it.
fn cut_pair(text: &str, first: &str, second: &str, fits: impl Fn(char, char) -> bool) -> String {
    let whole = format!("{first}{second}");
    let mut cut = String::with_capacity(text.len() + 8);
    let mut done = 0;
    for (at, _) in text.match_indices(&whole) {
        let before = text[..at].chars().next_back().unwrap_or(' ');
        let after = text[at + whole.len()..].chars().next().unwrap_or(' ');
        if fits(before, after) {
            cut.push_str(&text[done..at]);
            cut.extend([" ", first, " ", second, " "]);
            done = at + whole.len();
        }
    }
    cut.push_str(&text[done..]);
    cut
}

fn isolate(text: &str, chosen: impl Fn(char) -> bool) -> String {
    isolate_runs(text, chosen, '\0', usize::MAX)
}

/// Sets spaces around each chosen character and around each run of `repeated` of some length.
fn isolate_runs(text: &str, chosen: impl Fn(char) -> bool, repeated: char, least: usize) -> String {
    let mut cut = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = match first == repeated {
            true => rest.len() - rest.trim_start_matches(repeated).len(),
            false => first.len_utf8(),
        };
        let (piece, behind) = rest.split_at(run);
        match chosen(first) || (first == repeated && run >= least) {
            true => cut.extend([" ", piece, " "]),
            false => cut.push_str(piece),
        }
        rest = behind;
    }
    cut
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests;
