//! Tests that a run that is stopped and resumed ends with the same bytes as one that never stopped.

// Clippy's exception for tests does not cover the helper functions of this file.
#![allow(clippy::unwrap_used)]

use crate::tiny;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use uard_hub::Hub;
use uard_model::Checkpoint;
use uard_report::record::LogLine;
use uard_training::Error;
use uard_training::config::TrainConfig;
use uard_training::run_log::RunLog;
use uard_training::trainer::{Event, Outcome, Run, Start, train};

use tiny::{Data, bert_config, bert_folder, config, data, file_bytes, train_until, train_whole};

fn final_bytes(outcome: &Outcome) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    file_bytes(&outcome.summary().latest)
}

fn stopped_and_resumed(data: &Data, config: &TrainConfig, stops: &[usize], run: &Path) -> Outcome {
    for &step in stops {
        let outcome = train_until(data, config, run, step).unwrap();
        assert!(
            matches!(outcome, Outcome::Stopped(_)),
            "step {step}: {outcome:?}"
        );
        assert_eq!(outcome.summary().step, step);
    }
    train_whole(data, config, run)
}

#[test]
fn stopped_at_any_step_the_final_bytes_are_the_same() {
    let data = data(1);
    let mut config = config();
    config.training.checkpoint_every = 2;
    let straight = tempfile::tempdir().unwrap();
    let outcome = train_whole(&data, &config, straight.path());
    assert!(matches!(outcome, Outcome::Finished(_)));
    let expected = final_bytes(&outcome);
    assert_eq!(expected.len(), 5);
    // 80 captions in batches of 16 make five steps an epoch, so some stops are within an epoch and
    // others at its end.
    for stops in [&[1][..], &[5], &[2, 3, 10, 14], &[15]] {
        let run = tempfile::tempdir().unwrap();
        let resumed = stopped_and_resumed(&data, &config, stops, run.path());
        assert!(final_bytes(&resumed) == expected, "stopped after {stops:?}");
        assert_eq!(
            resumed.summary().record.best_epoch,
            outcome.summary().record.best_epoch
        );
        let steps = |run: &Path| -> Vec<(usize, f64)> {
            let (_, lines) = RunLog::resume(run, usize::MAX, usize::MAX).unwrap();
            lines
                .into_iter()
                .map(|line| match line {
                    LogLine::Step(record) => (record.step, record.loss),
                    LogLine::Epoch(record) => (record.epoch, record.loss),
                })
                .collect()
        };
        assert_eq!(steps(run.path()), steps(straight.path()));
    }
}

#[test]
fn a_fine_tuned_bert_is_resumed_with_the_same_dropout() {
    let data = data(1);
    for accumulation in [1, 2] {
        let mut config = bert_config();
        config.training.accumulation = accumulation;
        let straight = tempfile::tempdir().unwrap();
        let outcome = train_whole(&data, &config, straight.path());
        let run = tempfile::tempdir().unwrap();
        let resumed = stopped_and_resumed(&data, &config, &[3, 11], run.path());
        assert!(final_bytes(&resumed) == final_bytes(&outcome));
        let losses: Vec<f64> = outcome
            .summary()
            .record
            .epochs
            .iter()
            .map(|e| e.loss)
            .collect();
        assert!(losses[2] < losses[0], "{losses:?}");
        // The checkpoint can be used without the folder of the published model.
        let checkpoint = Checkpoint::open(straight.path()).unwrap();
        let model = checkpoint.model(&Device::Cpu).unwrap();
        let ids = model.text().encode("a dog and a ball").unwrap();
        let words = model.texts(&["a dog and a ball"]).unwrap();
        assert_eq!(words.counts(), [ids.len()]);
    }
}

