//! Omission: leaves words and regions out of a training step at random, as data augmentation.
//!
//! In every step each region, and each word of a caption but the first and the last, is left out
//! with the configured probability. A caption becomes shorter and an image gets fewer regions; no
//! gap or mask remains. Where all inner words of a caption, or all regions of an image, would be
//! left out, all of them stay.
//!
//! # Source
//! Chen et al., *Learning the Best Pooling Strategy for Visual Semantic Embedding* (VSE∞), CVPR
//! 2021: size augmentation, with probability 0.2.

use rand::Rng;
use uard_core::random::{Draws, Stream};

use crate::config::TrainingConfig;

/// The probabilities of omission, and the step that the draws are for. What a step leaves out
/// depends on seed and step only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Omission {
    words: f64,
    regions: f64,
    draws: Draws,
    step: usize,
}

impl Omission {
    /// The omission of step number `step` of the whole run, from 1.
    pub(super) fn new(config: &TrainingConfig, step: usize) -> Self {
        Self {
            words: config.omit_words,
            regions: config.omit_regions,
            draws: Draws::new(config.seed),
            step,
        }
    }

    /// The omission of the step that comes `steps` later.
    pub(super) fn after(self, steps: usize) -> Self {
        Self {
            step: self.step + steps,
            ..self
        }
    }

    /// Removes word ids from captions.
    pub(super) fn omit_words(&self, captions: &mut [Vec<u32>]) {
        if self.words == 0.0 {
            return;
        }
        let mut stream = self.draws.stream("omitted words", &[self.step as u64]);
        for caption in captions {
            shorten(caption, self.words, &mut stream);
        }
    }

    /// Removes regions: the rows of those that stay move to the front, and the counts shrink.
    ///
    /// `values` are features [I, R, F], `regions` is R and `width` is F.
    pub(super) fn omit_regions(
        &self,
        values: &mut [f32],
        counts: &mut [usize],
        regions: usize,
        width: usize,
    ) {
        if self.regions == 0.0 {
            return;
        }
        let mut stream = self.draws.stream("omitted regions", &[self.step as u64]);
        let images = values.chunks_exact_mut((regions * width).max(1));
        for (rows, count) in images.zip(counts) {
            let stays = draw_kept(*count, self.regions, &mut stream);
            *count = keep_rows(rows, width, &stays);
        }
    }
}

/// Removes words of a caption, but never the first and the last: they are `<start>` and `<end>`, or
/// the tokenizer's marks in their place.
fn shorten(caption: &mut Vec<u32>, chance: f64, stream: &mut Stream) {
    let inner = caption.len().saturating_sub(2);
    let stays = draw_kept(inner, chance, stream);
    let mut stays = [true].into_iter().chain(stays).chain([true]);
    caption.retain(|_| stays.next().unwrap_or(true));
}

/// Moves the rows that stay to the front; returns their number.
fn keep_rows(rows: &mut [f32], width: usize, stays: &[bool]) -> usize {
    let mut kept = 0;
    for (row, &stays) in stays.iter().enumerate() {
        if stays {
            rows.copy_within(row * width..(row + 1) * width, kept * width);
            kept += 1;
        }
    }
    kept
}

/// Draws which of `count` entries stay; if none would, all do.
fn draw_kept(count: usize, chance: f64, stream: &mut Stream) -> Vec<bool> {
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
        omission.omit_regions(&mut batch.values, &mut batch.counts, REGIONS, WIDTH);
        batch
    }

    #[test]
    fn kept_entries_keep_their_order_and_the_ends_of_a_caption_stay() {
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
    fn after_four_steps_the_third_is_the_seventh() {
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
