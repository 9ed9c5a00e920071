//! What must a pair reach to matter to its image or to its caption?

use crate::results::{Ranked, offer};

/// The bars of all images and captions, and the lists that set them.
#[derive(Debug)]
pub(super) struct Bars {
    top: usize,
    pub images: Vec<Query>,
    pub captions: Vec<Query>,
}

/// An image or a caption.
#[derive(Debug, Clone)]
pub(super) struct Query {
    /// The best so far, known in f32.
    pub list: Vec<Ranked>,
    /// The similarity of the best true match, known in f32; infinite without one.
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

    /// How many the lists hold.
    pub(super) fn top(&self) -> usize {
        self.top
    }

    /// The similarity of a true match is known.
    pub(super) fn record_match(&mut self, (image, caption): (usize, usize), similarity: f32) {
        for query in [&mut self.images[image], &mut self.captions[caption]] {
            if query.matched.is_infinite() || query.matched < similarity {
                query.matched = similarity;
            }
        }
    }

    /// The similarity of a pair is known.
    pub(super) fn record(&mut self, (image, caption): (usize, usize), similarity: f32) {
        let candidate = |index| Ranked { index, similarity };
        offer(&mut self.images[image].list, self.top, candidate(caption));
        offer(&mut self.captions[caption].list, self.top, candidate(image));
    }

    /// What a pair must reach to matter to a query.
    pub(super) fn of(&self, query: &Query) -> f32 {
        self.of_list(query).min(query.matched)
    }

    fn of_list(&self, query: &Query) -> f32 {
        match query.list.last() {
            _ if self.top == 0 => f32::INFINITY,
            Some(last) if query.list.len() == self.top => last.similarity,
            _ => f32::NEG_INFINITY,
        }
    }

    /// Whether a similarity of zero may matter to any list.
    pub(super) fn may_list_zero(&self) -> bool {
        let mut queries = self.images.iter().chain(&self.captions);
        self.top > 0 && queries.any(|query| self.of_list(query) <= 0.0)
    }
}
