//! Tests that the configurations in `configs/` can be read and hold the published settings.

// Clippy's exception for tests does not cover the helper functions of this file.
#![allow(clippy::unwrap_used)]

use uard_training::config::{ScheduleKind, TrainConfig};

fn shipped(name: &str) -> TrainConfig {
    let path = format!("{}/../../configs/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    TrainConfig::from_toml(&std::fs::read_to_string(&path).unwrap(), &path).unwrap()
}

#[test]
fn flickr30k_and_coco_are_the_published_settings() {
    for name in ["flickr30k", "coco"] {
        let config = shipped(name);
        assert_eq!((config.training.batch, config.training.epochs), (128, 20));
        assert_eq!(
            (config.optimizer.learning_rate, config.optimizer.clip_norm),
            (5e-4, 2.0)
        );
        assert_eq!(
            (config.schedule.kind, config.schedule.decay_at),
            (ScheduleKind::Step, 0.5)
        );
        assert_eq!((config.model.joint_width, config.loss.margin), (1024, 0.2));
    }
}

#[test]
fn flickr8k_and_scenes_are_learned_with_a_warm_up() {
    for name in ["flickr8k", "scenes"] {
        let config = shipped(name);
        assert!(config.matcher.rule.takes_threshold());
        assert_eq!((config.loss.warm_up_epochs, config.training.seed), (1, 0));
    }
}
