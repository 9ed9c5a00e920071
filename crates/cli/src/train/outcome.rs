//! What did the runs come to, side by side and in one sentence?

use uard_report::record::{RunRecord, SplitRecord};

use crate::tables::side_by_side;

/// Differences of rsum below this are none: it is printed to a tenth.
const SAME_RSUM: f64 = 0.05;

/// Differences of work below this are none: it is printed to a percent.
const SAME_SHARE: f64 = 0.005;

/// The table of all runs, and a sentence for each run beside the first.
pub fn outcome(runs: &[RunRecord]) -> String {
    let judged = judged(runs);
    let mut text = side_by_side(&judged);
    if judged.iter().any(|(run, _)| run.test.is_none()) {
        text.push_str("\nno test split: these are the best epochs on the split that chose them");
    }
    if let Some((first, others)) = judged.split_first() {
        for other in others {
            text.push_str(&format!("\n{}", verdict(*first, *other)));
        }
    }
    text
}

/// Each run with the test split, or with its best epoch on dev.
fn judged(runs: &[RunRecord]) -> Vec<(&RunRecord, &SplitRecord)> {
    runs.iter()
        .filter_map(|run| {
            let dev = run.best_epoch().map(|epoch| &epoch.dev);
            Some((run, run.test.as_ref().or(dev)?))
        })
        .collect()
}

/// Which way it fell, from the numbers alone.
fn verdict(
    (run, ours): (&RunRecord, &SplitRecord),
    (other, theirs): (&RunRecord, &SplitRecord),
) -> String {
    let gain = ours.retrieval.rsum - theirs.retrieval.rsum;
    let recall = if gain.abs() < SAME_RSUM {
        "the same rsum as".to_owned()
    } else if gain > 0.0 {
        format!("{gain:.1} more rsum than")
    } else {
        format!("{:.1} less rsum than", -gain)
    };
    let spared = 1.0 - ours.kept.cells / theirs.kept.cells;
    let work = if !spared.is_finite() {
        "its share of the region-word cells has nothing to be compared with".to_owned()
    } else if spared.abs() < SAME_SHARE {
        "it computes as many region-word cells".to_owned()
    } else if spared < 0.0 {
        format!(
            "it computes {:.0} % more region-word cells",
            -100.0 * spared
        )
    } else {
        format!(
            "it computes {:.0} % fewer region-word cells",
            100.0 * spared
        )
    };
    format!(
        "{} (threshold {:.3}) reaches {recall} {} on {}, and {work}.",
        run.name, ours.threshold, other.name, ours.split
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use uard_attention::WeightRule;
    use uard_training::config::TrainConfig;

    /// A run as `metrics.json` has it; `RunRecord` has no constructor that needs less.
    fn run(name: &str, rsum: f64, cells: f64) -> RunRecord {
        let recall =
            serde_json::json!({"r1": 1, "r5": 2, "r10": 3, "median_rank": 4, "mean_rank": 5});
        let value = serde_json::json!({
            "name": name, "config": "", "seed": 0, "device": "cpu", "data_hash": "",
            "train_images": 1, "train_captions": 5, "parameters": 1, "epochs": [],
            "best_epoch": 1, "seconds": 1.0,
            "test": {
                "split": "test", "threshold": 0.25,
                "retrieval": {
                    "protocol": "", "images": 1, "captions": 5,
                    "image_to_text": recall, "text_to_image": recall, "rsum": rsum
                },
                "kept": {"word_queries": 0.5, "region_queries": 0.5, "cells": cells},
                "alignment": null
            }
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_sentence_says_which_way_it_fell() {
        let learned = run("learned", 317.1, 0.1);
        let text = outcome(&[learned.clone(), run("zero", 319.3, 0.4)]);
        let sentence = "learned (threshold 0.250) reaches 2.2 less rsum than zero on test, and it \
                        computes 75 % fewer region-word cells.";
        assert!(text.ends_with(sentence), "{text}");
        let text = outcome(&[learned, run("scan", 300.0, 0.05)]);
        assert!(text.contains("17.1 more rsum than scan"), "{text}");
        assert!(text.contains("100 % more region-word cells"), "{text}");
    }

    #[test]
    fn one_run_alone_is_compared_with_nothing() {
        assert!(!outcome(&[run("learned", 1.0, 0.5)]).contains("than"));
    }
    #[test]
    fn a_record_knows_rule_and_penalty_of_its_configuration() {
        let mut config = TrainConfig::default();
        config.threshold.penalty = 2.5;
        for rule in WeightRule::ALL {
            config.matcher.rule = rule;
            let mut run = run("x", 1.0, 0.5);
            run.config = config.to_toml().unwrap();
            assert_eq!(run.masks(), config.matcher.has_masks(), "{rule}");
            assert_eq!(run.penalty(), 2.5);
        }
    }
}
