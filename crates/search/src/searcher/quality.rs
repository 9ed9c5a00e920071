//! Evaluates a search where it is known what each photo shows.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uard_core::random::{Draws, permutation, uniform};
use uard_data::dataset::Thing;
use uard_eval::DecisionCounts;

use super::judge::JudgedPhoto;
use super::terms::{QueryWords, Verdict};
use super::{Searcher, sort};
use crate::photo::PhotoId;
use crate::query::{Query, Role, Term};
use crate::{Filter, Result, Selection};

/// The numbers of photos among which "is there a match" is asked, if there are more.
const SIZES: [usize; 4] = [30, 100, 300, 1000];

/// How often photos are drawn for each of [`SIZES`].
const DRAWS: usize = 10;

/// The most pairs of words that "A and not B" is asked for.
const PAIRS: usize = 1500;

/// How many results of "A and not B" are looked at, and the least number of photos that answer it.
const FIRST: usize = 10;

/// The most captions that are searched for.
const CAPTIONS: usize = 1000;

/// What a photo truly shows.
#[derive(Debug, Clone, PartialEq)]
pub struct PhotoTruth {
    /// The photo.
    pub id: PhotoId,
    /// What it shows; none if only captions say it. Then it shows the words of its captions.
    pub things: Option<Vec<Thing>>,
    /// Captions of it.
    pub captions: Vec<String>,
}

/// How well a search judges words and orders photos.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SearchQuality {
    /// The number of photos.
    pub photos: usize,
    /// Whether it is known what the photos show. If not, they show the words of their captions, which do
    /// not name everything.
    pub things_known: bool,
    /// How many words photos are judged by, of those that some photos show and others do not.
    pub judged_words: usize,
    /// "Does this photo show this word", for each photo and judged word.
    pub words: DecisionCounts,
    /// F1 of `words`.
    pub words_f1: f64,
    /// Where shown words are found; none without boxes.
    pub pointing: Option<Pointing>,
    /// "Does any photo show this word", by number of photos.
    pub matches_of_words: Vec<MatchQuality>,
    /// The same for two words of one thing, in quotes; empty if things are not known.
    pub matches_of_phrases: Vec<MatchQuality>,
    /// "A and not B".
    pub exclusion: Exclusion,
    /// How often a caption finds its photo.
    pub order: OrderQuality,
}

/// Where the words are found that photos rightly count as showing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pointing {
    /// How many there are.
    pub words: usize,
    /// The share whose region has an intersection over union of at least 0.5 with a thing of the word.
    pub overlap: f64,
    /// The share whose region has its centre in the box of a thing of the word.
    pub centre: f64,
}

/// "Is there a match": for half of the queries all photos are removed that show what is asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MatchQuality {
    /// The number of photos before any is removed.
    pub photos: usize,
    /// The number of queries.
    pub queries: usize,
    /// F1 of "some photo surely shows it", which is what a search says.
    pub sure: f64,
    /// F1 of "some photo shows it, surely or perhaps".
    pub perhaps: f64,
    /// F1 of the best single cutoff on the similarity of "a …", chosen with the truth in hand.
    pub best_cutoff: f64,
}

/// The first results of "A and not B", for words A and B.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exclusion {
    /// The number of queries.
    pub queries: usize,
    /// The share of the first ten results that show A and not B.
    pub right: f64,
    /// The share of all photos that do.
    pub by_chance: f64,
}

/// How often the photo of a caption is among the first 1, 5 and 10, in percent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OrderQuality {
    /// The number of captions.
    pub captions: usize,
    /// In the order of the search.
    pub search: [f64; 3],
    /// By similarity alone.
    pub similarity: [f64; 3],
}

/// The photos of an evaluation, in the order of a selection, and what they show.
struct Truth<'a> {
    selection: &'a Selection,
    photos: Vec<&'a PhotoTruth>,
    /// The words that each photo shows.
    words: Vec<BTreeSet<String>>,
}

/// What one query gives: for each photo the verdict on the first term, and the similarity.
struct QueryFigures {
    verdicts: Vec<Verdict>,
    similarities: Vec<f32>,
    /// Whether each photo shows what is asked for.
    truth: Vec<bool>,
}

