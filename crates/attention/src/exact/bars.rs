//! Bars: the similarity that a pair must reach to change the list or the rank of its image or caption.

use crate::results::{Ranked, offer};

/// The lists and matched similarities of all images and captions, from which their bars follow.
#[derive(Debug)]
pub(super) struct Bars {
    /// How many entries each list has.
    top: usize,
    pub images: Vec<Query>,
    pub captions: Vec<Query>,
}

/// An image or a caption for which the other side is ranked.
#[derive(Debug, Clone)]
pub(super) struct Query {
    /// The most similar pairs so far, by their similarity in f32.
    pub list: Vec<Ranked>,
    /// The highest similarity in f32 of its matched pairs; infinite if it has none.
    matched: f32,
}

impl Bars {
    pub(super) fn new(images: usize, captions: usize, top: usize) -> Self {
        let query = Query {
            list: Vec::new(),
            matched: f32::INFINITY,
        };
        Self {
            top,
            images: vec![query.clone(); images],
            captions: vec![query; captions],
        }
    }

    /// How many entries each list has.
    pub(super) fn top(&self) -> usize {
        self.top
    }

    /// Records the similarity in f32 of a matched pair.
    pub(super) fn record_match(&mut self, image: usize, caption: usize, similarity: f32) {
        for query in [&mut self.images[image], &mut self.captions[caption]] {
            if query.matched.is_infinite() || query.matched < similarity {
                query.matched = similarity;
            }
        }
    }

    /// Records the similarity in f32 of a pair in the lists of its image and its caption.
    pub(super) fn record(&mut self, image: usize, caption: usize, similarity: f32) {
        let candidate = |index| Ranked { index, similarity };
        offer(&mut self.images[image].list, self.top, candidate(caption));
        offer(&mut self.captions[caption].list, self.top, candidate(image));
    }

    /// The bar of a query: a pair with a lower similarity changes neither the query's list nor its
    /// rank.
    pub(super) fn bar(&self, query: &Query) -> f32 {
        self.list_bar(query).min(query.matched)
    }

    /// The lowest similarity that may change a query's list.
    fn list_bar(&self, query: &Query) -> f32 {
        match query.list.last() {
            _ if self.top == 0 => f32::INFINITY,
            Some(last) if query.list.len() == self.top => last.similarity,
            _ => f32::NEG_INFINITY,
        }
    }

    /// Whether a similarity of zero may enter any list.
    pub(super) fn may_list_zero(&self) -> bool {
        let mut queries = self.images.iter().chain(&self.captions);
        self.top > 0 && queries.any(|query| self.list_bar(query) <= 0.0)
    }
}
