//! Answers queries: judges the words of a query in every photo, groups the photos, and ranks them.

mod quality;
mod terms;

use std::path::{Path, PathBuf};

use candle_core::Device;
use uard_attention::evidence::WordEvidence;
use uard_attention::search::{Search, SearchWords};
use uard_attention::{Engine, Matcher, MatcherConfig, PackedRegions, Sides, WeightRule};
use uard_core::{Regions, Words};
use uard_model::{Checkpoint, LearnedWords, Model, highest_relevance};

pub use self::quality::{
    Exclusion, MatchQuality, OrderQuality, PhotoTruth, Pointing, SearchQuality,
};
use self::terms::{JudgedTerm, JudgedWord, QueryWords, TermReader, Verdict};
use crate::answer::{Answer, Group, PhotoResult, WordResult};
use crate::photo::PhotoId;
use crate::query::Query;
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
    /// Computes the highest relevance of a word; of several the mean.
    words: Search,
    /// Lists the relevance of a word in every region.
    regions: Search,
}

/// A photo as query: photos that look like it are searched for, or it is explained itself.
#[derive(Debug, Clone)]
pub struct QueryPhoto {
    /// Its number, if it is in the index. It is no result for itself.
    pub id: Option<PhotoId>,
    /// Its regions in the joint space of the index's model: one image.
    pub regions: Regions,
    /// The boxes of its regions, in pixels of the upright photo.
    pub boxes: Vec<[f32; 4]>,
}

/// A photo that meets the filters of a query.
struct JudgedPhoto<'a> {
    id: PhotoId,
    segment: &'a SelectedSegment,
    /// Its image in the segment.
    position: usize,
    /// The highest relevance of each judged word.
    relevance: Vec<f32>,
    /// Whether it shows each term.
    verdicts: Vec<Verdict>,
    /// How many of the wanted terms it surely lacks.
    missing: usize,
    /// How many of the excluded terms it may show.
    doubtful: usize,
    similarity: f32,
}

/// A photo as an answer names it.
struct ShownPhoto {
    id: Option<i64>,
    path: PathBuf,
    boxes: Vec<[f32; 4]>,
}

/// What photos are compared with.
struct Comparison<'a> {
    search: &'a Search,
    /// One caption.
    words: SearchWords,
}

/// The region that shows several words best, and whether it does.
struct SharedRegion {
    region: usize,
    verdict: Verdict,
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

    /// The best photos for a query, at most `top`: first those that may show every word that counts, then
    /// those that surely lack one, then two, and so on. Among equals come those first that surely show
    /// nothing of what is excluded, then the more similar to the sentence, then the lower number. A photo
    /// that shows none of the words is not listed.
    ///
    /// # Errors
    /// When the query is wrong, or the index cannot be read.
    pub fn answer(&mut self, text: &str, top: usize) -> Result<Answer> {
        self.respond(text, None, top)
    }

    /// The same, with the photos that look most like another one first. The query may be empty.
    ///
    /// The similarity is the mean over the regions of that photo of the highest cosine of a region.
    ///
    /// # Errors
    /// When the query is wrong, the photo was encoded by another model, or the index cannot be read.
    pub fn answer_like(&mut self, photo: &QueryPhoto, text: &str, top: usize) -> Result<Answer> {
        self.respond(text, Some(photo), top)
    }

