//! The words of a query, and how far a photo shows them.

use uard_attention::search::{Search, SearchWords};
use uard_model::{LearnedWords, WordBorder};

use super::JudgedPhoto;
use crate::Result;
use crate::query::{Role, Term};

/// The words of a query, and the vectors of those that photos are judged by.
pub(super) struct QueryWords {
    /// Every word, in order.
    pub(super) words: Vec<QueryWord>,
    /// What photos are judged by, in order.
    pub(super) terms: Vec<JudgedTerm>,
    /// Wanted words that stand side by side, such as `red ball` in "a red ball on the grass": photos
    /// that show them in different regions only come later.
    pub(super) neighbours: Vec<Vec<JudgedWord>>,
    /// One caption for each judged word; none if there is no such word.
    pub(super) vectors: Option<SearchWords>,
}

/// A word of a query, as the text model reads it.
#[derive(Debug)]
pub(super) struct QueryWord {
    pub(super) text: String,
    /// Its place among the terms; none for a word that does not count, such as `the`.
    pub(super) term: Option<usize>,
    /// How photos are judged by it; none if it does not count, or was not learned.
    pub(super) judged: Option<JudgedWord>,
}

/// A word that photos are judged by.
#[derive(Debug, Clone, Copy)]
pub(super) struct JudgedWord {
    /// Its index among the judged words of the query.
    pub(super) index: usize,
    pub(super) border: WordBorder,
}

/// A word that counts, or a quoted phrase, which one region must show as a whole.
#[derive(Debug)]
pub(super) struct JudgedTerm {
    /// How it is named in an answer.
    pub(super) label: String,
    pub(super) role: Role,
    /// Its words; none if one of them was not learned.
    pub(super) words: Vec<JudgedWord>,
}

impl JudgedTerm {
    /// Whether a photo without it lacks something that was asked for.
    pub(super) fn is_wanted(&self) -> bool {
        self.role != Role::Excluded
    }
}

/// How far the relevance of a word or phrase is above its border in a photo.
#[derive(Debug, Clone, Copy)]
pub(super) struct Margin {
    /// Above 0 it is shown.
    pub(super) above: f64,
    /// Nearer to 0 than this, it may be shown or not.
    pub(super) doubt: f64,
}

/// Sorts the words of a query into terms.
pub(super) struct TermReader<'a> {
    learned: &'a LearnedWords,
    words: Vec<QueryWord>,
    terms: Vec<JudgedTerm>,
    /// Runs of wanted words; only those of at least two are kept.
    runs: Vec<Vec<JudgedWord>>,
    /// The texts of the judged words.
    judged: Vec<String>,
}

impl<'a> TermReader<'a> {
    pub(super) fn new(learned: &'a LearnedWords) -> Self {
        Self {
            learned,
            words: Vec::new(),
            terms: Vec::new(),
            runs: vec![Vec::new()],
            judged: Vec::new(),
        }
    }

    /// Adds a word or phrase, which the text model reads as `texts`.
    pub(super) fn read(&mut self, part: &Term, texts: impl Iterator<Item = String>) {
        let first = self.terms.len();
        let mut is_learned = true;
        for text in texts {
            let learned = self.learned.get(&text);
            let border = learned.and_then(|word| word.border);
            let counts = learned.is_none() || border.is_some();
            if counts && (self.terms.len() == first || !part.is_phrase) {
                self.terms.push(JudgedTerm {
                    label: match part.is_phrase {
                        true => part.text.clone(),
                        false => text.clone(),
                    },
                    role: part.role,
                    words: Vec::new(),
                });
            }
            let judged = border.map(|border| JudgedWord {
                index: self.judged.len(),
                border,
            });
            match judged {
                Some(word) => self.judge(part, &text, word),
                None => self.runs.push(Vec::new()),
            }
            is_learned &= learned.is_some();
            self.words.push(QueryWord {
                text,
                term: counts.then(|| self.terms.len() - 1),
                judged,
            });
        }
        // A phrase with a word that was not learned cannot be judged by the others.
        if let (true, false, Some(term)) = (part.is_phrase, is_learned, self.terms.get_mut(first)) {
            term.words.clear();
        }
    }

    fn judge(&mut self, part: &Term, text: &str, word: JudgedWord) {
        self.judged.push(text.to_owned());
        if let Some(term) = self.terms.last_mut() {
            term.words.push(word);
        }
        match self.runs.last_mut() {
            Some(run) if part.role == Role::Wanted && !part.is_phrase => run.push(word),
            _ => self.runs.push(Vec::new()),
        }
    }

