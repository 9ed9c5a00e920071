//! The words of a query, and whether a photo shows them.

use uard_attention::search::{Search, SearchWords};
use uard_model::{LearnedWord, LearnedWords, WordBorders, WordClassifiers};
use uard_relevance::Logistic;

use super::judge::JudgedPhoto;
use crate::Result;
use crate::answer::QueryWordResult;
use crate::query::{Role, Term};

/// The words of a query, and the vectors of those that photos are judged by.
pub(super) struct QueryWords {
    /// Every word, in order.
    pub(super) words: Vec<QueryWord>,
    /// What photos are judged by, in order.
    pub(super) terms: Vec<JudgedTerm>,
    /// The vectors of the judged words; none if there is no such word.
    pub(super) vectors: Option<WordVectors>,
}

/// Vectors of words, as a search reads them.
pub(super) struct WordVectors {
    /// Each as a caption of its own.
    pub(super) alone: SearchWords,
    /// All as one caption.
    pub(super) together: SearchWords,
    /// None if the model has none, because an earlier version learned its words.
    pub(super) classifiers: Option<WordClassifiers<SearchWords>>,
}

/// A word of a query, as the text model reads it.
#[derive(Debug)]
pub(super) struct QueryWord {
    pub(super) text: String,
    role: Role,
    /// What the model has learned about it.
    learned: Option<LearnedWord>,
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
    pub(super) borders: WordBorders,
    /// The borders of a single region's cosine.
    region_borders: WordBorders,
    /// None if an earlier version has learned the word.
    pub(super) chance: Option<Logistic>,
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

/// Whether a photo shows a word or phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Missing,
    PerhapsMissing,
    PerhapsShown,
    Shown,
}

/// Sorts the words of a query into terms.
pub(super) struct TermReader<'a> {
    learned: &'a LearnedWords,
    words: Vec<QueryWord>,
    terms: Vec<JudgedTerm>,
    /// The texts of the judged words.
    judged: Vec<String>,
}

impl<'a> TermReader<'a> {
    pub(super) fn new(learned: &'a LearnedWords) -> Self {
        Self {
            learned,
            words: Vec::new(),
            terms: Vec::new(),
            judged: Vec::new(),
        }
    }

    /// Adds a word or phrase, which the text model reads as `texts`.
    pub(super) fn read(&mut self, part: &Term, texts: impl Iterator<Item = String>) {
        let first = self.terms.len();
        let mut is_learned = true;
        for text in texts {
            let learned = self.learned.get(&text);
            let borders = learned.and_then(|word| word.borders);
            let counts = learned.is_none() || borders.is_some();
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
            let judged = borders.map(|borders| JudgedWord {
                index: self.judged.len(),
                borders,
                region_borders: learned
                    .and_then(|word| word.region_borders)
                    .unwrap_or(borders),
                chance: learned.and_then(|word| word.chance),
            });
            if let (Some(word), Some(term)) = (judged, self.terms.last_mut()) {
                self.judged.push(text.clone());
                term.words.push(word);
            }
            is_learned &= learned.is_some();
            self.words.push(QueryWord {
                text,
                role: part.role,
                learned: learned.cloned(),
                term: counts.then(|| self.terms.len() - 1),
                judged,
            });
        }
        // A phrase with a word that was not learned cannot be judged by the others.
        if let (true, false, Some(term)) = (part.is_phrase, is_learned, self.terms.get_mut(first)) {
            term.words.clear();
        }
    }

    /// The words, with their vectors as `search` reads them.
    pub(super) fn finish(self, search: &Search) -> Result<QueryWords> {
        let texts: Vec<&str> = self.judged.iter().map(String::as_str).collect();
        let vectors = match texts.is_empty() {
            true => None,
            false => Some(WordVectors {
                alone: search.collect_words(&self.learned.vectors(&texts)?)?,
                together: search.collect_words(&self.learned.caption(&texts)?)?,
                classifiers: match self.learned.classifiers(&texts)? {
                    None => None,
                    Some(found) => Some(WordClassifiers {
                        weights: search.collect_words(&found.weights)?,
                        lengths: found.lengths,
                        constants: found.constants,
                    }),
                },
            }),
        };
        Ok(QueryWords {
            words: self.words,
            terms: self.terms,
            vectors,
        })
    }
}

