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

use super::step::Prepared;
use crate::config::TrainingConfig;
use crate::model::ImageFeatures;

/// Leaves words and regions out of a batch; what they are depends on seed and step alone.
pub(super) fn omit(prepared: &mut Prepared, config: &TrainingConfig, draws: &Draws, step: usize) {
    let step = [step as u64];
    if config.omit_words > 0.0 {
        let mut stream = draws.stream("omitted words", &step);
        for caption in &mut prepared.captions {
            omit_words(caption, config.omit_words, &mut stream);
        }
    }
    if config.omit_regions > 0.0 {
        let mut stream = draws.stream("omitted regions", &step);
        omit_regions(&mut prepared.features, config.omit_regions, &mut stream);
    }
}

/// The first and the last are `<start>` and `<end>`, or what a tokenizer has in their place.
fn omit_words(caption: &mut Vec<u32>, chance: f64, stream: &mut Stream) {
    let inner = caption.len().saturating_sub(2);
    let stays = drawn(inner, chance, stream);
    let mut inner = [true].into_iter().chain(stays).chain([true]);
    caption.retain(|_| inner.next().unwrap_or(true));
}

fn omit_regions(features: &mut ImageFeatures, chance: f64, stream: &mut Stream) {
    let (width, size) = (features.width, features.regions * features.width);
    let images = features.values.chunks_exact_mut(size.max(1));
    for (rows, count) in images.zip(&mut features.counts) {
        let stays = drawn(*count, chance, stream);
        let mut kept = 0;
        for (region, _) in stays.iter().enumerate().filter(|(_, stays)| **stays) {
            rows.copy_within(region * width..(region + 1) * width, kept * width);
            kept += 1;
        }
        *count = kept;
    }
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
    use crate::batches::Batch;
    use crate::negatives::Pairing;

    fn prepared() -> Prepared {
        Prepared {
            batch: Batch {
                captions: vec![0, 1],
                images: vec![0, 1],
                pairing: Pairing::new(vec![0, 1]),
            },
            features: ImageFeatures {
                values: (0..2 * 40 * 2).map(|value| value as f32).collect(),
                counts: vec![40, 1],
                regions: 40,
                width: 2,
            },
            captions: vec![(0..50).collect(), vec![1, 2]],
        }
    }

    fn config(omit_words: f64, omit_regions: f64) -> TrainingConfig {
        TrainingConfig {
            omit_words,
            omit_regions,
            ..TrainingConfig::default()
        }
    }

    fn omitted(config: &TrainingConfig, step: usize) -> Prepared {
        let mut prepared = prepared();
        omit(&mut prepared, config, &Draws::new(5), step);
        prepared
    }

    #[test]
    fn what_stays_keeps_its_order_and_the_ends_of_a_caption_stay() {
        let found = omitted(&config(0.5, 0.5), 3);
        let caption = &found.captions[0];
        assert!(caption.len() > 10 && caption.len() < 40, "{caption:?}");
        assert!(caption.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((caption[0], caption.last()), (0, Some(&49)));
        let count = found.features.counts[0];
        assert!(count > 8 && count < 32, "{count}");
        let rows: Vec<&[f32]> = found.features.values.chunks(2).take(count).collect();
        assert!(rows.iter().all(|row| row[1] == row[0] + 1.0));
        assert!(rows.windows(2).all(|pair| pair[0][0] < pair[1][0]));
    }

    #[test]
    fn the_only_region_and_a_caption_of_two_words_stay() {
        let found = omitted(&config(0.9, 0.9), 1);
        assert_eq!(found.features.counts[1], 1);
        assert_eq!(found.features.values[80..82], [80.0, 81.0]);
        assert_eq!(found.captions[1], [1, 2]);
    }

    #[test]
    fn the_same_step_omits_the_same_and_another_step_something_else() {
        let config = config(0.3, 0.3);
        let (first, again, other) = (
            omitted(&config, 1),
            omitted(&config, 1),
            omitted(&config, 2),
        );
        assert_eq!(first.captions, again.captions);
        assert_eq!(first.features, again.features);
        assert_ne!(first.captions, other.captions);
        assert_ne!(first.features.counts, other.features.counts);
    }

    #[test]
    fn a_chance_of_zero_leaves_nothing_out() {
        let found = omitted(&config(0.0, 0.0), 1);
        assert_eq!(found.captions, prepared().captions);
        assert_eq!(found.features, prepared().features);
    }
}