    /// The words, with their vectors as `search` reads them.
    pub(super) fn finish(mut self, search: &Search) -> Result<QueryWords> {
        self.runs.retain(|words| words.len() > 1);
        let texts: Vec<&str> = self.judged.iter().map(String::as_str).collect();
        let vectors = match texts.is_empty() {
            true => None,
            false => Some(search.collect_words(&self.learned.vectors(&texts)?)?),
        };
        Ok(QueryWords {
            words: self.words,
            terms: self.terms,
            neighbours: self.runs,
            vectors,
        })
    }
}

impl Margin {
    /// The margin of some words whose relevance is at least this far above their borders, in one region
    /// if there are several; without words nothing is known.
    ///
    /// Chance puts a region above the borders of several words more rarely than above one, so these words
    /// are shown from half of the doubt below their borders on, and at the borders surely.
    ///
    /// # Source
    /// docs/decisions/0037-a-word-is-judged-alone.md
    pub(super) fn new(least: f64, words: &[JudgedWord]) -> Self {
        let doubt = words.iter().map(|word| word.border.doubt);
        let doubt = doubt.fold(0.0, f64::max);
        let lowered = if words.len() > 1 { 0.5 * doubt } else { 0.0 };
        Self {
            above: least + lowered,
            doubt: doubt - lowered,
        }
    }

    pub(super) fn is_shown(self) -> bool {
        self.above > 0.0
    }

    pub(super) fn is_surely_shown(self) -> bool {
        self.above > self.doubt
    }

    pub(super) fn is_surely_missing(self) -> bool {
        self.above <= -self.doubt
    }

    pub(super) fn is_sure(self) -> bool {
        self.is_surely_shown() || self.is_surely_missing()
    }
}

impl QueryWords {
    /// The names of the wanted terms whose index `holds` accepts.
    pub(super) fn wanted(&self, holds: impl Fn(usize) -> bool) -> Vec<String> {
        let terms = self.terms.iter().enumerate();
        let wanted = terms.filter(|(at, term)| term.is_wanted() && holds(*at));
        wanted.map(|(_, term)| term.label.clone()).collect()
    }

    /// Whether a photo may be listed: it shows a wanted term if there is one, every required one, and
    /// no excluded one.
    pub(super) fn accept(&self, photo: &JudgedPhoto<'_>) -> bool {
        let terms = || self.terms.iter().zip(&photo.margins);
        let is_allowed = terms().all(|(term, margin)| match term.role {
            Role::Wanted => true,
            Role::Required => margin.is_shown(),
            Role::Excluded => !margin.is_shown(),
        });
        let wanted = || terms().filter(|(term, _)| term.is_wanted());
        let shows_any = wanted().any(|(_, margin)| margin.is_shown());
        is_allowed && (shows_any || wanted().next().is_none())
    }

    /// Counts the wanted terms that a photo surely lacks, and the excluded ones that it may show.
    pub(super) fn count(&self, photo: &mut JudgedPhoto<'_>) {
        for (term, margin) in self.terms.iter().zip(&photo.margins) {
            let is_missing = margin.is_surely_missing();
            match term.is_wanted() {
                true => photo.missing += usize::from(is_missing),
                false => photo.doubtful += usize::from(!is_missing),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_of_several_words_is_half_of_the_doubt_lower() {
        let border = |doubt| WordBorder {
            relevance: 0.3,
            doubt,
        };
        let word = |doubt| JudgedWord {
            index: 0,
            border: border(doubt),
        };
        let states = |margin: Margin| {
            [
                margin.is_surely_shown(),
                margin.is_shown(),
                margin.is_surely_missing(),
            ]
        };
        let one = |least| states(Margin::new(least, &[word(0.1)]));
        assert_eq!(one(0.11), [true, true, false]);
        assert_eq!(one(0.09), [false, true, false]);
        assert_eq!(one(-0.09), [false, false, false]);
        assert_eq!(one(-0.11), [false, false, true]);
        let two = |least| states(Margin::new(least, &[word(0.1), word(0.05)]));
        assert_eq!(two(0.01), [true, true, false]);
        assert_eq!(two(-0.04), [false, true, false]);
        assert_eq!(two(-0.09), [false, false, false]);
        assert_eq!(two(-0.11), [false, false, true]);
        // A term that was not learned.
        assert_eq!(
            states(Margin::new(f64::NEG_INFINITY, &[])),
            [false, false, true]
        );
    }
}
