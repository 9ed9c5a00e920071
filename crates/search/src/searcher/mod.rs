//! Answers queries: opens an index with its model, and ranks and groups the photos that a query finds.

mod judge;
mod quality;
mod terms;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use uard_core::Regions;

use self::judge::{Comparison, FoundPhotos, Judge, JudgedPhoto, SelectedQuery, ShownPhoto};
pub use self::quality::{
    Exclusion, MatchQuality, OrderQuality, PhotoTruth, Pointing, SearchQuality,
};
use self::terms::{QueryWords, Verdict};
use crate::answer::{Answer, Cursor, PhotoResult};
use crate::photo::PhotoId;
use crate::query::Query;
use crate::segment::{Segment, SegmentBuilder};
use crate::{Filter, Index, Result, SelectedSegment, Selection};

/// The folder inside of an index that holds the files of its model.
pub const MODEL: &str = "model";

/// An index with its model in memory, for many queries.
#[derive(Debug)]
pub struct Searcher {
    index: Index,
    judge: Judge,
}

/// What is asked of a search.
#[derive(Debug, Clone, Default)]
pub struct SearchRequest {
    /// The query; it may be empty if `like` is given.
    pub text: String,
    /// Orders photos by how much they look like this one. The similarity is the mean over its regions of
    /// the highest cosine of a region.
    pub like: Option<QueryPhoto>,
    /// The most photos to list.
    pub top: usize,
    /// Lists only photos after this place in the order: [`Answer::cursor`] of an earlier answer.
    pub after: Option<Cursor>,
}

/// A photo as query: photos that look like it are searched for, or it is explained itself.
#[derive(Debug, Clone)]
pub enum QueryPhoto {
    /// A photo of the index. It is no result for itself.
    Indexed(PhotoId),
    /// Any other photo.
    Encoded(EncodedPhoto),
}

/// A photo that is not in the index, encoded as the photos of the index were.
#[derive(Debug, Clone)]
pub struct EncodedPhoto {
    /// Its file; none for bytes that came another way.
    pub path: Option<PathBuf>,
    /// Its regions in the joint space of the index's model: one image.
    pub regions: Regions,
    /// The boxes of its regions, in pixels of the upright photo.
    pub boxes: Vec<[f32; 4]>,
    /// Width of the upright photo, in pixels.
    pub width: u32,
    /// Height of the upright photo, in pixels.
    pub height: u32,
}

/// A query that is ready to be compared with photos.
struct PreparedQuery {
    words: QueryWords,
    comparison: Option<Comparison>,
    selection: Selection,
}

impl SearchRequest {
    /// The best photos for a query.
    pub fn new(text: &str, top: usize) -> Self {
        Self {
            text: text.to_owned(),
            top,
            ..Self::default()
        }
    }
}

