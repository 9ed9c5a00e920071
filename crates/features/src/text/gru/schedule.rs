//! Which words does a time step work on? Those of the captions long enough, longest first.
//!
//! Two orders of the N valid words of a batch are in use. In *caption order* word 0 of caption 0
//! comes first, then word 1 of caption 0. In *step order* the first step of every caption comes
//! first, captions sorted by length; the captions of a step are then a prefix of those of the step
//! before. Both directions run on the same steps: step s of the reverse direction reads a
//! caption's word `count - 1 - s`.

/// The order in which a direction reads the words of a caption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Forward,
    Reverse,
}

/// The time steps of a batch.
#[derive(Debug, Clone)]
pub struct Schedule {
    counts: Vec<usize>,
    longest: usize,
    /// Captions by falling length; equal lengths keep their order.
    order: Vec<usize>,
    /// The row of each caption's first word in caption order.
    caption_starts: Vec<usize>,
    /// The row of each step's first word in step order, and N at the end.
    step_starts: Vec<usize>,
}

impl Schedule {
    /// The steps for captions of `counts` words, padded to `longest`.
    ///
    /// # Panics
    /// When a count is above `longest`: [`super::CaptionBatch`] has checked that.
    pub fn new(counts: &[usize], longest: usize) -> Self {
        assert!(
            counts.iter().all(|count| *count <= longest),
            "no caption is above the padding"
        );
        let mut order: Vec<usize> = (0..counts.len()).collect();
        order.sort_by_key(|&caption| std::cmp::Reverse(counts[caption]));
        let steps = counts.iter().copied().max().unwrap_or(0);
        let active = |step: usize| counts.iter().filter(|&&count| count > step).count();
        Self {
            longest,
            order,
            caption_starts: running_sum(counts.iter().copied()),
            step_starts: running_sum((0..steps).map(active)),
            counts: counts.to_vec(),
        }
    }

    /// Captions C.
    pub fn captions(&self) -> usize {
        self.counts.len()
    }

    /// The padded length W.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Valid words N.
    pub fn words(&self) -> usize {
        self.counts.iter().sum()
    }

    /// The padded row `caption * W + position` of each word, in caption order.
    pub fn padded_rows(&self) -> impl Iterator<Item = usize> {
        self.counts
            .iter()
            .enumerate()
            .flat_map(|(caption, &count)| {
                let first = caption * self.longest;
                first..first + count
            })
    }

    /// Words of a caption.
    pub(super) fn count(&self, caption: usize) -> usize {
        self.counts[caption]
    }

    /// The place of each caption among the captions by length.
    pub(super) fn ranks(&self) -> Vec<usize> {
        let mut ranks = vec![0; self.order.len()];
        for (rank, &caption) in self.order.iter().enumerate() {
            ranks[caption] = rank;
        }
        ranks
    }

    pub(super) fn steps(&self) -> usize {
        self.step_starts.len() - 1
    }

    /// The rows of a step in step order.
    pub(super) fn step(&self, step: usize) -> std::ops::Range<usize> {
        self.step_starts[step]..self.step_starts[step + 1]
    }

    /// Caption and position of each word of a step.
    pub(super) fn reads(
        &self,
        step: usize,
        reading: Reading,
    ) -> impl Iterator<Item = (usize, usize)> {
        self.order[..self.step(step).len()]
            .iter()
            .map(move |&caption| {
                let position = match reading {
                    Reading::Forward => step,
                    Reading::Reverse => self.counts[caption] - 1 - step,
                };
                (caption, position)
            })
    }

    /// The row of a word in caption order.
    pub(super) fn row(&self, caption: usize, position: usize) -> usize {
        self.caption_starts[caption] + position
    }

    /// The row in caption order of each row in step order.
    pub(super) fn rows(&self, reading: Reading) -> Vec<usize> {
        (0..self.steps())
            .flat_map(|step| self.reads(step, reading))
            .map(|(caption, position)| self.row(caption, position))
            .collect()
    }
}

fn running_sum(lengths: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut sums = vec![0];
    for length in lengths {
        sums.push(sums[sums.len() - 1] + length);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_shrink_and_reverse_starts_at_the_last_word() {
        let schedule = Schedule::new(&[1, 3, 2], 4);
        assert_eq!(schedule.order, [1, 2, 0]);
        assert_eq!(schedule.step_starts, [0, 3, 5, 6]);
        assert_eq!(schedule.rows(Reading::Forward), [1, 4, 0, 2, 5, 3]);
        assert_eq!(schedule.rows(Reading::Reverse), [3, 5, 0, 2, 4, 1]);
        assert_eq!(
            schedule.padded_rows().collect::<Vec<_>>(),
            [0, 4, 5, 6, 8, 9]
        );
    }

    #[test]
    fn no_captions_give_no_steps() {
        let schedule = Schedule::new(&[], 0);
        assert_eq!((schedule.steps(), schedule.words()), (0, 0));
    }
}