impl Searcher {
    /// Evaluates the search on photos of the index. Photos of which nothing is known are left out.
    ///
    /// The words that photos are judged by were learned from other photos: those of the training.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn quality(&mut self, known: &[PhotoTruth]) -> Result<SearchQuality> {
        let mut selection = self.index.select(&Filter::default())?;
        let known = known.iter().map(|photo| (photo.id, photo));
        let known: BTreeMap<PhotoId, &PhotoTruth> = known.collect();
        for segment in &mut selection.segments {
            let kept = segment.photos.iter().zip(&segment.positions);
            let kept = kept.filter(|(id, _)| known.contains_key(id));
            (segment.photos, segment.positions) = kept.map(|(&id, &at)| (id, at)).unzip();
        }
        let photos = selection
            .segments
            .iter()
            .flat_map(|segment| &segment.photos);
        let photos: Vec<&PhotoTruth> = photos.filter_map(|id| known.get(id).copied()).collect();
        let words = photos.iter().map(|photo| self.words_of(photo));
        let truth = Truth {
            words: words.collect::<Result<_>>()?,
            selection: &selection,
            photos,
        };
        let judged = self.judged_words(&truth);
        let figures = judged.iter().map(|word| {
            let shows = |photo: usize| truth.words[photo].contains(word);
            self.figures(&truth, &single(word, false), shows)
        });
        let figures = figures.collect::<Result<Vec<_>>>()?;
        let mut words = DecisionCounts::default();
        for query in &figures {
            let decisions = query.verdicts.iter().zip(&query.truth);
            decisions.for_each(|(verdict, truth)| words.add(verdict.is_shown(), *truth));
        }
        Ok(SearchQuality {
            photos: truth.photos.len(),
            things_known: truth.things_known(),
            judged_words: judged.len(),
            words,
            words_f1: words.f1(),
            pointing: self.pointing(&truth, &judged)?,
            matches_of_words: matches(&figures, truth.photos.len()),
            matches_of_phrases: self.matches_of_phrases(&truth, &judged)?,
            exclusion: self.exclusion(&truth, &judged)?,
            order: self.order(&truth)?,
        })
    }

    /// The words that a photo shows, as the text model reads them.
    fn words_of(&self, photo: &PhotoTruth) -> Result<BTreeSet<String>> {
        if let Some(things) = &photo.things {
            return Ok(things
                .iter()
                .flat_map(|thing| thing.words.clone())
                .collect());
        }
        let mut words = BTreeSet::new();
        for caption in &photo.captions {
            words.extend(self.read(caption)?);
        }
        Ok(words)
    }

    /// The words of a text, as the text model reads them.
    fn read(&self, text: &str) -> Result<Vec<String>> {
        let read = self.judge.model.text().words(text);
        let read = read.map_err(uard_model::Error::from)?.into_iter();
        Ok(read.map(|word| word.text).collect())
    }

    /// The judged words that some photos show and others do not.
    fn judged_words(&self, truth: &Truth<'_>) -> Vec<String> {
        let judged = self.judge.learned.words().iter();
        let judged = judged.filter(|word| word.borders.is_some());
        let divides = judged.filter(|word| {
            let shown = truth
                .words
                .iter()
                .filter(|words| words.contains(&word.text));
            (1..truth.photos.len()).contains(&shown.count())
        });
        divides.map(|word| word.text.clone()).collect()
    }

    fn figures(
        &self,
        truth: &Truth<'_>,
        query: &Query,
        shows: impl Fn(usize) -> bool,
    ) -> Result<QueryFigures> {
        let (_, photos) = self.judged(truth.selection, query)?;
        Ok(QueryFigures {
            verdicts: photos.iter().map(JudgedPhoto::first_verdict).collect(),
            similarities: photos.iter().map(|photo| photo.similarity).collect(),
            truth: (0..photos.len()).map(shows).collect(),
        })
    }

    fn pointing(&self, truth: &Truth<'_>, judged: &[String]) -> Result<Option<Pointing>> {
        if !truth.things_known() {
            return Ok(None);
        }
        let (mut words, mut overlap, mut centre) = (0, 0, 0);
        for word in judged {
            let (query, photos) = self.judged(truth.selection, &single(word, false))?;
            for (photo, known) in photos.iter().zip(&truth.photos) {
                let things = known.things.iter().flatten();
                let things = things.filter(|thing| thing.words.contains(word));
                let corners: Vec<[f32; 4]> = things.filter_map(|thing| thing.corners).collect();
                if corners.is_empty() || !photo.first_verdict().is_shown() {
                    continue;
                }
                let shown = self.expect_shown(photo.id)?;
                let result = self.judge.evidence_of(photo, &query, shown)?;
                let Some(found) = result.words.iter().find_map(|word| word.region_box) else {
                    continue;
                };
                words += 1;
                overlap += usize::from(corners.iter().any(|thing| overlaps(found, *thing)));
                centre += usize::from(corners.iter().any(|thing| has_centre(*thing, found)));
            }
        }
        let share = |count| count as f64 / words as f64;
        Ok((words > 0).then(|| Pointing {
            words,
            overlap: share(overlap),
            centre: share(centre),
        }))
    }

    /// Two words of one thing that stand side by side in a caption, as a phrase.
    fn matches_of_phrases(
        &self,
        truth: &Truth<'_>,
        judged: &[String],
    ) -> Result<Vec<MatchQuality>> {
        if !truth.things_known() {
            return Ok(Vec::new());
        }
        let mut phrases = BTreeSet::new();
        for caption in truth.photos.iter().flat_map(|photo| &photo.captions) {
            let words = self.read(caption)?;
            for pair in words.windows(2) {
                if pair.iter().all(|word| judged.binary_search(word).is_ok()) {
                    phrases.insert([pair[0].clone(), pair[1].clone()]);
                }
            }
        }
        let mut figures = Vec::new();
        for phrase in &phrases {
            let shows = |photo: usize| {
                let mut things = truth.photos[photo].things.iter().flatten();
                things.any(|thing| phrase.iter().all(|word| thing.words.contains(word)))
            };
            figures.push(self.figures(truth, &single(&phrase.join(" "), true), shows)?);
        }
        Ok(matches(&figures, truth.photos.len()))
    }

    fn exclusion(&self, truth: &Truth<'_>, judged: &[String]) -> Result<Exclusion> {
        let (mut queries, mut right, mut listed, mut chance) = (0, 0, 0, 0.0);
        let pairs = judged.len() * judged.len();
        let mut stream = Draws::new(0).stream("exclusion", &[]);
        let order = permutation(&mut stream, pairs);
        for pair in order.into_iter().take(PAIRS) {
            let (a, b) = (&judged[pair / judged.len()], &judged[pair % judged.len()]);
            let answers = |words: &BTreeSet<String>| words.contains(a) && !words.contains(b);
            let all = truth.words.iter().filter(|words| answers(words)).count();
            if all < FIRST {
                continue;
            }
            let mut query = single(a, false);
            query.terms.push(Term {
                text: b.clone(),
                role: Role::Excluded,
                is_phrase: false,
            });
            let (words, photos) = self.judged(truth.selection, &query)?;
            let found = truth.first(&words, photos, FIRST);
            queries += 1;
            listed += found.len();
            right += found
                .iter()
                .filter(|&&photo| answers(&truth.words[photo]))
                .count();
            chance += all as f64 / truth.photos.len() as f64;
        }
        Ok(Exclusion {
            queries,
            right: right as f64 / listed.max(1) as f64,
            by_chance: chance / queries.max(1) as f64,
        })
    }

    fn order(&self, truth: &Truth<'_>) -> Result<OrderQuality> {
        let captions = truth.photos.iter().enumerate();
        let captions = captions
            .flat_map(|(photo, known)| known.captions.iter().map(move |caption| (photo, caption)));
        let captions: Vec<(usize, &String)> = captions.collect();
        let taken = captions.len().min(CAPTIONS);
        let mut hits = [[0_usize; 3]; 2];
        for at in 0..taken {
            let (own, caption) = captions[at * captions.len() / taken];
            let query = Query {
                sentence: caption.clone(),
                terms: vec![Term {
                    text: caption.clone(),
                    role: Role::Wanted,
                    is_phrase: false,
                }],
                filter: Filter::default(),
            };
            let (words, photos) = self.judged(truth.selection, &query)?;
            let better = |photo: &&JudgedPhoto<'_>| photo.similarity > photos[own].similarity;
            let by_similarity = Some(photos.iter().filter(better).count());
            let found = truth.first(&words, photos, 10);
            let rank = found.iter().position(|&photo| photo == own);
            for (hits, rank) in hits.iter_mut().zip([rank, by_similarity]) {
                for (hits, first) in hits.iter_mut().zip([1, 5, 10]) {
                    *hits += usize::from(rank.is_some_and(|rank| rank < first));
                }
            }
        }
        let percent = |hits: usize| 100.0 * hits as f64 / taken.max(1) as f64;
        Ok(OrderQuality {
            captions: taken,
            search: hits[0].map(percent),
            similarity: hits[1].map(percent),
        })
    }
}

