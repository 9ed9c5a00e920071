//! Alignment: precision and recall of the regions above the threshold against the regions that truly
//! show a word.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// The true and the predicted regions of one word of a caption.
///
/// Regions are indices within the image; an index named twice counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WordAlignment<'a> {
    /// The regions that truly show the word; empty when the image does not show it.
    pub truth: &'a [usize],
    /// The regions whose relevance is above the threshold.
    pub predicted: &'a [usize],
    /// The region of highest relevance, above the threshold or not; `None` counts as wrong.
    pub best: Option<usize>,
}

/// Counts of word-region pairs and of words, which add up over words, captions and data sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlignmentCounts {
    /// Number of predicted pairs: relevance above the threshold.
    pub predicted: u64,
    /// Number of true pairs.
    pub truth: u64,
    /// Number of pairs that are predicted and true.
    pub both: u64,
    /// Number of words that at least one region truly shows.
    pub words: u64,
    /// Number of those words whose best region is true.
    pub best_correct: u64,
}

impl AlignmentCounts {
    /// Counts one word.
    ///
    /// A word that no region truly shows adds its predictions, all of them false, and does not count
    /// in `words`.
    ///
    /// ```
    /// use uard_eval::{AlignmentCounts, WordAlignment};
    ///
    /// let word = WordAlignment { truth: &[3, 4], predicted: &[2, 3], best: Some(3) };
    /// let counts = AlignmentCounts::of_word(&word);
    /// assert_eq!(counts.precision(), Some(0.5));
    /// assert_eq!(counts.recall(), Some(0.5));
    /// assert_eq!(counts.best_region_accuracy(), Some(1.0));
    /// ```
    pub fn of_word(word: &WordAlignment<'_>) -> Self {
        let in_truth = |region: &usize| word.truth.contains(region);
        let best_correct = word.best.as_ref().is_some_and(in_truth);
        Self {
            predicted: distinct(word.predicted).count() as u64,
            truth: distinct(word.truth).count() as u64,
            both: distinct(word.predicted)
                .filter(|region| in_truth(region))
                .count() as u64,
            words: u64::from(!word.truth.is_empty()),
            best_correct: u64::from(best_correct),
        }
    }

    /// The fraction of predicted pairs that are true; `None` when nothing is predicted.
    pub fn precision(&self) -> Option<f64> {
        fraction(self.both, self.predicted)
    }

    /// The fraction of true pairs that are predicted; `None` when nothing is true.
    pub fn recall(&self) -> Option<f64> {
        fraction(self.both, self.truth)
    }

    /// The fraction of `words` whose best region is true; `None` without such words.
    pub fn best_region_accuracy(&self) -> Option<f64> {
        fraction(self.best_correct, self.words)
    }
}

impl Add for AlignmentCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            predicted: self.predicted + other.predicted,
            truth: self.truth + other.truth,
            both: self.both + other.both,
            words: self.words + other.words,
            best_correct: self.best_correct + other.best_correct,
        }
    }
}

impl AddAssign for AlignmentCounts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for AlignmentCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

/// The indices without repeats. Quadratic, which is fast enough for a few dozen regions.
fn distinct(regions: &[usize]) -> impl Iterator<Item = usize> {
    regions
        .iter()
        .enumerate()
        .filter(|(position, region)| !regions[..*position].contains(region))
        .map(|(_, &region)| region)
}

fn fraction(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(truth: &[usize], predicted: &[usize], best: Option<usize>) -> AlignmentCounts {
        AlignmentCounts::of_word(&WordAlignment {
            truth,
            predicted,
            best,
        })
    }

    #[test]
    fn pairs_of_one_word_are_counted() {
        let counts = count(&[1, 2, 3], &[3, 5], Some(5));
        let expected = AlignmentCounts {
            predicted: 2,
            truth: 3,
            both: 1,
            words: 1,
            best_correct: 0,
        };
        assert_eq!(counts, expected);
        assert_eq!(counts.precision(), Some(0.5));
        assert_eq!(counts.recall(), Some(1.0 / 3.0));
        assert_eq!(counts.best_region_accuracy(), Some(0.0));
    }

    #[test]
    fn best_region_counts_below_the_threshold_too() {
        let counts = count(&[1], &[], Some(1));
        assert_eq!(counts.best_region_accuracy(), Some(1.0));
        assert_eq!(counts.recall(), Some(0.0));
        assert_eq!(count(&[1], &[], None).best_region_accuracy(), Some(0.0));
    }

    #[test]
    fn word_that_no_region_shows_lowers_precision_only() {
        let counts = count(&[], &[0, 1], Some(0));
        assert_eq!(counts.precision(), Some(0.0));
        assert_eq!(counts.recall(), None);
        assert_eq!(counts.best_region_accuracy(), None);
    }

    #[test]
    fn nothing_counted_gives_no_fractions() {
        let counts = AlignmentCounts::default();
        assert_eq!(counts.precision(), None);
        assert_eq!(counts.recall(), None);
        assert_eq!(counts.best_region_accuracy(), None);
        assert_eq!(count(&[0], &[], Some(0)).precision(), None);
    }

    #[test]
    fn repeated_regions_count_once() {
        assert_eq!(
            count(&[1, 1, 2], &[2, 2, 0], Some(2)),
            count(&[1, 2], &[0, 2], Some(2))
        );
    }

    #[test]
    fn counts_add_up_in_any_order() {
        let words = [
            count(&[0], &[0, 1], Some(0)),
            count(&[], &[2], Some(2)),
            count(&[3, 4], &[4], Some(3)),
        ];
        let total: AlignmentCounts = words.into_iter().sum();
        let mut reversed = AlignmentCounts::default();
        for word in words.into_iter().rev() {
            reversed += word;
        }
        assert_eq!(total, reversed);
        assert_eq!(total.precision(), Some(0.5));
        assert_eq!(total.recall(), Some(2.0 / 3.0));
        assert_eq!(total.best_region_accuracy(), Some(1.0));
    }

    #[test]
    fn counts_are_unchanged_by_a_json_round_trip() {
        let counts = count(&[1, 2], &[2], Some(2));
        let text = serde_json::to_string(&counts).unwrap();
        assert_eq!(
            serde_json::from_str::<AlignmentCounts>(&text).unwrap(),
            counts
        );
    }
}