#[test]
fn a_resumed_run_does_not_read_the_published_model_again() {
    let data = data(1);
    let straight = tempfile::tempdir().unwrap();
    let folder = straight.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    for (name, bytes) in file_bytes(&bert_folder()) {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let mut config = bert_config();
    config.text.model = Some(folder.clone().into());
    let outcome = train_whole(&data, &config, straight.path());
    let run = tempfile::tempdir().unwrap();
    train_until(&data, &config, run.path(), 3).unwrap();
    // The folder is missing at the first resumption, and holds another model at the second.
    std::fs::remove_dir_all(&folder).unwrap();
    train_until(&data, &config, run.path(), 6).unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    std::fs::write(folder.join("tokenizer.json"), "{}").unwrap();
    let resumed = train_whole(&data, &config, run.path());
    assert!(final_bytes(&resumed) == final_bytes(&outcome));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let data = data(2);
    let config = config();
    let with_threads = |threads: usize| {
        let run = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        final_bytes(&pool.install(|| train_whole(&data, &config, run.path())))
    };
    assert!(with_threads(1) == with_threads(2));
}

#[test]
fn a_finished_run_does_nothing_when_resumed() {
    let data = data(1);
    let run = tempfile::tempdir().unwrap();
    let first = train_whole(&data, &config(), run.path());
    let again = train_whole(&data, &config(), run.path());
    assert!(matches!(again, Outcome::AlreadyFinished(_)));
    assert_eq!(again.summary(), first.summary());
}

#[test]
fn a_run_killed_before_its_first_checkpoint_starts_at_the_first_step() {
    let data = data(1);
    let run = tempfile::tempdir().unwrap();
    let unfinished = run.path().join("checkpoints/.unfinished-step-00000001");
    std::fs::create_dir_all(&unfinished).unwrap();
    std::fs::write(unfinished.join("model.safetensors"), "half").unwrap();
    let outcome = train_whole(&data, &config(), run.path());
    assert!(matches!(outcome, Outcome::Finished(_)));
    assert!(!unfinished.exists());
}

#[test]
fn a_new_run_does_not_overwrite_another() {
    let data = data(1);
    let run = tempfile::tempdir().unwrap();
    let config = config();
    train_until(&data, &config, run.path(), 1).unwrap();
    let run = Run {
        config: &config,
        train: &data.train,
        dev: &data.dev,
        directory: run.path(),
        device: &Device::Cpu,
        hub: &Hub::default(),
    };
    let error = train(
        &run,
        Start::Fresh,
        &mut |_: &Event| {},
        &AtomicBool::new(false),
    )
    .unwrap_err();
    assert!(matches!(error, Error::RunExists { .. }), "{error}");
}

#[test]
fn another_configuration_data_set_or_format_is_refused_by_name() {
    let own = data(1);
    let run = tempfile::tempdir().unwrap();
    train_until(&own, &config(), run.path(), 2).unwrap();
    let mut other = config();
    other.loss.margin = 0.3;
    let message = train_until(&own, &other, run.path(), 3)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("margin = 0.2") && message.contains("margin = 0.3"),
        "{message}"
    );
    let message = train_until(&data(9), &config(), run.path(), 3)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("expected") || message.contains("given is"),
        "{message}"
    );
    let checkpoint = Checkpoint::open(&run.path().join("checkpoints/latest")).unwrap();
    let state = checkpoint.path().join("state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    std::fs::write(
        &state,
        text.replace("\"format_version\": 2", "\"format_version\": 3"),
    )
    .unwrap();
    let message = train_until(&own, &config(), run.path(), 3)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("format 3, this version reads format 2"),
        "{message}"
    );
}

#[test]
fn old_checkpoints_are_removed_and_the_best_is_kept() {
    let data = data(1);
    let run = tempfile::tempdir().unwrap();
    let mut config = config();
    config.training.epochs = 5;
    config.training.keep_last = 1;
    let outcome = train_whole(&data, &config, run.path());
    let summary = outcome.summary();
    let best = Checkpoint::open(run.path()).unwrap();
    assert_eq!(Some(best.path()), summary.best.as_deref());
    let pointers = [("best", best.path()), ("latest", summary.latest.as_path())];
    for (pointer, expected) in pointers {
        let pointer = run.path().join("checkpoints").join(pointer);
        assert_eq!(Checkpoint::open(&pointer).unwrap().path(), expected);
    }
    let kept = std::fs::read_dir(run.path().join("checkpoints"))
        .unwrap()
        .count();
    // The pointers `latest` and `best`, and one or two checkpoints.
    let expected = if summary.best.as_deref() == Some(&summary.latest) {
        3
    } else {
        4
    };
    assert_eq!(kept, expected);
}
