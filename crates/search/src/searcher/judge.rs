//! Judges photos by the words of queries, and compares them with sentences and with other photos.
//!
//! Photos are taken in blocks, whose regions stay in the cache of a core while all queries read them. Blocks
//! are computed by several threads; a result depends on its photo and its query alone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::Device;
use rayon::prelude::*;
use uard_attention::evidence::WordEvidence;
use uard_attention::search::{Search, SearchWords};
use uard_attention::{Engine, Matcher, MatcherConfig, Sides, WeightRule};
use uard_core::{Regions, Words};
use uard_model::{Checkpoint, LearnedWords, Model, highest_relevance};

use super::terms::{JudgedTerm, JudgedWord, QueryWords, TermReader, Verdict};
use crate::answer::{Cursor, Group, PhotoResult, WordResult};
use crate::photo::PhotoId;
use crate::query::Query;
use crate::segment::Means;
use crate::{Error, Index, Result, SelectedSegment, Selection};

/// A threshold that every cosine is above.
const BELOW_ALL: f64 = -2.0;

/// How many photos of a segment one thread takes at once. With 64 regions of width 512 in bf16 they have 2
/// MB.
const PHOTOS_IN_A_BLOCK: usize = 32;

/// The weight of the mean log-chance of the wanted words in the order of photos.
///
/// # Source
/// docs/decisions/0037-a-word-is-judged-alone.md
const CHANCE_WEIGHT: f32 = 0.05;

/// The model of an index, and what it has learned about words.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) model: Model,
    pub(super) learned: LearnedWords,
    pub(super) threshold: f64,
    /// Computes the similarity of a sentence, by the rule of the model.
    sentences: Search,
    /// Computes the highest cosine of a region with a word, and the cosine of a mean with a classifier.
    words: Search,
    /// Lists the relevance of a word in every region.
    regions: Search,
}

/// What photos are compared with.
pub(super) struct Comparison {
    search: Search,
    /// One caption.
    words: SearchWords,
    /// The weight of the mean log-chance of the wanted words in the score.
    chance_weight: f32,
}

/// A query with the photos that meet its filters.
pub(super) struct SelectedQuery<'a> {
    pub(super) words: &'a QueryWords,
    /// None if the query has no sentence. Similarities are 0 then.
    pub(super) comparison: Option<&'a Comparison>,
    pub(super) selection: &'a Selection,
}

/// Photos of one block that one query selects.
struct Part<'a> {
    /// The index of the query.
    query: usize,
    segment: &'a SelectedSegment,
    /// Their places in `segment`.
    photos: Range<usize>,
}

/// What a query finds.
#[derive(Default)]
pub(super) struct FoundPhotos<'a> {
    /// The photos that may be listed, in the order of the selection.
    pub(super) photos: Vec<JudgedPhoto<'a>>,
    /// For each term its best verdict on a selected photo; none before any photo was judged.
    pub(super) best: Vec<Option<Verdict>>,
    /// For each term how many of the selected photos show it.
    pub(super) shown: Vec<usize>,
}

/// A photo that meets the filters of a query.
pub(super) struct JudgedPhoto<'a> {
    pub(super) id: PhotoId,
    segment: &'a SelectedSegment,
    /// Its image in the segment.
    position: usize,
    /// The relevance of each judged word: the highest cosine of a region, and what its classifier adds.
    relevance: Vec<f32>,
    /// The highest cosine of a region with each judged word.
    cosines: Vec<f32>,
    /// Whether it shows each term.
    pub(super) verdicts: Vec<Verdict>,
    /// How many of the wanted terms it surely lacks.
    pub(super) missing: usize,
    /// How many of the excluded terms it may show.
    pub(super) doubtful: usize,
    /// The similarity with the sentence, or with another photo.
    pub(super) similarity: f32,
    /// The similarity plus the weighted mean log-chance of the wanted words.
    pub(super) score: f32,
}

/// A photo as an answer names it.
pub(super) struct ShownPhoto {
    pub(super) id: Option<i64>,
    pub(super) path: PathBuf,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) boxes: Vec<[f32; 4]>,
}

/// Some photos compared with the judged words of a query: row-major [photos, words].
#[derive(Default)]
struct Compared {
    /// The highest cosine of a region.
    cosines: Vec<f32>,
    /// The same plus the output of the word's classifier.
    relevance: Vec<f32>,
}

/// The region that shows several words best, and whether it does.
struct SharedRegion {
    region: usize,
    verdict: Verdict,
}

