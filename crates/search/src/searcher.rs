//! Answers queries: judges the words of a query in every photo, groups the photos, and ranks them.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use uard_attention::evidence::WordEvidence;
use uard_attention::search::{Search, SearchWords};
use uard_attention::{Engine, Matcher, MatcherConfig, Sides, WeightRule};
use uard_model::{Checkpoint, LearnedWords, Model, highest_relevance};

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

/// A photo that meets the filters of a query.
struct JudgedPhoto<'a> {
    id: PhotoId,
    segment: &'a SelectedSegment,
    /// Its image in the segment.
    position: usize,
    /// The highest relevance of each judged word.
    relevance: Vec<f32>,
    /// For each phrase the region that shows all of it, if there is one.
    regions_of_phrases: Vec<Option<usize>>,
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
        let checkpoint = Checkpoint::open(&folder.join(MODEL))?;
        let identity = checkpoint.identity()?;
        index.expect_model(&identity)?;
        let words = checkpoint.words_path();
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
        let mut photos = self.judge(&selection, &words)?;
        let is_shown = |word: &QueryWord| photos.iter().any(|photo| words.shows(photo, word));
        let wanted = words.words.iter().filter(|word| word.is_wanted());
        let nothing_shows = labels(wanted.filter(|word| !is_shown(word)));
        let counted = words.words.iter().filter(|word| word.counts);
        let unknown = labels(counted.filter(|word| word.judged.is_none()));
        photos.retain(|photo| words.accept(photo));
        self.add_similarities(&query.sentence, &mut photos)?;
        photos.sort_by(|a, b| {
            let order = a.missing.cmp(&b.missing).then(a.apart.cmp(&b.apart));
            let order = order.then(b.similarity.total_cmp(&a.similarity));
            order.then(a.id.cmp(&b.id))
        });
        photos.truncate(top);
        let results = photos.iter().map(|photo| self.result(photo, &words));
        Ok(Answer {
            query: text.to_owned(),
            threshold: self.threshold,
            searched: selection.photos(),
            nothing_shows,
            unknown,
            results: results.collect::<Result<_>>()?,
        })
    }

    /// How one photo of the index shows a query, whatever the query's filters and exclusions.
    ///
    /// # Errors
    /// When the photo is not in the index, the query is wrong, or the index cannot be read.
    pub fn explain(&mut self, photo: &Path, text: &str) -> Result<PhotoResult> {
        let query = Query::parse(text, &|word| self.counts(word))?;
        let words = self.query_words(&query)?;
        let selection = self.index.select(&Filter {
            path: Some(photo.to_owned()),
            ..Filter::default()
        })?;
        let mut photos = self.judge(&selection, &words)?;
        self.add_similarities(&query.sentence, &mut photos)?;
        match photos.first() {
            Some(found) => self.result(found, &words),
            None => Err(Error::NotIndexed {
                path: self.index.folder().to_owned(),
                photo: photo.to_owned(),
            }),
        }
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

    /// Judges every selected photo, in the order of the selection.
    fn judge<'a>(
        &self,
        selection: &'a Selection,
        words: &QueryWords,
    ) -> Result<Vec<JudgedPhoto<'a>>> {
        let mut judged = Vec::with_capacity(selection.photos());
        for segment in &selection.segments {
            let (found, count) = match &words.vectors {
                None => (Vec::new(), 0),
                Some(vectors) => {
                    let (regions, images) = (&segment.regions, &segment.positions);
                    let found = self.words.captions_for_images(regions, vectors, images)?;
                    (found, vectors.captions())
                }
            };
            let photos = segment.photos.iter().zip(&segment.positions).enumerate();
            for (at, (&id, &position)) in photos {
                let mut photo = JudgedPhoto {
                    id,
                    segment,
                    position,
                    relevance: found[at * count..(at + 1) * count].to_vec(),
                    regions_of_phrases: Vec::with_capacity(words.phrases.len()),
                    missing: 0,
                    apart: 0,
                    similarity: 0.0,
                };
                for phrase in &words.phrases {
                    let region = self.region_of_phrase(&photo, words, phrase)?;
                    photo.regions_of_phrases.push(region);
                }
                words.count(&mut photo);
                judged.push(photo);
            }
        }
        Ok(judged)
    }

    /// The region that shows all words of a phrase: the largest of the least distances above a border;
    /// none if no region is above all borders.
    fn region_of_phrase(
        &self,
        photo: &JudgedPhoto<'_>,
        words: &QueryWords,
        phrase: &Phrase,
    ) -> Result<Option<usize>> {
        if !photo.shows_each(phrase) {
            return Ok(None);
        }
        let mut least: BTreeMap<usize, f64> = BTreeMap::new();
        for word in &phrase.words {
            let evidence = self.evidence(photo, words, *word)?;
            for found in evidence.iter().flat_map(|word| &word.regions) {
                let above = f64::from(found.relevance) - word.border;
                let least = least.entry(found.region).or_insert(above);
                *least = least.min(above);
            }
        }
        let best = least
            .into_iter()
            .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        let best = best.filter(|(_, above)| *above > 0.0);
        Ok(best.map(|(region, _)| region))
    }

    /// The relevance of a judged word in every region of a photo.
    fn evidence(
        &self,
        photo: &JudgedPhoto<'_>,
        words: &QueryWords,
        word: JudgedWord,
    ) -> Result<Option<WordEvidence>> {
        let Some(vectors) = &words.vectors else {
            return Ok(None);
        };
        let (regions, image) = (&photo.segment.regions, photo.position);
        let evidence = self.regions.evidence(regions, vectors, image, word.index)?;
        Ok(evidence.words.into_iter().next())
    }

    /// Computes the similarity of the sentence with each photo; they are in the order of their
    /// segments.
    fn add_similarities(&self, sentence: &str, photos: &mut [JudgedPhoto<'_>]) -> Result<()> {
        if sentence.is_empty() || photos.is_empty() {
            return Ok(());
        }
        let words = self.model.texts(&[sentence])?;
        let words = self.sentences.collect_words(&words)?;
        for photos in photos.chunk_by_mut(|a, b| std::ptr::eq(a.segment, b.segment)) {
            let regions = &photos[0].segment.regions;
            let images: Vec<usize> = photos.iter().map(|photo| photo.position).collect();
            let found = self
                .sentences
                .captions_for_images(regions, &words, &images)?;
            for (photo, similarity) in photos.iter_mut().zip(found) {
                photo.similarity = similarity;
            }
        }
        Ok(())
    }

    /// The region of highest relevance; for a word of a phrase the region that shows the phrase, if
    /// there is one.
    fn region_of_word(
        &self,
        photo: &JudgedPhoto<'_>,
        words: &QueryWords,
        word: JudgedWord,
    ) -> Result<Option<usize>> {
        let mut phrases = words.phrases.iter().zip(&photo.regions_of_phrases);
        let of_phrase = phrases.find_map(|(phrase, region)| {
            let is_part = phrase.words.iter().any(|part| part.index == word.index);
            region.filter(|_| is_part)
        });
        match of_phrase {
            Some(region) => Ok(Some(region)),
            None => {
                let evidence = self.evidence(photo, words, word)?;
                Ok(evidence.map(|word| word.best_region))
            }
        }
    }

    /// A listed photo, with the region of each word.
    fn result(&self, photo: &JudgedPhoto<'_>, words: &QueryWords) -> Result<PhotoResult> {
        let id = photo.id;
        let indexed = self.index.photo(id)?.ok_or_else(|| Error::NoPhoto {
            path: self.index.folder().to_owned(),
            id,
        })?;
        let preview = self.index.preview(id)?;
        let boxes = preview.map_or_else(Vec::new, |preview| preview.boxes);
        let mut found = Vec::with_capacity(words.words.len());
        for word in &words.words {
            let region = match word.judged {
                Some(judged) => self.region_of_word(photo, words, judged)?,
                None => None,
            };
            found.push(WordResult {
                word: word.text.clone(),
                counts: word.counts,
                excluded: word.role == Role::Excluded,
                shown: words.shows(photo, word),
                relevance: word.judged.map(|judged| photo.relevance[judged.index]),
                border: word.judged.map(|judged| judged.border),
                region,
                region_box: region.and_then(|region| boxes.get(region)).copied(),
            });
        }
        let wanted = words.words.iter().filter(|word| word.is_wanted());
        let missing = labels(wanted.filter(|word| !words.shows(photo, word)));
        Ok(PhotoResult {
            id: id.0,
            path: indexed.file.path,
            similarity: photo.similarity,
            group: match missing.is_empty() && words.words.iter().any(|word| word.counts) {
                true => Group::Everything,
                false => Group::Part,
            },
            missing,
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

impl JudgedPhoto<'_> {
    fn is_above(&self, word: JudgedWord) -> bool {
        f64::from(self.relevance[word.index]) > word.border
    }

    /// Whether it shows each word of a phrase, in one region or several.
    fn shows_each(&self, phrase: &Phrase) -> bool {
        phrase.words.iter().all(|word| self.is_above(*word))
    }
}

impl QueryWords {
    /// The phrases that a photo shows in different regions only.
    fn apart<'a>(&'a self, photo: &'a JudgedPhoto<'_>) -> impl Iterator<Item = &'a Phrase> {
        let phrases = self.phrases.iter().zip(&photo.regions_of_phrases);
        let apart = phrases.filter(|(phrase, region)| region.is_none() && photo.shows_each(phrase));
        apart.map(|(phrase, _)| phrase)
    }

    /// Whether a photo shows a word; of a quoted phrase, not if it shows its words in different
    /// regions only.
    fn shows(&self, photo: &JudgedPhoto<'_>, word: &QueryWord) -> bool {
        let is_above = word.judged.is_some_and(|word| photo.is_above(word));
        is_above
            && self
                .apart(photo)
                .all(|phrase| phrase.term != Some(word.term))
    }

    /// Counts the wanted words that a photo does not show, and the words side by side that it shows
    /// apart.
    fn count(&self, photo: &mut JudgedPhoto<'_>) {
        let wanted = self.words.iter().filter(|word| word.is_wanted());
        photo.missing = wanted.filter(|word| !self.shows(photo, word)).count();
        photo.apart = self
            .apart(photo)
            .filter(|phrase| phrase.term.is_none())
            .count();
    }

    /// Whether a photo may be listed.
    fn accept(&self, photo: &JudgedPhoto<'_>) -> bool {
        let with_role = |role| {
            let counted = self.words.iter().filter(|word| word.counts);
            counted.filter(move |word| word.role == role)
        };
        let lacks_required = with_role(Role::Required).any(|word| !self.shows(photo, word));
        // A photo is left out if it shows all words of an excluded phrase.
        let excluded: Vec<&QueryWord> = with_role(Role::Excluded).collect();
        let shows_excluded = excluded
            .chunk_by(|a, b| a.term == b.term)
            .any(|phrase| phrase.iter().all(|word| self.shows(photo, word)));
        let wanted = self.words.iter().filter(|word| word.is_wanted()).count();
        let shows_any = wanted == 0 || photo.missing < wanted;
        shows_any && !lacks_required && !shows_excluded
    }
}
