//! Answers queries: judges the words of a query in every photo, groups the photos, and ranks them.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use uard_attention::search::{Search, SearchWords};
use uard_attention::{Engine, Matcher, MatcherConfig, Sides, WeightRule};
use uard_model::{Checkpoint, LearnedWords, Model, WORDS, highest_relevance};

use crate::answer::{Answer, Group, PhotoResult, WordResult};
use crate::photo::PhotoId;
use crate::query::{Query, Role};
use crate::{Error, Filter, Index, Result, SelectedSegment, Selection};

/// A threshold that every cosine is above.
const BELOW_ALL: f64 = -2.0;

/// The folder inside of an index that holds the files of its model.
pub const MODEL: &str = "model";

/// An index with its model in memory, for many queries.
#[derive(Debug)]
pub struct Searcher {
    index: Index,
    model: Model,
    learned: LearnedWords,
    threshold: f64,
    /// Computes the similarity of a sentence, by the rule of the model.
    sentences: Search,
    /// Computes the highest relevance of a word.
    words: Search,
    /// Lists the relevance of a word in every region.
    regions: Search,
}

/// A word of a query.
#[derive(Debug)]
struct QueryWord {
    text: String,
    /// The word, or the phrase that it belongs to, as it is named in an answer.
    label: String,
    role: Role,
    /// The index of its term: the words of a phrase have the same.
    term: usize,
    /// Whether a photo that does not show it lacks something.
    counts: bool,
    /// How it is judged; none if it does not count, or the model has not learned it.
    judged: Option<JudgedWord>,
}

/// A word that photos are judged by.
#[derive(Debug, Clone, Copy)]
struct JudgedWord {
    /// Its index among the judged words of the query.
    index: usize,
    border: f64,
}

/// The words of a query, and the vectors of those that are judged.
struct QueryWords {
    words: Vec<QueryWord>,
    /// The words that one region should show together.
    phrases: Vec<Phrase>,
    vectors: Option<SearchWords>,
}

/// Two or more judged words that one region should show: those of a quoted phrase, or words that stand
/// side by side, such as `red ball` in "a red ball".
struct Phrase {
    words: Vec<JudgedWord>,
    /// The term of a quoted phrase, which is not shown otherwise. Words side by side only put photos
    /// that show them together before others.
    term: Option<usize>,
}

/// A photo that meets the conditions of a query.
struct Candidate {
    id: PhotoId,
    /// The index of its segment in the selection.
    segment: usize,
    /// Its image in the segment.
    position: usize,
    /// The highest relevance of each judged word.
    relevance: Vec<f32>,
    /// The terms of phrases that no single region shows.
    not_together: Vec<usize>,
    /// How many of the wanted words it does not show.
    missing: usize,
    /// How many pairs of words that stand side by side it shows in different regions only.
    apart: usize,
    similarity: f32,
}

