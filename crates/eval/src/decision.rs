//! Precision, recall and F1 of yes-or-no decisions.

use serde::{Deserialize, Serialize};

/// How many decisions were right and wrong.
///
/// ```
/// use uard_eval::DecisionCounts;
///
/// let mut counts = DecisionCounts::default();
/// for (decided, truth) in [(true, true), (true, true), (true, false), (false, true)] {
///     counts.add(decided, truth);
/// }
/// assert_eq!(counts.f1(), 2.0 / 3.0);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionCounts {
    /// Yes, and true.
    pub true_positives: usize,
    /// Yes, and false.
    pub false_positives: usize,
    /// No, and false.
    pub false_negatives: usize,
    /// No, and true.
    pub true_negatives: usize,
}

impl DecisionCounts {
    /// Counts a decision.
    pub fn add(&mut self, decided: bool, truth: bool) {
        let count = match (decided, truth) {
            (true, true) => &mut self.true_positives,
            (true, false) => &mut self.false_positives,
            (false, true) => &mut self.false_negatives,
            (false, false) => &mut self.true_negatives,
        };
        *count += 1;
    }

    /// The number of decisions.
    pub fn total(&self) -> usize {
        self.true_positives + self.false_positives + self.false_negatives + self.true_negatives
    }

    /// The share of yes that is true; 0 if there is none.
    pub fn precision(&self) -> f64 {
        share(
            self.true_positives,
            self.true_positives + self.false_positives,
        )
    }

    /// The share of truth that is found; 0 if there is none.
    pub fn recall(&self) -> f64 {
        share(
            self.true_positives,
            self.true_positives + self.false_negatives,
        )
    }

    /// The harmonic mean of precision and recall; 0 if nothing is found.
    pub fn f1(&self) -> f64 {
        let wrong = self.false_positives + self.false_negatives;
        share(2 * self.true_positives, 2 * self.true_positives + wrong)
    }

    /// The highest F1 of all decisions "the score is at least c": the best single cutoff c, chosen
    /// with the truth in hand.
    ///
    /// ```
    /// use uard_eval::DecisionCounts;
    ///
    /// let decisions = [(0.9, true), (0.5, false), (0.4, true), (0.1, false)];
    /// assert_eq!(DecisionCounts::best_f1(&decisions), 0.8);
    /// ```
    pub fn best_f1(decisions: &[(f32, bool)]) -> f64 {
        let mut sorted = decisions.to_vec();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        let all = sorted.iter().filter(|(_, truth)| *truth).count();
        let mut counts = Self {
            false_negatives: all,
            true_negatives: sorted.len() - all,
            ..Self::default()
        };
        let mut best = 0.0_f64;
        for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
            let found = equal.iter().filter(|(_, truth)| *truth).count();
            counts.true_positives += found;
            counts.false_negatives -= found;
            counts.false_positives += equal.len() - found;
            counts.true_negatives -= equal.len() - found;
            best = best.max(counts.f1());
        }
        best
    }
}

fn share(part: usize, whole: usize) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 / whole as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_found_is_zero_and_not_a_division_by_zero() {
        let none = DecisionCounts::default();
        assert_eq!(
            (none.precision(), none.recall(), none.f1()),
            (0.0, 0.0, 0.0)
        );
        assert_eq!(DecisionCounts::best_f1(&[]), 0.0);
    }

    #[test]
    fn equal_scores_are_decided_alike() {
        // A cutoff cannot divide the two scores of 0.5: at best all four are yes but the last.
        let decisions = [(0.5, false), (0.5, true), (0.5, true), (0.2, false)];
        assert_eq!(DecisionCounts::best_f1(&decisions), 0.8);
    }
}
