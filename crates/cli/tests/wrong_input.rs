//! Bad input of training and evaluation: a clear sentence, and exit code 2.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod uard;

use std::fs;
use std::path::{Path, PathBuf};

use uard::{random_array, refused, run, scenes, succeeded, train, uard};
use uard_features::npy::write_f32;

const SHAPE: [usize; 3] = [6, 4, 8];

/// A data directory of six images and twelve captions a split, to be damaged.
struct Data {
    directory: tempfile::TempDir,
}

impl Data {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (seed, split) in [(1, "train"), (2, "dev")] {
            random_array(
                &directory.path().join(format!("{split}_ims.npy")),
                &SHAPE,
                seed,
            );
            let captions = "a dog with a ball\na red kite above the sea\n".repeat(SHAPE[0]);
            fs::write(directory.path().join(format!("{split}_caps.txt")), captions).unwrap();
        }
        Self { directory }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn refuses(&self, parts: &[&str]) {
        let run = self.at("run");
        refused(
            &train(self.directory.path(), &run, &[]).output().unwrap(),
            parts,
        );
        assert!(!run.join("checkpoints").exists());
    }
}

#[test]
fn a_truncated_array_is_named_with_both_sizes() {
    let data = Data::new();
    let bytes = fs::read(data.at("train_ims.npy")).unwrap();
    fs::write(data.at("train_ims.npy"), &bytes[..bytes.len() - 100]).unwrap();
    data.refuses(&["train_ims.npy", "truncated", "768", "668"]);
}

#[test]
fn another_number_of_axes_is_refused() {
    let data = Data::new();
    random_array(&data.at("train_ims.npy"), &[6, 32], 1);
    data.refuses(&["train_ims.npy", "expected 3 axes", "(6, 32)"]);
}

#[test]
fn an_array_of_objects_is_refused_with_the_way_out() {
    let data = Data::new();
    let text = "{'descr': '|O', 'fortran_order': False, 'shape': (6, 4, 8), }";
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{text:<117}\n").into_bytes());
    fs::write(data.at("dev_ims.npy"), bytes).unwrap();
    data.refuses(&["dev_ims.npy", "object array", "astype"]);
}

#[test]
fn a_feature_that_is_not_a_number_is_located() {
    let data = Data::new();
    let mut values = random_array(&data.at("train_ims.npy"), &SHAPE, 1);
    values[3 * 32 + 2 * 8 + 5] = f32::NAN;
    write_f32(&data.at("train_ims.npy"), &SHAPE, &values).unwrap();
    data.refuses(&["train_ims.npy", "image 3, region 2", "feature 5 is NaN"]);
}

#[test]
fn a_caption_count_that_fits_no_k_is_refused() {
    let data = Data::new();
    fs::write(data.at("train_caps.txt"), "a dog\n".repeat(13)).unwrap();
    data.refuses(&["13 captions", "6 images", "train_map.txt"]);
}

#[test]
fn an_empty_caption_is_located() {
    let data = Data::new();
    let captions = fs::read_to_string(data.at("dev_caps.txt")).unwrap();
    fs::write(
        data.at("dev_caps.txt"),
        captions.replacen("a red kite above the sea", " ", 1),
    )
    .unwrap();
    data.refuses(&["dev_caps.txt line 2", "empty caption"]);
}

#[test]
fn unknown_keys_and_values_of_a_configuration_are_refused() {
    let data = Data::new();
    let config = data.at("own.toml");
    fs::write(&config, "[training]\nepoch = 3\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = uard();
        command
            .args(["train", "--data"])
            .arg(data.directory.path())
            .arg("--run");
        command
            .arg(data.at("run"))
            .args(arguments)
            .output()
            .unwrap()
    };
    refused(
        &run(&["--config", config.to_str().unwrap()]),
        &["own.toml", "`epoch`", "`epochs`"],
    );
    let set = |set| run(&["--config", "scenes", "--set", set]);
    refused(
        &set("training.epoch=3"),
        &["--set training.epoch=3", "`epochs`"],
    );
    refused(&set("trainings.epochs=3"), &["trainings", "training"]);
    refused(
        &set("training.batch=1"),
        &["training.batch = 1", "2 or more"],
    );
    refused(&set("training.epochs"), &["expected section.key=value"]);
    refused(
        &run(&["--config", "no.toml"]),
        &["no.toml", "scenes, flickr8k"],
    );
    refused(
        &run(&["--config", "scenes", "--compare", "soft"]),
        &["soft", "maxsim"],
    );
    assert!(!data.at("run").exists());
}

