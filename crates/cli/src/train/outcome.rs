//! The comparison of finished runs: a table, and a sentence for each run beside the first.

use uard_report::comparison::{Results, RunResult};
use uard_report::record::RunRecord;

use crate::tables::side_by_side;

/// Smaller differences of rsum count as none, because rsum is printed to a tenth.
const SAME_RSUM: f64 = 0.05;

/// Smaller differences of computed cells, in percent, count as none, because they are printed to a
/// percent.
const SAME_PERCENT: f64 = 0.5;

/// The table of all runs, and a sentence for each run beside the first.
pub fn comparison(runs: &[RunRecord]) -> String {
    let results = Results::from_runs(runs);
    let mut text = side_by_side(&results);
    if results.rows.iter().any(|row| row.run.test.is_none()) {
        text.push_str(
            "\nthe data have no test split: the results are those of the best epochs on the split that \
             chose them",
        );
    }
    if let Some((first, others)) = results.rows.split_first() {
        for other in others {
            text.push_str(&format!("\n{}", difference(first, other)));
        }
    }
    text
}

/// The sentence that compares the first run with another in rsum and in computed cells.
fn difference(first: &RunResult, other: &RunResult) -> String {
    let (ours, theirs) = (first.record, other.record);
    let recall = match ours.retrieval.rsum - theirs.retrieval.rsum {
        gain if gain.abs() < SAME_RSUM => "the same rsum as".to_owned(),
        gain if gain > 0.0 => format!("{gain:.1} more rsum than"),
        gain => format!("{:.1} less rsum than", -gain),
    };
    let work = match 100.0 * (1.0 - ours.kept.cells / theirs.kept.cells) {
        saved if !saved.is_finite() => {
            "their region-word cells cannot be compared, because the other run computes none"
                .to_owned()
        }
        saved if saved.abs() < SAME_PERCENT => "it computes as many region-word cells".to_owned(),
        saved if saved < 0.0 => format!("it computes {:.0} % more region-word cells", -saved),
        saved => format!("it computes {saved:.0} % fewer region-word cells"),
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

    /// A run, parsed from JSON as in `metrics.json`: `RunRecord` has no constructor with few arguments.
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
    fn the_sentence_compares_rsum_and_cells() {
        let learned = run("learned", 317.1, 0.1);
        let text = comparison(&[learned.clone(), run("zero", 319.3, 0.4)]);
        let sentence = "learned (threshold 0.250) reaches 2.2 less rsum than zero on test, and it \
                        computes 75 % fewer region-word cells.";
        assert!(text.ends_with(sentence), "{text}");
        let text = comparison(&[learned, run("scan", 300.0, 0.05)]);
        assert!(text.contains("17.1 more rsum than scan"), "{text}");
        assert!(text.contains("100 % more region-word cells"), "{text}");
    }

    #[test]
    fn one_run_alone_is_compared_with_nothing() {
        assert!(!comparison(&[run("learned", 1.0, 0.5)]).contains("than"));
    }

    #[test]
    fn a_record_gives_masks_and_penalty_of_its_configuration() {
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