impl Searcher {
    /// Opens an index with the model inside of it. Regions are mapped when a query reads them.
    ///
    /// # Errors
    /// When there is no index, or its model is missing, damaged, or another one than it was made
    /// with.
    pub fn open(folder: &Path) -> Result<Self> {
        let index = Index::open(folder)?;
        let files = folder.join(MODEL);
        let checkpoint = Checkpoint::open(&files)?;
        let identity = checkpoint.identity()?;
        index.expect_model(&identity)?;
        let words = files.join(WORDS);
        if !words.is_file() {
            return Err(Error::NoWords { path: words });
        }
        let learned = LearnedWords::read(&words, &identity)?;
        let model = checkpoint.model(&Device::Cpu)?;
        let running = Engine::Auto.open(Some(index.model().precision), &Device::Cpu)?;
        let threshold = checkpoint.threshold(None);
        let every_region = Matcher::new(MatcherConfig {
            rule: WeightRule::Masked,
            sides: Sides::Words,
            inverse_temperature: Some(1.0),
        })?;
        Ok(Self {
            regions: Search::on(&every_region, BELOW_ALL, &running)?,
            sentences: Search::on(model.matcher(), threshold, &running)?,
            words: Search::on(&highest_relevance()?, threshold, &running)?,
            index,
            model,
            learned,
            threshold,
        })
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The best photos for a query, at most `top`: first those that show every word that counts, then
    /// those that show a part, with fewer missing words first. Among equals those come first that show
    /// words side by side (`red ball`) in one region, then the more similar to the sentence, then the
    /// lower number. A photo that shows none of the words is not listed.
    ///
    /// # Errors
    /// When the query is wrong, or the index cannot be read.
    pub fn answer(&mut self, text: &str, top: usize) -> Result<Answer> {
        let query = Query::parse(text, &|word| self.counts(word))?;
        let words = self.query_words(&query)?;
        let selection = self.index.select(&query.filter)?;
        let mut is_shown = vec![false; words.words.len()];
        let mut candidates = Vec::new();
        for (at, segment) in selection.segments.iter().enumerate() {
            for mut candidate in self.judge(at, segment, &words)? {
                for (is_shown, word) in is_shown.iter_mut().zip(&words.words) {
                    *is_shown |= candidate.shows(word);
                }
                if words.accept(&mut candidate) {
                    candidates.push(candidate);
                }
            }
        }
        self.add_similarities(&query.sentence, &selection, &mut candidates)?;
        candidates.sort_by(|a, b| {
            let order = a.missing.cmp(&b.missing).then(a.apart.cmp(&b.apart));
            let order = order.then(b.similarity.total_cmp(&a.similarity));
            order.then(a.id.cmp(&b.id))
        });
        candidates.truncate(top);
        let results = candidates.iter().map(|candidate| {
            let segment = &selection.segments[candidate.segment];
            self.result(candidate, segment, &words)
        });
        let results = results.collect::<Result<_>>()?;
        let never_shown = words.words.iter().zip(is_shown);
        let never_shown = never_shown.filter(|(word, is_shown)| word.is_wanted() && !is_shown);
        let unknown = words
            .words
            .iter()
            .filter(|word| word.counts && word.judged.is_none());
        Ok(Answer {
            query: text.to_owned(),
            threshold: self.threshold,
            searched: selection.photos(),
            nothing_shows: labels(never_shown.map(|(word, _)| word)),
            unknown: labels(unknown),
            results,
        })
    }

    /// How one photo of the index shows a query, whatever the query's filters and exclusions.
    ///
    /// # Errors
    /// When the photo is not in the index, the query is wrong, or the index cannot be read.
    pub fn explain(&mut self, photo: &Path, text: &str) -> Result<PhotoResult> {
        let query = Query::parse(text, &|word| self.counts(word))?;
        let words = self.query_words(&query)?;
        let found = self.index.photo_at(photo)?;
        let found = found.ok_or_else(|| Error::NotIndexed {
            path: self.index.folder().to_owned(),
            photo: photo.to_owned(),
        })?;
        let mut selection = self.index.select(&Filter::default())?;
        for segment in &mut selection.segments {
            let position = segment.photos.iter().position(|&id| id == found.id);
            segment.positions = position
                .map(|at| segment.positions[at])
                .into_iter()
                .collect();
            segment.photos = position.map(|at| segment.photos[at]).into_iter().collect();
        }
        for (at, segment) in selection.segments.iter().enumerate() {
            let mut candidates = self.judge(at, segment, &words)?;
            self.add_similarities(&query.sentence, &selection, &mut candidates)?;
            if let [candidate] = &mut candidates[..] {
                words.accept(candidate);
                return self.result(candidate, segment, &words);
            }
        }
        Err(Error::NoPhoto {
            path: self.index.folder().to_owned(),
            id: found.id,
        })
    }

    /// Whether a word names something that a photo can show. A word that was not learned may.
    fn counts(&self, word: &str) -> bool {
        let learned = self.learned.get(&word.to_lowercase());
        learned.is_none_or(|word| word.border.is_some())
    }

    /// The words of a query as the text model reads them.
    fn query_words(&self, query: &Query) -> Result<QueryWords> {
        let mut words = Vec::new();
        let mut judged = Vec::new();
        for (term, part) in query.terms.iter().enumerate() {
            let read = self.model.text().words(&part.text);
            for word in read.map_err(uard_model::Error::from)? {
                // Punctuation, and endings such as 's.
                if !word.text.starts_with(char::is_alphanumeric) {
                    continue;
                }
                let learned = self.learned.get(&word.text);
                let border = learned.and_then(|word| word.border);
                words.push(QueryWord {
                    role: part.role,
                    term,
                    label: match part.is_phrase {
                        true => part.text.clone(),
                        false => word.text.clone(),
                    },
                    counts: learned.is_none() || border.is_some(),
                    judged: border.map(|border| JudgedWord {
                        index: judged.len(),
                        border,
                    }),
                    text: word.text.clone(),
                });
                if border.is_some() {
                    judged.push(word.text);
                }
            }
        }
        let vectors = match judged.is_empty() {
            true => None,
            false => {
                let texts: Vec<&str> = judged.iter().map(String::as_str).collect();
                Some(self.words.collect_words(&self.learned.vectors(&texts)?)?)
            }
        };
        Ok(QueryWords {
            phrases: phrases(query, &words),
            words,
            vectors,
        })
    }

    /// Every photo of a segment that may answer, with the relevance of the judged words.
    fn judge(
        &self,
        number: usize,
        segment: &SelectedSegment,
        words: &QueryWords,
    ) -> Result<Vec<Candidate>> {
        let (found, judged) = match &words.vectors {
            None => (Vec::new(), 0),
            Some(vectors) => {
                let (regions, images) = (&segment.regions, &segment.positions);
                let found = self.words.captions_for_images(regions, vectors, images)?;
                (found, vectors.captions())
            }
        };
        let photos = segment.photos.iter().zip(&segment.positions).enumerate();
        let candidates = photos.map(|(at, (&id, &position))| Candidate {
            id,
            segment: number,
            position,
            relevance: found[at * judged..(at + 1) * judged].to_vec(),
            not_together: Vec::new(),
            missing: 0,
            apart: 0,
            similarity: 0.0,
        });
        let mut candidates: Vec<Candidate> = candidates.collect();
        for candidate in &mut candidates {
            for phrase in &words.phrases {
                let shows_each = phrase.words.iter().all(|word| candidate.is_above(*word));
                if shows_each
                    && self
                        .region_of_phrase(candidate, segment, words, phrase)?
                        .is_none()
                {
                    match phrase.term {
                        Some(term) => candidate.not_together.push(term),
                        None => candidate.apart += 1,
                    }
                }
            }
        }
        Ok(candidates)
    }

    /// The region that shows all words of a phrase: the largest of the least distances above a border;
    /// none if no region is above all borders.
    fn region_of_phrase(
        &self,
        candidate: &Candidate,
        segment: &SelectedSegment,
        words: &QueryWords,
        phrase: &Phrase,
    ) -> Result<Option<usize>> {
        let Some(vectors) = &words.vectors else {
            return Ok(None);
        };
        let mut least: BTreeMap<usize, f64> = BTreeMap::new();
        for word in &phrase.words {
            let (regions, image) = (&segment.regions, candidate.position);
            let evidence = self.regions.evidence(regions, vectors, image, word.index)?;
            for found in evidence.words.iter().flat_map(|word| &word.regions) {
                let above = f64::from(found.relevance) - word.border;
                let least = least.entry(found.region).or_insert(above);
                *least = least.min(above);
            }
        }
        let best = least
            .into_iter()
            .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        Ok(best
            .filter(|(_, above)| *above > 0.0)
            .map(|(region, _)| region))
    }

    /// Computes the similarity of the sentence with each candidate; they are in the order of their
    /// segments.
    fn add_similarities(
        &self,
        sentence: &str,
        selection: &Selection,
        candidates: &mut [Candidate],
    ) -> Result<()> {
        if sentence.is_empty() || candidates.is_empty() {
            return Ok(());
        }
        let words = self.model.texts(&[sentence])?;
        let words = self.sentences.collect_words(&words)?;
        for candidates in candidates.chunk_by_mut(|a, b| a.segment == b.segment) {
            let regions = &selection.segments[candidates[0].segment].regions;
            let images: Vec<usize> = candidates.iter().map(|found| found.position).collect();
            let found = self
                .sentences
                .captions_for_images(regions, &words, &images)?;
            for (candidate, similarity) in candidates.iter_mut().zip(found) {
                candidate.similarity = similarity;
            }
        }
        Ok(())
    }

    /// The region of highest relevance; for a word of a phrase the region that shows the phrase, if
    /// there is one.
    fn region_of_word(
        &self,
        candidate: &Candidate,
        segment: &SelectedSegment,
        words: &QueryWords,
        word: &QueryWord,
    ) -> Result<Option<usize>> {
        let (Some(judged), Some(vectors)) = (word.judged, &words.vectors) else {
            return Ok(None);
        };
        let is_part = |phrase: &&Phrase| phrase.words.iter().any(|part| part.index == judged.index);
        if let Some(phrase) = words.phrases.iter().find(is_part) {
            let region = self.region_of_phrase(candidate, segment, words, phrase)?;
            if region.is_some() {
                return Ok(region);
            }
        }
        let (regions, image) = (&segment.regions, candidate.position);
        let evidence = self.words.evidence(regions, vectors, image, judged.index)?;
        Ok(evidence.words.first().map(|word| word.best_region))
    }

    /// A listed photo, with the region of each word.
    fn result(
        &self,
        candidate: &Candidate,
        segment: &SelectedSegment,
        words: &QueryWords,
    ) -> Result<PhotoResult> {
        let id = candidate.id;
        let photo = self.index.photo(id)?.ok_or_else(|| Error::NoPhoto {
            path: self.index.folder().to_owned(),
            id,
        })?;
        let boxes = self
            .index
            .preview(id)?
            .map_or_else(Vec::new, |preview| preview.boxes);
        let mut found = Vec::with_capacity(words.words.len());
        for word in &words.words {
            let region = self.region_of_word(candidate, segment, words, word)?;
            found.push(WordResult {
                word: word.text.clone(),
                counts: word.counts,
                excluded: word.role == Role::Excluded,
                shown: candidate.shows(word),
                relevance: word.judged.map(|judged| candidate.relevance[judged.index]),
                border: word.judged.map(|judged| judged.border),
                region,
                region_box: region
                    .and_then(|region| boxes.get(region))
                    .map(|corners| [corners.x0, corners.y0, corners.x1, corners.y1]),
            });
        }
        let missing = words.words.iter();
        let missing = missing.filter(|word| word.is_wanted() && !candidate.shows(word));
        Ok(PhotoResult {
            id: id.0,
            path: photo.file.path,
            similarity: candidate.similarity,
            group: match candidate.missing == 0 && words.words.iter().any(|word| word.counts) {
                true => Group::Everything,
                false => Group::Part,
            },
            missing: labels(missing),
            words: found,
        })
    }
}

/// How words are named in an answer: a phrase once.
fn labels<'a>(words: impl Iterator<Item = &'a QueryWord>) -> Vec<String> {
    let mut labels: Vec<String> = words.map(|word| word.label.clone()).collect();
    labels.dedup();
    labels
}

