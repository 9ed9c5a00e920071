//! Does attention find the regions that truly answer a word?

use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// What is true and what is predicted about one word of a caption and the regions of its image.
///
/// Regions are indices within the image; an index named twice counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WordAlignment<'a> {
    /// The regions that truly answer the word; empty when the image does not show it.
    pub truth: &'a [usize],
    /// The regions whose relevance is above the threshold.
    pub predicted: &'a [usize],
    /// The region of highest relevance, above the threshold or not; `None` gives no answer.
    pub best: Option<usize>,
}

/// Counts of word-region pairs and of words, which add up over words, captions and data sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlignmentCounts {
    /// Pairs predicted: relevance above the threshold.
    pub predicted: u64,
    /// Pairs that are true.
    pub truth: u64,
    /// Pairs both predicted and true.
    pub both: u64,
    /// Words that at least one region truly answers.
    pub words: u64,
    /// Of those words, the ones whose best region is true.
    pub best_correct: u64,
}

impl AlignmentCounts {
    /// Counts one word.
    ///
    /// A word that no region answers adds its predictions, all false, and is not one of `words`.
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

    /// The fraction of answered words whose best region is true; `None` without such words.
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

/// The indices without repeats; lists are a few dozen long, so looking back is enough.
fn distinct(regions: &[usize]) -> impl Iterator<Item = usize> {
    regions
        .iter()
        .enumerate()
        .filter(|(place, region)| !regions[..*place].contains(region))
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
    fn word_that_nothing_answers_lowers_precision_only() {
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
    fn counts_survive_json() {
        let counts = count(&[1, 2], &[2], Some(2));
        let text = serde_json::to_string(&counts).unwrap();
        assert_eq!(
            serde_json::from_str::<AlignmentCounts>(&text).unwrap(),
            counts
        );
    }
}
