//! Recall at 1, 5 and 10, and the median and mean rank.

use crate::{Error, Ranks, Result, RetrievalDirection};

/// Recall and ranks of one direction. Recall is a fraction in [0, 1]; ranks start at 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recall {
    /// Fraction of the queries whose best positive is first.
    pub r1: f64,
    /// Fraction of the queries whose best positive is among the first five.
    pub r5: f64,
    /// Fraction of the queries whose best positive is among the first ten.
    pub r10: f64,
    /// Median of the ranks; of an even number of queries the mean of the middle two.
    pub median_rank: f64,
    /// Mean of the ranks.
    pub mean_rank: f64,
}

impl Recall {
    /// Summarises the ranks of one direction; `None` entries are no queries.
    ///
    /// # Errors
    /// [`Error::NoQueries`] when the direction has no query.
    pub fn in_direction(ranks: &Ranks, direction: RetrievalDirection) -> Result<Self> {
        Self::from_ranks(ranks.in_direction(direction)).ok_or(Error::NoQueries { direction })
    }

    /// Summarises the ranks of queries; `None` entries are left out. `None` without queries.
    pub fn from_ranks(ranks: &[Option<usize>]) -> Option<Self> {
        let mut sorted: Vec<usize> = ranks.iter().copied().flatten().collect();
        sorted.sort_unstable();
        Some(Self {
            r1: recall_at(ranks, 1)?,
            r5: recall_at(ranks, 5)?,
            r10: recall_at(ranks, 10)?,
            median_rank: median(&sorted)?,
            mean_rank: sorted.iter().sum::<usize>() as f64 / sorted.len() as f64,
        })
    }
}

/// The fraction of queries whose rank is at most `k`; `None` when there is no query.
///
/// ```text
/// R@K = |{ q : rank_q <= K }| / |{ q : q has a positive }|
/// ```
///
/// With fewer than `k` candidates every query is a hit.
pub fn recall_at(ranks: &[Option<usize>], k: usize) -> Option<f64> {
    let queries = ranks.iter().flatten().count();
    let hits = ranks.iter().flatten().filter(|&&rank| rank <= k).count();
    (queries > 0).then(|| hits as f64 / queries as f64)
}

fn median(sorted: &[usize]) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let (low, high) = (sorted[last / 2], sorted[sorted.len() / 2]);
    Some((low + high) as f64 / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_counts_ranks_up_to_and_including_k() {
        let ranks = [1, 5, 6, 10, 11].map(Some);
        let recall = Recall::from_ranks(&ranks).unwrap();
        assert_eq!((recall.r1, recall.r5, recall.r10), (0.2, 0.4, 0.8));
        assert_eq!(recall.mean_rank, 6.6);
        assert_eq!(recall_at(&ranks, 11), Some(1.0));
        assert_eq!(recall_at(&ranks, 0), Some(0.0));
    }

    #[test]
    fn median_of_an_odd_number_is_the_middle() {
        let recall = Recall::from_ranks(&[9, 1, 4].map(Some)).unwrap();
        assert_eq!(recall.median_rank, 4.0);
    }

    #[test]
    fn median_of_an_even_number_is_the_mean_of_the_middle_two() {
        let recall = Recall::from_ranks(&[9, 1, 4, 3].map(Some)).unwrap();
        assert_eq!(recall.median_rank, 3.5);
    }

    #[test]
    fn entries_without_rank_are_left_out() {
        let with = Recall::from_ranks(&[Some(1), None, Some(3), None]);
        assert_eq!(with, Recall::from_ranks(&[1, 3].map(Some)));
    }

    #[test]
    fn no_queries_give_no_recall() {
        assert_eq!(Recall::from_ranks(&[]), None);
        assert_eq!(Recall::from_ranks(&[None]), None);
        let ranks = Ranks {
            image_to_text: vec![None],
            text_to_image: vec![Some(1)],
        };
        let error = Recall::in_direction(&ranks, RetrievalDirection::ImageToText).unwrap_err();
        assert!(error.to_string().contains("no query of image to text"));
        assert!(Recall::in_direction(&ranks, RetrievalDirection::TextToImage).is_ok());
    }
}