/// The quoted phrases of a query, and its words that stand side by side.
fn phrases(query: &Query, words: &[QueryWord]) -> Vec<Phrase> {
    let is_quoted = |word: &QueryWord| query.terms[word.term].is_phrase;
    let belong_together = |a: &QueryWord, b: &QueryWord| match is_quoted(a) {
        true => a.term == b.term,
        false => {
            !is_quoted(b) && a.role == Role::Wanted && b.role == a.role && a.counts && b.counts
        }
    };
    let runs = words.chunk_by(belong_together);
    let phrases = runs.map(|run| Phrase {
        words: run.iter().filter_map(|word| word.judged).collect(),
        term: is_quoted(&run[0]).then_some(run[0].term),
    });
    phrases.filter(|phrase| phrase.words.len() > 1).collect()
}

impl QueryWord {
    /// Whether a photo without it lacks something that was asked for.
    fn is_wanted(&self) -> bool {
        self.counts && self.role != Role::Excluded
    }
}

impl Candidate {
    fn is_above(&self, word: JudgedWord) -> bool {
        f64::from(self.relevance[word.index]) > word.border
    }

    /// Whether the photo shows a word; of a phrase, whether one region shows all of it.
    fn shows(&self, word: &QueryWord) -> bool {
        let is_above = word.judged.is_some_and(|word| self.is_above(word));
        is_above && !self.not_together.contains(&word.term)
    }
}

impl QueryWords {
    /// Counts the wanted words that a photo does not show, and says whether the photo may be listed.
    fn accept(&self, candidate: &mut Candidate) -> bool {
        let wanted = self.words.iter().filter(|word| word.is_wanted());
        let wanted: Vec<bool> = wanted.map(|word| candidate.shows(word)).collect();
        let shown = wanted.iter().filter(|is_shown| **is_shown).count();
        candidate.missing = wanted.len() - shown;
        let with_role = |role| {
            self.words
                .iter()
                .filter(move |word| word.counts && word.role == role)
        };
        let lacks_required = with_role(Role::Required).any(|word| !candidate.shows(word));
        // A photo is left out if it shows all words of an excluded phrase.
        let excluded: Vec<&QueryWord> = with_role(Role::Excluded).collect();
        let shows_excluded = excluded
            .chunk_by(|a, b| a.term == b.term)
            .any(|phrase| phrase.iter().all(|word| candidate.shows(word)));
        let shows_any = wanted.is_empty() || shown > 0;
        shows_any && !lacks_required && !shows_excluded
    }
}
