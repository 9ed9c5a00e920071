//! The time steps of a batch: the words that each step reads, and the padded rows of its states.
//!
//! The N valid words of a batch are in *step order*: the words of the first step of all captions,
//! then those of the second, and so on. Captions are sorted by length, longest first, so that the
//! captions of a step are a prefix of those of the previous step. Both directions have the same
//! steps: step s of the reverse direction reads a caption's word `count - 1 - s`.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use super::batch::CaptionBatch;

/// Stands for no row: candle's `index_select` gives zeros for it.
pub(super) const NO_ROW: u32 = u32::MAX;

/// The time steps of a batch of C captions, padded to W words.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub captions: usize,
    pub longest: usize,
    /// The U distinct ids, in the order of their first word.
    pub ids: Vec<u32>,
    /// The step order of the forward and of the reverse direction.
    pub orders: [DirectionOrder; 2],
    /// The row of each step's first word in step order, then N.
    starts: Vec<usize>,
}

/// A time step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// The rows of this step's words in step order.
    pub rows: Range<usize>,
    /// The first row of the previous step; `None` for the first step.
    pub previous_start: Option<usize>,
}

/// The N words of one direction in step order.
#[derive(Debug, Clone, Default)]
pub(super) struct DirectionOrder {
    /// The index of each word among the distinct ids.
    pub words: Vec<u32>,
    /// The padded row `caption * W + position` of each word.
    pub padded_rows: Vec<u32>,
}

impl Schedule {
    pub(super) fn new(batch: &CaptionBatch) -> Self {
        let (counts, longest) = (batch.counts(), batch.ids().dims()[1]);
        let (ids, words) = distinct(batch.words());
        let firsts = counts.iter().scan(0, |next, count| {
            *next += count;
            Some(*next - count)
        });
        let firsts: Vec<usize> = firsts.collect();
        // The sort is stable: captions of equal length keep their order.
        let mut order: Vec<usize> = (0..counts.len()).collect();
        order.sort_by_key(|&caption| Reverse(counts[caption]));
        let mut orders = [DirectionOrder::default(), DirectionOrder::default()];
        let mut starts = vec![0];
        for step in 0..counts.iter().copied().max().unwrap_or(0) {
            for &caption in order.iter().take_while(|&&caption| counts[caption] > step) {
                let positions = [step, counts[caption] - 1 - step];
                for (direction, position) in orders.iter_mut().zip(positions) {
                    direction.words.push(words[firsts[caption] + position]);
                    let padded_row = caption * longest + position;
                    direction.padded_rows.push(padded_row as u32);
                }
            }
            starts.push(orders[0].words.len());
        }
        Self {
            captions: counts.len(),
            longest,
            ids,
            orders,
            starts,
        }
    }

    /// The number N of valid words.
    pub(super) fn words(&self) -> usize {
        self.orders[0].words.len()
    }

    pub(super) fn steps(&self) -> impl DoubleEndedIterator<Item = Step> + ExactSizeIterator {
        let steps = self.starts.windows(2).enumerate();
        steps.map(|(at, ends)| Step {
            rows: ends[0]..ends[1],
            previous_start: at.checked_sub(1).map(|previous| self.starts[previous]),
        })
    }

    /// The row, in step order, of the state before each word; words of the first step are left out.
    pub(super) fn previous(&self) -> Vec<u32> {
        let rows = |step: Step| step.previous_start.map(|row| row..row + step.rows.len());
        let rows = self.steps().filter_map(rows).flatten();
        rows.map(|row| row as u32).collect()
    }
}

impl DirectionOrder {
    /// The row in step order of each padded row, of which there are `padded`; [`NO_ROW`] for
    /// padding.
    pub(super) fn rows(&self, padded: usize) -> Vec<u32> {
        inverse_rows(&self.padded_rows, padded)
    }
}

/// For each number below `count` its index in `numbers`, which holds it at most once; [`NO_ROW`] for
/// a number that is not there.
pub(super) fn inverse_rows(numbers: &[u32], count: usize) -> Vec<u32> {
    let mut rows = vec![NO_ROW; count];
    for (row, &number) in (0..).zip(numbers) {
        rows[number as usize] = row;
    }
    rows
}

/// The distinct ids, and the index of each word among them.
fn distinct(words: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let (mut indices, mut ids) = (HashMap::new(), Vec::new());
    let index = |&id: &u32| {
        *indices.entry(id).or_insert_with(|| {
            ids.push(id);
            ids.len() as u32 - 1
        })
    };
    let words = words.iter().map(index).collect();
    (ids, words)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    fn schedule(counts: &[usize], longest: usize) -> Schedule {
        let ids = Tensor::arange(0, (counts.len() * longest) as u32, &Device::Cpu).unwrap();
        let ids = ids.reshape((counts.len(), longest)).unwrap();
        Schedule::new(&CaptionBatch::new(ids, counts.to_vec()).unwrap())
    }

    #[test]
    fn later_steps_have_fewer_captions_and_reverse_starts_at_the_last_word() {
        let schedule = schedule(&[1, 3, 2], 4);
        assert_eq!(schedule.ids, [0, 4, 5, 6, 8, 9]);
        let rows = schedule.steps().map(|step| step.rows);
        assert_eq!(rows.collect::<Vec<_>>(), [0..3, 3..5, 5..6]);
        let [forward, reverse] = &schedule.orders;
        assert_eq!(forward.words, [1, 4, 0, 2, 5, 3]);
        assert_eq!(forward.padded_rows, [4, 8, 0, 5, 9, 6]);
        assert_eq!(reverse.words, [3, 5, 0, 2, 4, 1]);
        assert_eq!(schedule.previous(), [0, 1, 3]);
        let rows = [
            2, NO_ROW, NO_ROW, NO_ROW, 0, 3, 5, NO_ROW, 1, 4, NO_ROW, NO_ROW,
        ];
        assert_eq!(forward.rows(12), rows);
    }

    #[test]
    fn no_captions_give_no_steps() {
        let schedule = schedule(&[], 0);
        assert_eq!((schedule.steps().count(), schedule.words()), (0, 0));
    }

    #[test]
    fn distinct_ids_are_in_the_order_of_their_first_word() {
        let batch = CaptionBatch::pad(&[vec![7, 3, 7], vec![9, 3]], 0, &Device::Cpu).unwrap();
        let found = distinct(batch.words());
        assert_eq!(found, (vec![7, 3, 9], vec![0, 1, 0, 2, 1]));
    }
}