impl JudgedWord {
    /// The verdict on a photo of this relevance.
    pub(super) fn verdict(&self, relevance: f32) -> Verdict {
        let relevance = f64::from(relevance);
        let borders = &self.borders;
        if relevance <= borders.missing {
            Verdict::Missing
        } else if relevance <= borders.shown {
            Verdict::PerhapsMissing
        } else if relevance <= borders.sure {
            Verdict::PerhapsShown
        } else {
            Verdict::Shown
        }
    }

    /// The borders of relevance, or those of a single region's cosine.
    pub(super) fn borders(&self, of_region: bool) -> &WordBorders {
        match of_region {
            true => &self.region_borders,
            false => &self.borders,
        }
    }

    /// Where the relevance of a photo lies between the borders: 0 where the word is surely missing, 1 where it is
    /// shown by guess.
    pub(super) fn position(&self, relevance: f32) -> f64 {
        position(&self.borders, relevance)
    }

    /// The same for the cosine of a single region.
    pub(super) fn region_position(&self, cosine: f32) -> f64 {
        position(&self.region_borders, cosine)
    }
}

fn position(borders: &WordBorders, relevance: f32) -> f64 {
    (f64::from(relevance) - borders.missing) / (borders.shown - borders.missing)
}

impl Verdict {
    /// The verdict where less is asked of a word than to show it alone; `least` is its
    /// [`JudgedWord::position`], of several words the least.
    ///
    /// This holds for several words in one region, because chance puts a region above the borders of
    /// several more rarely than above one; and for excluded words, because a photo that is left out is
    /// missed less than one that shows what it must not.
    ///
    /// # Source
    /// docs/decisions/0037-a-word-is-judged-alone.md
    pub(super) fn leniently(least: f64) -> Self {
        match least {
            least if least <= 0.0 => Self::Missing,
            least if least <= 0.5 => Self::PerhapsMissing,
            least if least <= 0.75 => Self::PerhapsShown,
            _ => Self::Shown,
        }
    }

    pub(super) fn is_shown(self) -> bool {
        self >= Self::PerhapsShown
    }

    pub(super) fn is_sure(self) -> bool {
        matches!(self, Self::Missing | Self::Shown)
    }
}

impl QueryWords {
    /// The names of the wanted terms whose index `holds` accepts.
    pub(super) fn wanted(&self, holds: impl Fn(usize) -> bool) -> Vec<String> {
        let terms = self.terms.iter().enumerate();
        let wanted = terms.filter(|(at, term)| term.is_wanted() && holds(*at));
        wanted.map(|(_, term)| term.label.clone()).collect()
    }

    /// Whether photos can lack something that was asked for.
    pub(super) fn want_anything(&self) -> bool {
        self.terms.iter().any(JudgedTerm::is_wanted)
    }

    /// The mean, over the wanted words that stand alone, of the logarithm of the chance that a photo of this
    /// relevance shows the word; 0 without such words. A phrase is shown by a region, of which the chance of
    /// its words in the whole photo says nothing.
    pub(super) fn mean_log_chance(&self, relevance: &[f32]) -> f32 {
        let terms = self.terms.iter().filter(|term| term.is_wanted());
        let chances = terms.filter_map(|term| {
            let &[word] = &term.words[..] else {
                return None;
            };
            // How surely a word is missing does not matter.
            let relevance = f64::from(relevance[word.index]).max(word.borders.missing);
            Some(word.chance?.log_chance(relevance))
        });
        let chances: Vec<f64> = chances.collect();
        (chances.iter().sum::<f64>() / chances.len().max(1) as f64) as f32
    }

    /// Whether a word is one of several of a quoted phrase.
    pub(super) fn is_in_phrase(&self, word: &QueryWord) -> bool {
        word.term
            .is_some_and(|term| self.terms[term].words.len() > 1)
    }