impl JudgedPhoto<'_> {
    /// The verdict on the first term; a word that the query does not read as one is missing.
    fn first_verdict(&self) -> Verdict {
        self.verdicts.first().copied().unwrap_or(Verdict::Missing)
    }
}

impl Truth<'_> {
    fn things_known(&self) -> bool {
        self.photos.iter().all(|photo| photo.things.is_some())
    }

    /// The first results among judged photos, as indices of photos.
    fn first(
        &self,
        words: &QueryWords,
        mut photos: Vec<JudgedPhoto<'_>>,
        top: usize,
    ) -> Vec<usize> {
        photos.retain(|photo| words.accept(photo));
        sort(&mut photos);
        let position =
            |photo: &JudgedPhoto<'_>| self.photos.iter().position(|known| known.id == photo.id);
        photos.iter().take(top).filter_map(position).collect()
    }
}

/// The query of one word or phrase.
fn single(text: &str, is_phrase: bool) -> Query {
    Query {
        sentence: format!("a {text}"),
        terms: vec![Term {
            text: text.to_owned(),
            role: Role::Wanted,
            is_phrase,
        }],
        filter: Filter::default(),
    }
}

/// Asks each query among drawn photos, of which for half of the queries all are removed that match.
fn matches(figures: &[QueryFigures], photos: usize) -> Vec<MatchQuality> {
    let sizes = SIZES.into_iter().filter(|&size| size < photos);
    let sizes = sizes.chain([photos]);
    sizes
        .map(|size| matches_among(figures, photos, size))
        .collect()
}

