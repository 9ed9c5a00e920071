//! The reach of a pair by Theorem 1 of `docs/exactness.md`, as loops in f64 for tests of the fast form.

use super::super::{slack, visible_above};
use crate::QuerySide;

/// One pair with its relevance in bf16 and the bounds of its reach.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// Relevance in bf16, row-major [words, regions].
    pub relevance: &'a [f32],
    /// The bound of Lemma 1 for this pair.
    pub bound: f32,
    /// Gram matrices of the words and of the regions.
    pub grams: [Gram<'a>; 2],
    /// [`super::super::gram_error`].
    pub gram_error: f32,
}

/// A Gram matrix.
#[derive(Debug, Clone, Copy)]
pub struct Gram<'a> {
    /// `count` rows of `stride` numbers.
    pub products: &'a [f32],
    pub stride: usize,
    pub count: usize,
}

impl Gram<'_> {
    fn at(&self, j: usize, k: usize) -> f64 {
        f64::from(self.products[j * self.stride + k])
    }
}

impl Pair<'_> {
    /// Theorem 1: an upper bound of the similarity in f32, with queries of these sides. It is that of
    /// the rule `masked`, or, where `answers_below`, of `nearest`, whose queries below the threshold
    /// add their highest relevance.
    pub fn reach(&self, threshold: f32, sides: &[QuerySide], answers_below: bool) -> f64 {
        let lowest = visible_above(threshold, self.bound);
        if lowest <= 0.0 {
            return f64::INFINITY;
        }
        let [words, regions] = self.grams;
        let relevance = |i: usize, j: usize| self.relevance[i * regions.count + j];
        let means = sides.iter().map(|side| {
            let (queries, context) = match side {
                QuerySide::Words => (words, regions),
                QuerySide::Regions => (regions, words),
            };
            let answers = (0..queries.count).map(|query| {
                let cells = (0..context.count).map(|at| match side {
                    QuerySide::Words => relevance(query, at),
                    QuerySide::Regions => relevance(at, query),
                });
                let nearest = cells.clone().fold(f32::NEG_INFINITY, f32::max);
                let nearest = f64::from(nearest) + f64::from(self.bound);
                let cells = cells.enumerate().filter(|(_, s)| *s > lowest);
                let highest = cells.map(|(at, s)| (at, f64::from(s) + f64::from(self.bound)));
                let highest = highest.collect::<Vec<_>>();
                let attended = answer(&highest, context, f64::from(self.gram_error));
                match (answers_below, highest.is_empty()) {
                    (false, _) => attended,
                    (true, true) => nearest,
                    (true, false) => attended.max(nearest),
                }
            });
            answers.sum::<f64>() / queries.count as f64
        });
        let roundings = slack(words.count, regions.count) - 1.0;
        let total = means.sum::<f64>();
        match answers_below {
            false => total + total * roundings,
            true => total + sides.len() as f64 * 2.25 * roundings,
        }
    }
}

/// Lemmas 3 and 4: the largest answer of a query whose visible cells are these, each with its highest
/// possible relevance.
pub fn answer(cells: &[(usize, f64)], gram: Gram<'_>, gram_error: f64) -> f64 {
    if cells.is_empty() {
        return 0.0;
    }
    let total: f64 = cells.iter().map(|(_, x)| x).sum();
    let least = cells.iter().map(|(_, x)| *x).fold(f64::INFINITY, f64::min);
    let products = cells.iter().map(|(j, x)| {
        let row = cells.iter().map(|(k, y)| gram.at(*j, *k) * y);
        (*x, row.sum::<f64>())
    });
    let products: Vec<(f64, f64)> = products.collect();
    let scales = products.iter().map(|(x, y)| match y - gram_error * total {
        safe if safe > 0.0 => x / safe,
        _ => f64::INFINITY,
    });
    let scale = scales.fold(0.0, f64::max);
    let squared: f64 = products.iter().map(|(x, y)| x * y).sum();
    let length = scale * (squared.max(0.0) + gram_error * total * total).sqrt();
    let lost = gram_error * (length / least).powi(2);
    if lost <= 0.5 {
        length * (1.0 + lost)
    } else {
        f64::INFINITY
    }
}
