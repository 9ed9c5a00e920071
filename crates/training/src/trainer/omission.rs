//! Which words and regions does a step leave out, so that no answer hangs on one of them?
//!
//! Each word but the first and the last of a caption, and each region, is left out with the chance
//! that the configuration says, anew in every step. What is left moves together: a caption without
//! a word is a shorter caption, an image without a region has one region less. At least one word
//! between the ends of a caption that has any, and one region of an image, stay.
//!
//! # Source
//! Chen et al., *Learning the Best Pooling Strategy for Visual Semantic Embedding* (VSE∞), CVPR
//! 2021: size augmentation. Theirs leaves a fifth of both out.

use rand::Rng;
use uard_core::random::{Draws, Stream};

use crate::config::TrainingConfig;

/// What a step leaves out; it depends on seed and step alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Omission {
    words: f64,
    regions: f64,
    draws: Draws,
    step: usize,
}

impl Omission {
    /// That of a step over the whole run, from 1.
    pub(super) fn new(config: &TrainingConfig, step: usize) -> Self {
        Self {
            words: config.omit_words,
            regions: config.omit_regions,
            draws: Draws::new(config.seed),
            step,
        }
    }

    /// That of a later step.
    pub(super) fn after(self, steps: usize) -> Self {
        Self {
            step: self.step + steps,
            ..self
        }
    }

    /// Leaves words out.
    pub(super) fn omit_words(&self, captions: &mut [Vec<u32>]) {
        if self.words == 0.0 {
            return;
        }
        let mut stream = self.draws.stream("omitted words", &[self.step as u64]);
        for caption in captions {
            shorten(caption, self.words, &mut stream);
        }
    }

    /// Leaves regions out: those that stay move together, and the counts become smaller.
    ///
    /// `values` are [I, R, F] features, of which R and F are given.
    pub(super) fn omit_regions(
        &self,
        values: &mut [f32],
        counts: &mut [usize],
        (regions, width): (usize, usize),
    ) {
        if self.regions == 0.0 {
            return;
        }
        let mut stream = self.draws.stream("omitted regions", &[self.step as u64]);
        let images = values.chunks_exact_mut((regions * width).max(1));
        for (rows, count) in images.zip(counts) {
            *count = omit_rows(rows, (*count, width), self.regions, &mut stream);
        }
    }
}

/// The first and the last are `<start>` and `<end>`, or what a tokenizer has in their place.
fn shorten(caption: &mut Vec<u32>, chance: f64, stream: &mut Stream) {
    let inner = caption.len().saturating_sub(2);
    let stays = drawn(inner, chance, stream);
    let mut stays = [true].into_iter().chain(stays).chain([true]);
    caption.retain(|_| stays.next().unwrap_or(true));
}

/// How many of the rows stay.
fn omit_rows(
    rows: &mut [f32],
    (count, width): (usize, usize),
    chance: f64,
    stream: &mut Stream,
) -> usize {
    let mut kept = 0;
    for (row, stays) in drawn(count, chance, stream).into_iter().enumerate() {
        if stays {
            rows.copy_within(row * width..(row + 1) * width, kept * width);
            kept += 1;
        }
    }
    kept
}

/// Which of `count` stay; where nothing would, all do.
fn drawn(count: usize, chance: f64, stream: &mut Stream) -> Vec<bool> {
    let mut stays: Vec<bool> = (0..count)
        .map(|_| stream.random::<f64>() >= chance)
        .collect();
    if !stays.contains(&true) {
        stays.fill(true);
    }
    stays
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 2;
    const REGIONS: usize = 40;

    /// Two captions and the features of two images, of which the second has one region.
    struct Batch {
        captions: Vec<Vec<u32>>,
        values: Vec<f32>,
        counts: Vec<usize>,
    }

    fn batch() -> Batch {
        Batch {
            captions: vec![(0..50).collect(), vec![1, 2]],
            values: (0..2 * REGIONS * WIDTH).map(|value| value as f32).collect(),
            counts: vec![REGIONS, 1],
        }
    }

    fn omitted(words: f64, regions: f64, step: usize) -> Batch {
        let config = TrainingConfig {
            omit_words: words,
            omit_regions: regions,
            ..TrainingConfig::default()
        };
        let omission = Omission::new(&config, step);
        let mut batch = batch();
        omission.omit_words(&mut batch.captions);
        omission.omit_regions(&mut batch.values, &mut batch.counts, (REGIONS, WIDTH));
        batch
    }

    #[test]
    fn what_stays_keeps_its_order_and_the_ends_of_a_caption_stay() {
        let found = omitted(0.5, 0.5, 3);
        let caption = &found.captions[0];
        assert!(caption.len() > 10 && caption.len() < 40, "{caption:?}");
        assert!(caption.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((caption[0], caption.last()), (0, Some(&49)));
        let count = found.counts[0];
        assert!(count > 8 && count < 32, "{count}");
        let rows: Vec<&[f32]> = found.values.chunks(WIDTH).take(count).collect();
        assert!(rows.iter().all(|row| row[1] == row[0] + 1.0));
        assert!(rows.windows(2).all(|pair| pair[0][0] < pair[1][0]));
    }

    #[test]
    fn the_only_region_and_a_caption_of_two_words_stay() {
        let found = omitted(0.9, 0.9, 1);
        let second = REGIONS * WIDTH;
        assert_eq!(found.counts[1], 1);
        assert_eq!(found.values[second..][..WIDTH], [80.0, 81.0]);
        assert_eq!(found.captions[1], [1, 2]);
    }

    #[test]
    fn the_same_step_omits_the_same_and_another_step_something_else() {
        let (first, again, other) = (
            omitted(0.3, 0.3, 1),
            omitted(0.3, 0.3, 1),
            omitted(0.3, 0.3, 2),
        );
        assert_eq!(first.captions, again.captions);
        assert_eq!(first.values, again.values);
        assert_ne!(first.captions, other.captions);
        assert_ne!(first.counts, other.counts);
    }

    #[test]
    fn a_later_step_of_an_epoch_is_that_step() {
        let config = TrainingConfig {
            omit_words: 0.3,
            ..TrainingConfig::default()
        };
        let (mut one, mut other) = (batch().captions, batch().captions);
        Omission::new(&config, 3).after(4).omit_words(&mut one);
        Omission::new(&config, 7).omit_words(&mut other);
        assert_eq!(one, other);
    }

    #[test]
    fn a_chance_of_zero_leaves_nothing_out() {
        let found = omitted(0.0, 0.0, 1);
        assert_eq!(found.captions, batch().captions);
        assert_eq!(
            (found.values, found.counts),
            (batch().values, batch().counts)
        );
    }
}