impl Judge {
    /// Reads the model in a folder, and checks that it is the one of an index.
    pub(super) fn open(folder: &Path, index: &Index) -> Result<Self> {
        let checkpoint = Checkpoint::open(folder)?;
        let identity = checkpoint.identity()?;
        index.expect_model(&identity)?;
        let words = checkpoint.words_path();
        if !words.is_file() {
            return Err(Error::NoWords { path: words });
        }
        let learned = LearnedWords::read(&words, &identity)?;
        let model = checkpoint.model(&Device::Cpu)?.frozen()?;
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
            model,
            learned,
            threshold,
        })
    }

    /// Whether a word names something that a photo can show. A word that was not learned may.
    pub(super) fn counts(&self, word: &str) -> bool {
        let learned = self.learned.get(&word.to_lowercase());
        learned.is_none_or(|word| word.borders.is_some())
    }

    /// The words of a query as the text model reads them.
    pub(super) fn query_words(&self, query: &Query) -> Result<QueryWords> {
        let mut reader = TermReader::new(&self.learned);
        for part in &query.terms {
            let read = self.model.text().words(&part.text);
            let read = read.map_err(uard_model::Error::from)?.into_iter();
            // Punctuation, and endings such as 's.
            let read = read.filter(|word| word.text.starts_with(char::is_alphanumeric));
            reader.read(part, read.map(|word| word.text));
        }
        reader.finish(&self.words)
    }

    /// The comparison with a sentence; none if it is empty.
    pub(super) fn comparison_with_sentence(&self, sentence: &str) -> Result<Option<Comparison>> {
        if sentence.is_empty() {
            return Ok(None);
        }
        let words = self.model.texts(&[sentence])?;
        let search = self.sentences.clone();
        let words = search.collect_words(&words)?;
        Ok(Some(Comparison {
            search,
            words,
            chance_weight: CHANCE_WEIGHT,
        }))
    }

    /// The comparison with a photo, whose regions are read as words.
    pub(super) fn comparison_with_regions(&self, regions: &Regions) -> Result<Comparison> {
        let words = Words::normalized(regions.rows(), regions.counts().to_vec());
        let words = words.map_err(uard_attention::Error::from)?;
        let search = self.words.clone();
        let words = search.collect_words(&words)?;
        Ok(Comparison {
            search,
            words,
            // Photos that look alike differ little in similarity; the weight is one for sentences.
            chance_weight: 0.0,
        })
    }

    /// What each of some queries finds. Regions that several of them select are read once.
    pub(super) fn find<'a>(&self, queries: &[SelectedQuery<'a>]) -> Vec<Result<FoundPhotos<'a>>> {
        let has_classifiers = |query: &&SelectedQuery<'a>| {
            let vectors = query.words.vectors.as_ref();
            vectors.is_some_and(|vectors| vectors.classifiers.is_some())
        };
        let judged = queries.iter().filter(has_classifiers);
        for segment in judged.flat_map(|query| &query.selection.segments) {
            // A segment of an earlier version has no means: all threads compute them here, so that no block
            // has to. A block reports the error, if there is one.
            let _ = segment.mapped.means();
        }
        let blocks: Vec<Vec<Part<'a>>> = blocks(queries).into_values().collect();
        let found: Vec<Vec<Result<FoundPhotos<'a>>>> = blocks
            .par_iter()
            .map(|parts| {
                let found = parts
                    .iter()
                    .map(|part| self.find_in(part, &queries[part.query]));
                found.collect()
            })
            .collect();
        let empty = |query: &SelectedQuery<'_>| Ok(FoundPhotos::of_terms(query.words.terms.len()));
        let mut merged: Vec<Result<FoundPhotos<'a>>> = queries.iter().map(empty).collect();
        for (part, found) in blocks.iter().flatten().zip(found.into_iter().flatten()) {
            let all = &mut merged[part.query];
            match (all.as_mut(), found) {
                (Ok(all), Ok(found)) => all.add(found),
                (Ok(_), Err(error)) => *all = Err(error),
                (Err(_), _) => {}
            }
        }
        merged
    }

    fn find_in<'a>(&self, part: &Part<'a>, query: &SelectedQuery<'a>) -> Result<FoundPhotos<'a>> {
        let mut photos = self.judge_photos(part.segment, part.photos.clone(), query.words)?;
        let mut found = FoundPhotos::of_terms(query.words.terms.len());
        for photo in &photos {
            found.count(&photo.verdicts);
        }
        photos.retain(|photo| query.words.accept(photo));
        if let Some(comparison) = query.comparison {
            comparison.add_to(&mut photos, query.words)?;
        }
        found.photos = photos;
        Ok(found)
    }

    /// Judges every selected photo, in the order of the selection, without similarities.
    pub(super) fn judge<'a>(
        &self,
        selection: &'a Selection,
        words: &QueryWords,
    ) -> Result<Vec<JudgedPhoto<'a>>> {
        let mut judged = Vec::with_capacity(selection.photos());
        for segment in &selection.segments {
            judged.extend(self.judge_photos(segment, 0..segment.photos.len(), words)?);
        }
        Ok(judged)
    }

    fn judge_photos<'a>(
        &self,
        segment: &'a SelectedSegment,
        places: Range<usize>,
        words: &QueryWords,
    ) -> Result<Vec<JudgedPhoto<'a>>> {
        let positions = &segment.positions[places.clone()];
        let Compared { cosines, relevance } = self.compare(segment, positions, words)?;
        let count = words
            .vectors
            .as_ref()
            .map_or(0, |vectors| vectors.alone.captions());
        let photos = segment.photos[places].iter().zip(positions).enumerate();
        let photos = photos.map(|(at, (&id, &position))| {
            let own = at * count..(at + 1) * count;
            let mut photo = JudgedPhoto {
                id,
                segment,
                position,
                relevance: relevance[own.clone()].to_vec(),
                cosines: cosines[own].to_vec(),
                verdicts: Vec::with_capacity(words.terms.len()),
                missing: 0,
                doubtful: 0,
                similarity: 0.0,
                score: 0.0,
            };
            for term in &words.terms {
                let verdict = self.verdict(&photo, words, term)?;
                photo.verdicts.push(verdict);
            }
            words.count(&mut photo);
            Ok(photo)
        });
        photos.collect()
    }

    /// Compares photos with the judged words of a query.
    fn compare(
        &self,
        segment: &SelectedSegment,
        positions: &[usize],
        words: &QueryWords,
    ) -> Result<Compared> {
        let Some(vectors) = &words.vectors else {
            return Ok(Compared::default());
        };
        let regions = segment.regions();
        let cosines = self
            .words
            .captions_for_images(regions, &vectors.alone, positions)?;
        let mut relevance = cosines.clone();
        if let Some(classifiers) = &vectors.classifiers {
            let Means { packed, first } = segment.mapped.means()?;
            let images: Vec<usize> = positions.iter().map(|position| first + position).collect();
            let given = self
                .words
                .captions_for_images(packed, &classifiers.weights, &images)?;
            let words = classifiers.lengths.iter().zip(&classifiers.constants);
            let added = given.iter().zip(words.cycle());
            for (relevance, (cosine, (length, constant))) in relevance.iter_mut().zip(added) {
                *relevance += cosine * length + constant;
            }
        }
        Ok(Compared { cosines, relevance })
    }

    /// Whether a photo shows a term. One that was not learned has no words, and is missing.
    fn verdict(
        &self,
        photo: &JudgedPhoto<'_>,
        words: &QueryWords,
        term: &JudgedTerm,
    ) -> Result<Verdict> {
        match &term.words[..] {
            [] => Ok(Verdict::Missing),
            &[word] if term.is_wanted() => Ok(word.verdict(photo.relevance[word.index])),
            &[word] => Ok(Verdict::leniently(
                word.position(photo.relevance[word.index]),
            )),
            several => {
                let position = |word: &JudgedWord| word.region_position(photo.cosines[word.index]);
                let least = several.iter().map(position).fold(f64::INFINITY, f64::min);
                // No region shows several words better than the best region of each.
                match least > 0.0 {
                    true => Ok(SharedRegion::find(&self.evidence(photo, words)?, several).verdict),
                    false => Ok(Verdict::leniently(least)),
                }
            }
        }
    }

    /// The cosine of each judged word with every region of a photo.
    fn evidence(&self, photo: &JudgedPhoto<'_>, words: &QueryWords) -> Result<Vec<WordEvidence>> {
        let Some(vectors) = &words.vectors else {
            return Ok(Vec::new());
        };
        let (regions, image) = (photo.segment.regions(), photo.position);
        let evidence = self
            .regions
            .evidence(regions, &vectors.together, image, 0)?;
        Ok(evidence.words)
    }

    /// A photo with the evidence of each word.
    pub(super) fn evidence_of(
        &self,
        photo: &JudgedPhoto<'_>,
        words: &QueryWords,
        shown: ShownPhoto,
    ) -> Result<PhotoResult> {
        let evidence = self.evidence(photo, words)?;
        let found = words.words.iter().map(|word| {
            let region = word
                .judged
                .map(|judged| region_of_word(&evidence, words, judged));
            let verdict = word.term.map(|term| photo.verdicts[term]);
            // Of a phrase, single regions decide.
            let in_phrase = words.is_in_phrase(word);
            let relevance = if in_phrase {
                &photo.cosines
            } else {
                &photo.relevance
            };
            WordResult {
                word: word.text.clone(),
                counts: word.term.is_some(),
                excluded: word.term.is_some_and(|at| !words.terms[at].is_wanted()),
                shown: verdict.is_some_and(Verdict::is_shown),
                sure: word.judged.is_some() && verdict.is_some_and(Verdict::is_sure),
                relevance: word.judged.map(|judged| relevance[judged.index]),
                border: word.judged.map(|judged| judged.borders(in_phrase).shown),
                region,
                region_box: region.and_then(|region| shown.boxes.get(region)).copied(),
            }
        });
        let missing = words.wanted(|term| photo.verdicts[term] == Verdict::Missing);
        Ok(PhotoResult {
            words: found.collect(),
            id: shown.id,
            path: shown.path,
            width: shown.width,
            height: shown.height,
            similarity: photo.similarity,
            score: photo.score,
            group: match missing.is_empty() && words.want_anything() {
                true => Group::Everything,
                false => Group::Part,
            },
            missing,
            doubtful: photo.doubtful,
        })
    }
}