impl Searcher {
    /// Opens an index with the model inside of it. Regions are mapped when a query reads them.
    ///
    /// # Errors
    /// When there is no index, or its model is missing, damaged, or another one than it was made
    /// with.
    pub fn open(folder: &Path) -> Result<Self> {
        let index = Index::open(folder)?;
        let judge = Judge::open(&folder.join(MODEL), &index)?;
        Ok(Self { index, judge })
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The best photos for a query: first those that may show every word that counts, then those that
    /// surely lack one, then two, and so on. Among equals come those first that surely show nothing of
    /// what is excluded, then the higher [`score`](PhotoResult::score), then the lower number. A photo that shows
    /// none of the words is not listed.
    ///
    /// # Errors
    /// When the query is wrong, the photo that it names was encoded by another model, or the index
    /// cannot be read.
    pub fn answer(&mut self, request: &SearchRequest) -> Result<Answer> {
        let mut answers = self.answers(std::slice::from_ref(request));
        answers.remove(0)
    }

    /// An answer to each of several requests, each as [`Searcher::answer`] gives it alone. Regions are read
    /// once for all of them.
    pub fn answers(&mut self, requests: &[SearchRequest]) -> Vec<Result<Answer>> {
        let mut answers = BTreeMap::new();
        let mut prepared = Vec::new();
        for (at, request) in requests.iter().enumerate() {
            match self.prepare(request) {
                Ok(query) => prepared.push((at, query)),
                Err(error) => {
                    answers.insert(at, Err(error));
                }
            }
        }
        let selected = prepared.iter().map(|(_, query)| query.selected());
        let found = self.judge.find(&selected.collect::<Vec<_>>());
        for ((at, query), found) in prepared.iter().zip(found) {
            let answer = found.and_then(|found| self.finish(&requests[*at], query, found));
            answers.insert(*at, answer);
        }
        answers.into_values().collect()
    }

    fn prepare(&mut self, request: &SearchRequest) -> Result<PreparedQuery> {
        let query = self.parse(&request.text)?;
        Ok(PreparedQuery {
            words: self.judge.query_words(&query)?,
            comparison: match &request.like {
                Some(photo) => Some(self.comparison_with_photo(photo)?),
                None => self.judge.comparison_with_sentence(&query.sentence)?,
            },
            selection: self.index.select(&query.filter)?,
        })
    }

    /// Sorts what was found, and reads the evidence of the photos that are listed.
    fn finish(
        &self,
        request: &SearchRequest,
        query: &PreparedQuery,
        found: FoundPhotos<'_>,
    ) -> Result<Answer> {
        let words = &query.words;
        let best = |term: usize| found.best[term];
        let unknown = words.terms.iter().filter(|term| term.words.is_empty());
        let mut photos = found.photos;
        if let Some(QueryPhoto::Indexed(like)) = request.like {
            photos.retain(|photo| photo.id != like);
        }
        sort(&mut photos);
        let everything = match words.want_anything() {
            true => photos.partition_point(|photo| photo.cursor().missing == 0),
            false => 0,
        };
        let first = match &request.after {
            Some(after) => photos.partition_point(|photo| photo.cursor().order(after).is_le()),
            None => 0,
        };
        let listed = &photos[first..photos.len().min(first + request.top)];
        let is_last = first + listed.len() == photos.len();
        let mut shown = Vec::with_capacity(listed.len());
        for photo in listed {
            // None if another process has removed the photo meanwhile.
            shown.extend(self.shown(photo.id)?.map(|found| (photo, found)));
        }
        let judge = &self.judge;
        let results = shown.into_par_iter();
        let results = results.map(|(photo, shown)| judge.evidence_of(photo, words, shown));
        Ok(Answer {
            query: request.text.clone(),
            threshold: self.judge.threshold,
            searched: query.selection.photos(),
            found: photos.len(),
            everything,
            nothing_shows: words.wanted(|term| best(term) < Some(Verdict::Shown)),
            perhaps_shown: words.wanted(|term| best(term) == Some(Verdict::PerhapsShown)),
            unknown: unknown.map(|term| term.label.clone()).collect(),
            words: words.described(&found.shown),
            cursor: listed.last().filter(|_| !is_last).map(JudgedPhoto::cursor),
            results: results.collect::<Result<_>>()?,
        })
    }

    /// How one photo shows a query, whatever the query's filters and exclusions.
    ///
    /// # Errors
    /// When the index has no such photo or cannot be read, the query is wrong, or the photo was encoded
    /// by another model.
    pub fn explain(&mut self, photo: &QueryPhoto, text: &str) -> Result<PhotoResult> {
        let query = self.parse(text)?;
        let (selection, shown) = match photo {
            QueryPhoto::Indexed(id) => (self.select(*id)?, self.expect_shown(*id)?),
            QueryPhoto::Encoded(photo) => (self.selection_of(photo)?, ShownPhoto::from(photo)),
        };
        let (words, photos) = self.judged(&selection, &query)?;
        self.judge.evidence_of(&photos[0], &words, shown)
    }

    fn comparison_with_photo(&mut self, photo: &QueryPhoto) -> Result<Comparison> {
        match photo {
            QueryPhoto::Encoded(photo) => self.judge.comparison_with_regions(&photo.regions),
            QueryPhoto::Indexed(id) => {
                let selection = self.select(*id)?;
                let segment = &selection.segments[0];
                let regions = segment.regions().image(segment.positions[0])?;
                self.judge.comparison_with_regions(&regions)
            }
        }
    }

    fn parse(&self, text: &str) -> Result<Query> {
        Query::parse(text, &|word| self.judge.counts(word))
    }

    /// A photo of the index alone.
    fn select(&mut self, id: PhotoId) -> Result<Selection> {
        let filter = Filter {
            photo: Some(id),
            ..Filter::default()
        };
        let selection = self.index.select(&filter)?;
        match selection.segments.is_empty() {
            true => Err(self.index.no_photo(id)),
            false => Ok(selection),
        }
    }

    /// A photo that is not in the index, as if it were selected alone.
    fn selection_of(&self, photo: &EncodedPhoto) -> Result<Selection> {
        let mut segment = SegmentBuilder::new(self.index.model())?;
        segment.push(&photo.regions)?;
        let regions = segment.finish()?;
        Ok(Selection {
            segments: vec![SelectedSegment {
                segment: 0,
                positions: vec![0],
                photos: vec![PhotoId(0)],
                mapped: Arc::new(Segment::new(Path::new(""), regions, photo.regions.images())),
            }],
        })
    }

    /// All selected photos, judged by a query and compared with its sentence.
    fn judged<'a>(
        &self,
        selection: &'a Selection,
        query: &Query,
    ) -> Result<(QueryWords, Vec<JudgedPhoto<'a>>)> {
        let words = self.judge.query_words(query)?;
        let mut photos = self.judge.judge(selection, &words)?;
        if let Some(comparison) = self.judge.comparison_with_sentence(&query.sentence)? {
            comparison.add_to(&mut photos, &words)?;
        }
        Ok((words, photos))
    }

    fn expect_shown(&self, id: PhotoId) -> Result<ShownPhoto> {
        self.shown(id)?.ok_or_else(|| self.index.no_photo(id))
    }

    /// What an answer says of a photo of the index, whatever the query; none if it was removed.
    fn shown(&self, id: PhotoId) -> Result<Option<ShownPhoto>> {
        let Some(indexed) = self.index.photo(id)? else {
            return Ok(None);
        };
        let preview = self.index.preview(id)?;
        Ok(Some(ShownPhoto {
            id: Some(id.0),
            path: indexed.file.path,
            width: indexed.metadata.width,
            height: indexed.metadata.height,
            boxes: preview.map_or_else(Vec::new, |preview| preview.boxes),
        }))
    }
}

impl From<&EncodedPhoto> for ShownPhoto {
    fn from(photo: &EncodedPhoto) -> Self {
        Self {
            id: None,
            path: photo.path.clone().unwrap_or_default(),
            width: photo.width,
            height: photo.height,
            boxes: photo.boxes.clone(),
        }
    }
}

impl PreparedQuery {
    fn selected(&self) -> SelectedQuery<'_> {
        SelectedQuery {
            words: &self.words,
            comparison: self.comparison.as_ref(),
            selection: &self.selection,
        }
    }
}

/// Sorts photos into the order of [`Searcher::answer`].
fn sort(photos: &mut [JudgedPhoto<'_>]) {
    photos.sort_by(|a, b| a.cursor().order(&b.cursor()));
}