fn matches_among(figures: &[QueryFigures], photos: usize, size: usize) -> MatchQuality {
    let (mut sure, mut perhaps) = (DecisionCounts::default(), DecisionCounts::default());
    let mut similarities = Vec::new();
    for draw in 0..DRAWS {
        let mut stream = Draws::new(0).stream("matches", &[size as u64, draw as u64]);
        let drawn = &permutation(&mut stream, photos)[..size];
        for query in figures {
            let matching = drawn.iter().filter(|&&photo| query.truth[photo]).count();
            if !(1..size).contains(&matching) {
                continue;
            }
            let has_match = uniform(&mut stream, 0.0, 1.0, 1)[0] < 0.5;
            let asked = drawn
                .iter()
                .filter(|&&photo| has_match || !query.truth[photo]);
            let asked: Vec<usize> = asked.copied().collect();
            let best = asked.iter().map(|&at| query.verdicts[at]).max();
            sure.add(best == Some(Verdict::Shown), has_match);
            perhaps.add(best >= Some(Verdict::PerhapsShown), has_match);
            let highest = asked.iter().map(|&at| query.similarities[at]);
            similarities.push((highest.fold(f32::NEG_INFINITY, f32::max), has_match));
        }
    }
    MatchQuality {
        photos: size,
        queries: sure.total(),
        sure: sure.f1(),
        perhaps: perhaps.f1(),
        best_cutoff: DecisionCounts::best_f1(&similarities),
    }
}

/// Whether two boxes have an intersection over union of at least 0.5.
fn overlaps(a: [f32; 4], b: [f32; 4]) -> bool {
    let side = |low: usize| (a[low + 2].min(b[low + 2]) - a[low].max(b[low])).max(0.0);
    let area = |corners: [f32; 4]| (corners[2] - corners[0]) * (corners[3] - corners[1]);
    let both = side(0) * side(1);
    both >= 0.5 * (area(a) + area(b) - both)
}

/// Whether the centre of `inner` lies in `outer`.
fn has_centre(outer: [f32; 4], inner: [f32; 4]) -> bool {
    let inside = |low: usize| {
        let centre = f32::midpoint(inner[low], inner[low + 2]);
        (outer[low]..=outer[low + 2]).contains(&centre)
    };
    inside(0) && inside(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_overlap_by_half_of_their_union() {
        let square = [0.0, 0.0, 10.0, 10.0];
        assert!(overlaps(square, [0.0, 0.0, 10.0, 5.0]));
        assert!(!overlaps(square, [0.0, 0.0, 10.0, 4.9]));
        assert!(!overlaps(square, [20.0, 20.0, 30.0, 30.0]));
        assert!(has_centre(square, [8.0, 8.0, 12.0, 12.0]));
        assert!(!has_centre(square, [8.0, 8.0, 13.0, 9.0]));
    }

    #[test]
    fn a_match_is_asked_for_with_and_without_matching_photos() {
        // The border is right for each photo, and two that do not match are in doubt.
        let query = QueryFigures {
            verdicts: vec![
                Verdict::Shown,
                Verdict::PerhapsShown,
                Verdict::Missing,
                Verdict::PerhapsShown,
            ],
            similarities: vec![0.5, 0.6, 0.1, 0.2],
            truth: vec![true, false, false, false],
        };
        let found = matches_among(&[query], 4, 4);
        assert_eq!(found.queries, DRAWS);
        assert_eq!(found.sure, 1.0);
        assert!(found.perhaps < 1.0 && found.best_cutoff < 1.0, "{found:?}");
    }
}
