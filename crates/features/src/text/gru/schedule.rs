//! The time steps of a batch: which words each of them reads, and where its states go.
//!
//! The N valid words of a batch are in *step order*: the first step of every caption comes first,
//! captions sorted by length; the captions of a step are then a prefix of those of the step before.
//! Both directions run on the same steps: step s of the reverse direction reads a caption's word
//! `count - 1 - s`.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use super::batch::CaptionBatch;

/// What has no row: candle's `index_select` answers with zeros.
pub(super) const NO_ROW: u32 = u32::MAX;

/// The time steps of a batch of C captions, padded to W words.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub captions: usize,
    pub longest: usize,
    /// The distinct ids, U of them, in the order of their first word.
    pub ids: Vec<u32>,
    /// Forward and reverse.
    pub readings: [Reading; 2],
    /// The row of each step's first word in step order, and N at the end.
    starts: Vec<usize>,
}

/// A time step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Its rows in step order.
    pub rows: Range<usize>,
    /// The first row of the step before; none for the first step.
    pub before: Option<usize>,
}

/// The words of one direction in step order, N each.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    /// Which of the distinct ids each word is.
    pub words: Vec<u32>,
    /// The padded row `caption * W + position` of each word.
    pub places: Vec<u32>,
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
        // Equal lengths keep their order.
        let mut order: Vec<usize> = (0..counts.len()).collect();
        order.sort_by_key(|&caption| Reverse(counts[caption]));
        let mut readings = [Reading::default(), Reading::default()];
        let mut starts = vec![0];
        for step in 0..counts.iter().copied().max().unwrap_or(0) {
            for &caption in order.iter().take_while(|&&caption| counts[caption] > step) {
                let positions = [step, counts[caption] - 1 - step];
                for (reading, position) in readings.iter_mut().zip(positions) {
                    reading.words.push(words[firsts[caption] + position]);
                    reading.places.push((caption * longest + position) as u32);
                }
            }
            starts.push(readings[0].words.len());
        }
        Self {
            captions: counts.len(),
            longest,
            ids,
            readings,
            starts,
        }
    }

    /// Valid words N.
    pub(super) fn words(&self) -> usize {
        self.readings[0].words.len()
    }

    pub(super) fn steps(&self) -> impl DoubleEndedIterator<Item = Step> + ExactSizeIterator {
        let steps = self.starts.windows(2).enumerate();
        steps.map(|(at, ends)| Step {
            rows: ends[0]..ends[1],
            before: at.checked_sub(1).map(|before| self.starts[before]),
        })
    }

    /// The rows of the states before the words of all steps but the first.
    pub(super) fn previous(&self) -> Vec<u32> {
        let rows = |step: Step| step.before.map(|row| row..row + step.rows.len());
        let rows = self.steps().filter_map(rows).flatten();
        rows.map(|row| row as u32).collect()
    }
}

impl Reading {
    /// The row in step order of each padded row.
    pub(super) fn rows(&self, padded: usize) -> Vec<u32> {
        rows_of(&self.places, padded)
    }
}

/// Which of the places each of `count` numbers has, each once or not at all.
pub(super) fn rows_of(places: &[u32], count: usize) -> Vec<u32> {
    let mut rows = vec![NO_ROW; count];
    for (row, &place) in (0..).zip(places) {
        rows[place as usize] = row;
    }
    rows
}

/// The distinct ids, and which of them each word is.
fn distinct(words: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let (mut places, mut ids) = (HashMap::new(), Vec::new());
    let place = |&id: &u32| {
        *places.entry(id).or_insert_with(|| {
            ids.push(id);
            ids.len() as u32 - 1
        })
    };
    let reads = words.iter().map(place).collect();
    (ids, reads)
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
    fn steps_shrink_and_reverse_starts_at_the_last_word() {
        let schedule = schedule(&[1, 3, 2], 4);
        assert_eq!(schedule.ids, [0, 4, 5, 6, 8, 9]);
        let rows = schedule.steps().map(|step| step.rows);
        assert_eq!(rows.collect::<Vec<_>>(), [0..3, 3..5, 5..6]);
        let [forward, reverse] = &schedule.readings;
        assert_eq!(forward.words, [1, 4, 0, 2, 5, 3]);
        assert_eq!(forward.places, [4, 8, 0, 5, 9, 6]);
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
    fn distinct_words_are_in_the_order_of_their_first_place() {
        let batch = CaptionBatch::pad(&[vec![7, 3, 7], vec![9, 3]], 0, &Device::Cpu).unwrap();
        let found = distinct(batch.words());
        assert_eq!(found, (vec![7, 3, 9], vec![0, 1, 0, 2, 1]));
    }
}