impl SharedRegion {
    /// The region that shows all of some words best: the least of their positions between the borders is
    /// the largest.
    fn find(evidence: &[WordEvidence], together: &[JudgedWord]) -> Self {
        let mut least: Vec<f64> = Vec::new();
        for word in together {
            for found in &evidence[word.index].regions {
                if found.region >= least.len() {
                    least.resize(found.region + 1, f64::INFINITY);
                }
                let position = word.region_position(found.relevance);
                least[found.region] = least[found.region].min(position);
            }
        }
        let best = least.into_iter().enumerate();
        let best = best.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        let (region, least) = best.unwrap_or((0, f64::NEG_INFINITY));
        Self {
            region,
            verdict: Verdict::leniently(least),
        }
    }
}

/// The region of the highest cosine; for a word of a phrase the region that shows all of it, if there is
/// one.
fn region_of_word(evidence: &[WordEvidence], words: &QueryWords, word: JudgedWord) -> usize {
    for together in words.terms.iter().map(|term| &term.words) {
        let is_part = together.iter().any(|part| part.index == word.index);
        if is_part && together.len() > 1 {
            let shared = SharedRegion::find(evidence, together);
            if shared.verdict.is_shown() {
                return shared.region;
            }
        }
    }
    evidence[word.index].best_region
}