    fn respond(&mut self, text: &str, like: Option<&QueryPhoto>, top: usize) -> Result<Answer> {
        let query = Query::parse(text, &|word| self.counts(word))?;
        let words = self.query_words(&query)?;
        let selection = self.index.select(&query.filter)?;
        let mut photos = self.judge(&selection, &words)?;
        let best = |term: usize| photos.iter().map(|photo| photo.verdicts[term]).max();
        let best: Vec<Option<Verdict>> = (0..words.terms.len()).map(best).collect();
        let nothing_shows = words.wanted(|term| best[term] < Some(Verdict::Shown));
        let perhaps_shown = words.wanted(|term| best[term] == Some(Verdict::PerhapsShown));
        let unknown = words.terms.iter().filter(|term| term.words.is_empty());
        let unknown = unknown.map(|term| term.label.clone()).collect();
        photos.retain(|photo| words.accept(photo));
        match like {
            Some(like) => {
                photos.retain(|photo| like.id != Some(photo.id));
                self.comparison_with(like)?.add_to(&mut photos)?;
            }
            None => self.compare(&query.sentence, &mut photos)?,
        }
        sort(&mut photos);
        let results = photos.iter().take(top);
        let results = results.map(|photo| self.result(photo, &words));
        Ok(Answer {
            query: text.to_owned(),
            threshold: self.threshold,
            searched: selection.photos(),
            nothing_shows,
            perhaps_shown,
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
        let selection = self.select(photo)?;
        let mut photos = self.judge(&selection, &words)?;
        self.compare(&query.sentence, &mut photos)?;
        match photos.first() {
            Some(found) => self.result(found, &words),
            None => Err(Error::NotIndexed {
                path: self.index.folder().to_owned(),
                photo: photo.to_owned(),
            }),
        }
    }

    /// The same for a photo that is not in the index.
    ///
    /// # Errors
    /// When the query is wrong, or the photo was encoded by another model.
    pub fn explain_photo(
        &self,
        photo: &QueryPhoto,
        path: &Path,
        text: &str,
    ) -> Result<PhotoResult> {
        let query = Query::parse(text, &|word| self.counts(word))?;
        let words = self.query_words(&query)?;
        let id = PhotoId(0);
        let selection = Selection {
            segments: vec![SelectedSegment {
                segment: 0,
                regions: PackedRegions::pack(&photo.regions, self.index.model().precision)?,
                positions: vec![0],
                photos: vec![id],
            }],
        };
        let mut photos = self.judge(&selection, &words)?;
        self.compare(&query.sentence, &mut photos)?;
        let found = ShownPhoto {
            id: None,
            path: path.to_owned(),
            boxes: photo.boxes.clone(),
        };
        self.evidence_of(&photos[0], &words, found)
    }

    /// A photo of the index as query; none if it is not there.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn photo(&mut self, path: &Path) -> Result<Option<QueryPhoto>> {
        let selection = self.select(path)?;
        let Some(segment) = selection.segments.first() else {
            return Ok(None);
        };
        let id = segment.photos[0];
        let preview = self.index.preview(id)?;
        Ok(Some(QueryPhoto {
            id: Some(id),
            regions: segment.regions.image(segment.positions[0])?,
            boxes: preview.map_or_else(Vec::new, |preview| preview.boxes),
        }))
    }

    /// The photo of a path alone.
    fn select(&mut self, path: &Path) -> Result<Selection> {
        self.index.select(&Filter {
            path: Some(path.to_owned()),
            ..Filter::default()
        })
    }

    /// Whether a word names something that a photo can show. A word that was not learned may.
    fn counts(&self, word: &str) -> bool {
        let learned = self.learned.get(&word.to_lowercase());
        learned.is_none_or(|word| word.borders.is_some())
    }

    /// The words of a query as the text model reads them.
    fn query_words(&self, query: &Query) -> Result<QueryWords> {
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
                    verdicts: Vec::with_capacity(words.terms.len()),
                    missing: 0,
                    doubtful: 0,
                    similarity: 0.0,
                };
                for term in &words.terms {
                    let verdict = self.verdict(&photo, words, term)?;
                    photo.verdicts.push(verdict);
                }
                words.count(&mut photo);
                judged.push(photo);
            }
        }
        Ok(judged)
    }

    /// Whether a photo shows a term. One that was not learned has no words, and is missing.
    fn verdict(
        &self,
        photo: &JudgedPhoto<'_>,
        words: &QueryWords,
        term: &JudgedTerm,
    ) -> Result<Verdict> {
        let position = |word: &JudgedWord| word.position(photo.relevance[word.index]);
        let least = term.words.iter().map(position).min_by(f64::total_cmp);
        match (&term.words[..], least) {
            (&[word], _) if term.is_wanted() => Ok(word.verdict(photo.relevance[word.index])),
            // A region shows several words at most as well as the whole photo does.
            (&[_, _, ..], Some(least)) if least > 0.0 => {
                Ok(self.shared_region(photo, words, &term.words)?.verdict)
            }
            (_, least) => Ok(Verdict::leniently(least.unwrap_or(0.0))),
        }
    }

    /// The region that shows all of some words best: the least of their positions between the borders is
    /// the largest.
    fn shared_region(
        &self,
        photo: &JudgedPhoto<'_>,
        words: &QueryWords,
        together: &[JudgedWord],
    ) -> Result<SharedRegion> {
        let mut least: Vec<f64> = Vec::new();
        for word in together {
            let evidence = self.evidence(photo, words, *word)?;
            for found in evidence.iter().flat_map(|word| &word.regions) {
                if found.region >= least.len() {
                    least.resize(found.region + 1, f64::INFINITY);
                }
                let position = word.position(found.relevance);
                least[found.region] = least[found.region].min(position);
            }
        }
        let best = least.into_iter().enumerate();
        let best = best.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        let (region, least) = best.unwrap_or((0, f64::NEG_INFINITY));
        Ok(SharedRegion {
            region,
            verdict: Verdict::leniently(least),
        })
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

    /// Computes the similarity of a sentence with each photo; it stays 0 if the sentence is empty.
    fn compare(&self, sentence: &str, photos: &mut [JudgedPhoto<'_>]) -> Result<()> {
        if sentence.is_empty() || photos.is_empty() {
            return Ok(());
        }
        let words = self.model.texts(&[sentence])?;
        let search = &self.sentences;
        let words = search.collect_words(&words)?;
        Comparison { search, words }.add_to(photos)
    }

    /// The comparison with a photo, whose regions are read as words.
    fn comparison_with(&self, photo: &QueryPhoto) -> Result<Comparison<'_>> {
        let regions = &photo.regions;
        let words = Words::normalized(regions.rows(), regions.counts().to_vec());
        let words = words.map_err(uard_attention::Error::from)?;
        let search = &self.words;
        let words = search.collect_words(&words)?;
        Ok(Comparison { search, words })
    }

    /// The region of highest relevance; for a word of a phrase the region that shows all of it, if there
    /// is one.
    fn region_of_word(
        &self,
        photo: &JudgedPhoto<'_>,
        words: &QueryWords,
        word: JudgedWord,
    ) -> Result<Option<usize>> {
        for together in words.terms.iter().map(|term| &term.words) {
            let is_part = together.iter().any(|part| part.index == word.index);
            if is_part && together.len() > 1 {
                let shared = self.shared_region(photo, words, together)?;
                if shared.verdict.is_shown() {
                    return Ok(Some(shared.region));
                }
            }
        }
        let evidence = self.evidence(photo, words, word)?;
        Ok(evidence.map(|word| word.best_region))
    }

    /// A photo of the index, with the region of each word.
    fn result(&self, photo: &JudgedPhoto<'_>, words: &QueryWords) -> Result<PhotoResult> {
        let id = photo.id;
        let indexed = self.index.photo(id)?.ok_or_else(|| Error::NoPhoto {
            path: self.index.folder().to_owned(),
            id,
        })?;
        let preview = self.index.preview(id)?;
        let shown = ShownPhoto {
            id: Some(id.0),
            path: indexed.file.path,
            boxes: preview.map_or_else(Vec::new, |preview| preview.boxes),
        };
        self.evidence_of(photo, words, shown)
    }

    fn evidence_of(
        &self,
        photo: &JudgedPhoto<'_>,
        words: &QueryWords,
        shown: ShownPhoto,
    ) -> Result<PhotoResult> {
        let mut found = Vec::with_capacity(words.words.len());
        for word in &words.words {
            let region = match word.judged {
                Some(judged) => self.region_of_word(photo, words, judged)?,
                None => None,
            };
            let verdict = word.term.map(|term| photo.verdicts[term]);
            found.push(WordResult {
                word: word.text.clone(),
                counts: word.term.is_some(),
                excluded: word.term.is_some_and(|at| !words.terms[at].is_wanted()),
                shown: verdict.is_some_and(Verdict::is_shown),
                sure: word.judged.is_some() && verdict.is_some_and(Verdict::is_sure),
                relevance: word.judged.map(|judged| photo.relevance[judged.index]),
                border: word.judged.map(|judged| judged.borders.shown),
                region,
                region_box: region.and_then(|region| shown.boxes.get(region)).copied(),
            });
        }
        let missing = words.wanted(|term| photo.verdicts[term] == Verdict::Missing);
        let is_judged = words.terms.iter().any(JudgedTerm::is_wanted);
        Ok(PhotoResult {
            id: shown.id,
            path: shown.path,
            similarity: photo.similarity,
            group: match missing.is_empty() && is_judged {
                true => Group::Everything,
                false => Group::Part,
            },
            missing,
            words: found,
        })
    }
}

impl Comparison<'_> {
    /// Computes the similarity of each photo; they are in the order of their segments.
    fn add_to(&self, photos: &mut [JudgedPhoto<'_>]) -> Result<()> {
        for photos in photos.chunk_by_mut(|a, b| std::ptr::eq(a.segment, b.segment)) {
            let regions = &photos[0].segment.regions;
            let images: Vec<usize> = photos.iter().map(|photo| photo.position).collect();
            let found = self
                .search
                .captions_for_images(regions, &self.words, &images)?;
            for (photo, similarity) in photos.iter_mut().zip(found) {
                photo.similarity = similarity;
            }
        }
        Ok(())
    }
}

/// Sorts photos into the order of [`Searcher::answer`].
fn sort(photos: &mut [JudgedPhoto<'_>]) {
    photos.sort_by(|a, b| {
        let order = a.missing.cmp(&b.missing).then(a.doubtful.cmp(&b.doubtful));
        let order = order.then(b.similarity.total_cmp(&a.similarity));
        order.then(a.id.cmp(&b.id))
    });
}