    /// Every word, with the number of photos that show its term.
    pub(super) fn described(&self, shown: &[usize]) -> Vec<QueryWordResult> {
        let words = self.words.iter();
        let words = words.map(|word| QueryWordResult {
            word: word.text.clone(),
            counts: word.term.is_some(),
            role: word.role,
            learned: word.learned.is_some(),
            photos: word.term.map_or(0, |term| shown[term]),
            borders: word
                .judged
                .map(|judged| *judged.borders(self.is_in_phrase(word))),
            distributions: match (&word.learned, self.is_in_phrase(word)) {
                (Some(learned), false) => learned.distributions,
                _ => None,
            },
        });
        words.collect()
    }

    /// Whether a photo may be listed: it shows a wanted term if there is one, every required one, and
    /// no excluded one.
    pub(super) fn accept(&self, photo: &JudgedPhoto<'_>) -> bool {
        let terms = || self.terms.iter().zip(&photo.verdicts);
        let is_allowed = terms().all(|(term, verdict)| match term.role {
            Role::Wanted => true,
            Role::Required => verdict.is_shown(),
            Role::Excluded => !verdict.is_shown(),
        });
        let wanted = || terms().filter(|(term, _)| term.is_wanted());
        let shows_any = wanted().any(|(_, verdict)| verdict.is_shown());
        is_allowed && (shows_any || wanted().next().is_none())
    }

    /// Counts the wanted terms that a photo surely lacks, and the excluded ones that it may show.
    pub(super) fn count(&self, photo: &mut JudgedPhoto<'_>) {
        for (term, verdict) in self.terms.iter().zip(&photo.verdicts) {
            let is_missing = *verdict == Verdict::Missing;
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
    use Verdict::{Missing, PerhapsMissing, PerhapsShown, Shown};

    #[test]
    fn wanted_words_that_are_judged_count_by_the_mean_of_their_log_chances() {
        let chance = Logistic::fit(&[0.5, 0.6, 0.7, 0.3], &[0.1, 0.2, 0.3, 0.5]).unwrap();
        let borders = WordBorders {
            missing: 0.1,
            shown: 0.3,
            sure: 0.4,
        };
        let term = |role, index, chance| JudgedTerm {
            label: String::new(),
            role,
            words: vec![JudgedWord {
                index,
                borders,
                region_borders: borders,
                chance,
            }],
        };
        let mut phrase = term(Role::Wanted, 4, Some(chance));
        phrase.words.push(phrase.words[0]);
        let words = QueryWords {
            words: Vec::new(),
            terms: vec![
                term(Role::Wanted, 0, Some(chance)),
                term(Role::Required, 1, Some(chance)),
                term(Role::Excluded, 2, Some(chance)),
                term(Role::Wanted, 3, None),
                phrase,
            ],
            vectors: None,
        };
        let found = f64::from(words.mean_log_chance(&[0.6, 0.2, 0.9, 0.9, 0.9]));
        let expected = (chance.chance(0.6).ln() + chance.chance(0.2).ln()) / 2.0;
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        // Below the border all photos count the same.
        let far = [0.6, -9.0, 0.9, 0.9, 0.9];
        let missing = [0.6, 0.1, 0.9, 0.9, 0.9];
        assert_eq!(words.mean_log_chance(&far), words.mean_log_chance(&missing));
        let nothing = QueryWords {
            terms: Vec::new(),
            ..words
        };
        assert_eq!(nothing.mean_log_chance(&[]), 0.0);
    }

    #[test]
    fn less_is_asked_of_each_of_several_words_and_of_excluded_ones() {
        let borders = WordBorders {
            missing: 0.1,
            shown: 0.3,
            sure: 0.4,
        };
        let word = JudgedWord {
            index: 0,
            borders,
            region_borders: borders,
            chance: None,
        };
        let relevance = [0.09, 0.11, 0.21, 0.26, 0.31, 0.41];
        assert_eq!(
            relevance.map(|relevance| word.verdict(relevance)),
            [
                Missing,
                PerhapsMissing,
                PerhapsMissing,
                PerhapsMissing,
                PerhapsShown,
                Shown
            ]
        );
        assert_eq!(
            relevance.map(|relevance| Verdict::leniently(word.position(relevance))),
            [Missing, PerhapsMissing, PerhapsShown, Shown, Shown, Shown]
        );
        assert_eq!(Verdict::leniently(f64::NEG_INFINITY), Missing);
    }
}