#[test]
fn what_cannot_be_found_is_named() {
    let data = Data::new();
    let run_directory = data.at("run");
    let output = train(Path::new("no/such/data"), &run_directory, &[])
        .output()
        .unwrap();
    refused(&output, &["no/such/data"]);
    refused(&run("train --config coco"), &["--data DIR is needed"]);
    refused(
        &run("evaluate --checkpoint no/run --data d --split dev"),
        &["no/run", "no checkpoint"],
    );
    refused(
        &run("evaluate --checkpoint Cargo.toml --data d --split dev"),
        &["Cargo.toml", "no checkpoint", "expected a directory"],
    );
    refused(&run("train"), &["--config"]);
    refused(
        &run("train --config scenes --device gpu"),
        &["gpu", "auto, cpu, cuda or metal"],
    );
}

#[cfg(not(any(feature = "cuda", feature = "metal")))]
#[test]
fn a_device_that_was_not_built_in_is_refused() {
    let data = Data::new();
    let output = train(
        data.directory.path(),
        &data.at("run"),
        &["--device", "cuda"],
    )
    .output();
    // The last --device is not allowed beside the first: one device a run.
    refused(&output.unwrap(), &["--device"]);
    let arguments = format!(
        "train --config scenes --device cuda --data {}",
        data.directory.path().display()
    );
    // Nobody's fault: the machine or the build has not what was asked for.
    let output = run(&arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--features cuda"), "{said}");
}

/// Evaluates a run on its own data.
fn evaluate(run_directory: &Path, data: &Path) -> std::process::Output {
    run(&format!(
        "evaluate --checkpoint {} --data {} --split dev --format json",
        run_directory.display(),
        data.display()
    ))
}

#[test]
fn checkpoints_of_another_format_vocabulary_or_data_are_refused() {
    let data = scenes(1);
    let own = tempfile::tempdir().unwrap();
    succeeded(
        &train(data.path(), own.path(), &["--set", "training.patience=1"])
            .output()
            .unwrap(),
    );
    let text = succeeded(&evaluate(own.path(), data.path()));
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["split"], "dev");
    assert!(found["retrieval"]["rsum"].as_f64().unwrap() > 0.0);
    let again = train(data.path(), own.path(), &["--set", "training.patience=1"]).output();
    refused(&again.unwrap(), &["--resume"]);

    let other = scenes(2);
    let resume = ["--set", "training.patience=1", "--resume"];
    let resumed = train(other.path(), own.path(), &resume).output().unwrap();
    refused(&resumed, &["use the data set it was trained with"]);
    let checkpoints = own.path().join("checkpoints");
    let best = fs::read_to_string(checkpoints.join("best")).unwrap();
    let best = checkpoints.join(best.trim());
    let vocabulary = fs::read_to_string(best.join("vocab.json")).unwrap();
    fs::write(
        best.join("vocab.json"),
        vocabulary.replace("above", "beyond"),
    )
    .unwrap();
    refused(
        &evaluate(own.path(), data.path()),
        &["the vocabulary", "use the data set"],
    );
    fs::write(best.join("vocab.json"), vocabulary).unwrap();
    succeeded(&evaluate(own.path(), data.path()));
    let state = fs::read_to_string(best.join("state.json")).unwrap();
    let newer = state.replacen("\"format_version\": 2", "\"format_version\": 3", 1);
    assert_ne!(newer, state);
    fs::write(best.join("state.json"), newer).unwrap();
    refused(
        &evaluate(own.path(), data.path()),
        &["checkpoint format 3", "reads format 2"],
    );
}
