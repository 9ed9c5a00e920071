//! What the runs came to, side by side and in one sentence.

use uard_report::comparison::{Results, RunResult};
use uard_report::record::RunRecord;

use crate::tables::side_by_side;

/// Differences of rsum below this are none: it is printed to a tenth.
const SAME_RSUM: f64 = 0.05;

/// Differences of work below this are none: it is printed to a percent.
const SAME_PERCENT: f64 = 0.5;

/// The table of all runs, and a sentence for each run beside the first.
pub fn outcome(runs: &[RunRecord]) -> String {
    let results = Results::of(runs);
    let mut text = side_by_side(&results);
    if results.rows.iter().any(|row| row.run.test.is_none()) {
        text.push_str("\nno test split: these are the best epochs on the split that chose them");
    }
    if let Some((first, others)) = results.rows.split_first() {
        for other in others {
            text.push_str(&format!("\n{}", verdict(first, other)));
        }
    }
    text
}

/// Which way it fell, from the numbers alone.
fn verdict(first: &RunResult, other: &RunResult) -> String {
    let (ours, theirs) = (first.of, other.of);
    let recall = match ours.retrieval.rsum - theirs.retrieval.rsum {
        gain if gain.abs() < SAME_RSUM => "the same rsum as".to_owned(),
        gain if gain > 0.0 => format!("{gain:.1} more rsum than"),
        gain => format!("{:.1} less rsum than", -gain),
    };
    let work = match 100.0 * (1.0 - ours.kept.cells / theirs.kept.cells) {
        spared if !spared.is_finite() => {
            "its share of the region-word cells has nothing to be compared with".to_owned()
        }
        spared if spared.abs() < SAME_PERCENT => "it computes as many region-word cells".to_owned(),
        spared if spared < 0.0 => format!("it computes {:.0} % more region-word cells", -spared),
        spared => format!("it computes {spared:.0} % fewer region-word cells"),
    };
    format!(
        "{} (threshold {:.3}) reaches {recall} {} on {}, and {work}.",
        first.run.name, ours.threshold, other.run.name, ours.split
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