impl Comparison {
    /// Computes similarity and score of each photo; they are in the order of their segments.
    pub(super) fn add_to(&self, photos: &mut [JudgedPhoto<'_>], words: &QueryWords) -> Result<()> {
        for photos in photos.chunk_by_mut(|a, b| std::ptr::eq(a.segment, b.segment)) {
            let regions = photos[0].segment.regions();
            let images: Vec<usize> = photos.iter().map(|photo| photo.position).collect();
            let found = self
                .search
                .captions_for_images(regions, &self.words, &images)?;
            for (photo, similarity) in photos.iter_mut().zip(found) {
                let chance = words.mean_log_chance(&photo.relevance);
                photo.similarity = similarity;
                photo.score = similarity + self.chance_weight * chance;
            }
        }
        Ok(())
    }
}

impl FoundPhotos<'_> {
    fn of_terms(terms: usize) -> Self {
        Self {
            photos: Vec::new(),
            best: vec![None; terms],
            shown: vec![0; terms],
        }
    }

    fn count(&mut self, verdicts: &[Verdict]) {
        for (at, verdict) in verdicts.iter().enumerate() {
            self.best[at] = self.best[at].max(Some(*verdict));
            self.shown[at] += usize::from(verdict.is_shown());
        }
    }
}

impl<'a> FoundPhotos<'a> {
    /// Adds what was found in a later block.
    fn add(&mut self, later: FoundPhotos<'a>) {
        self.photos.extend(later.photos);
        for at in 0..self.best.len() {
            self.best[at] = self.best[at].max(later.best[at]);
            self.shown[at] += later.shown[at];
        }
    }
}

impl JudgedPhoto<'_> {
    /// Its place in the order of results.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            missing: self.missing,
            doubtful: self.doubtful,
            score: self.score,
            id: self.id,
        }
    }
}

/// Cuts the selected photos of all queries into blocks, by segment and position.
fn blocks<'a>(queries: &[SelectedQuery<'a>]) -> BTreeMap<(i64, usize), Vec<Part<'a>>> {
    let mut blocks: BTreeMap<(i64, usize), Vec<Part<'a>>> = BTreeMap::new();
    for (at, query) in queries.iter().enumerate() {
        for segment in &query.selection.segments {
            let block = |position: &usize| position / PHOTOS_IN_A_BLOCK;
            let mut start = 0;
            for positions in segment.positions.chunk_by(|a, b| block(a) == block(b)) {
                let photos = start..start + positions.len();
                start = photos.end;
                let key = (segment.segment, block(&positions[0]));
                blocks.entry(key).or_default().push(Part {
                    query: at,
                    segment,
                    photos,
                });
            }
        }
    }
    blocks
}
